"""The scores of an unfinished evaluation, from which it resumes."""

import contextlib
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from duologue.eval.duplex_score import Score, Turn


class ResumeLog:
    """The scores of the scenes played so far, beside the file they will make: `OUT.json.part`, a line each. Those found
    there are `scores`, unless they are of something else than `about` (JSON). Without `out` nothing is kept."""

    def __init__(self, out: Path | None, about: dict[str, Any]):
        self._path = None if out is None else out.with_name(f"{out.name}.part")
        self.scores: list[Score] = []
        if self._path is None:
            return
        head, *lines = self._path.read_text().splitlines() if self._path.exists() else [""]
        if head == json.dumps(about):
            with contextlib.suppress(ValueError):  # the last line, where it was stopped while writing
                for line in lines:
                    self.scores.append(_score(json.loads(line)))
        self._path.write_text(json.dumps(about) + "\n")
        for score in self.scores:
            self._write(score)

    def add(self, score: Score) -> None:
        """Keep one more."""
        self.scores.append(score)
        self._write(score)

    def finish(self) -> None:
        """The file they were for is written."""
        if self._path is not None:
            self._path.unlink()

    def _write(self, score: Score) -> None:
        if self._path is not None:
            with self._path.open("a") as file:
                file.write(json.dumps(asdict(score), ensure_ascii=False) + "\n")


def _score(row: dict[str, Any]) -> Score:
    row["turns"] = [Turn(**turn) for turn in row["turns"]]
    row["heard"] = row["heard"] and tuple(row["heard"])
    return Score(**row)
