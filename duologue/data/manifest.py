"""Manifests: one json row a recording, and the words spoken in it, in the layout that moshi-finetune reads.

A manifest is a .jsonl (or .jsonl.gz) of {"path", "duration", ...}; paths are relative to the manifest's folder. A
conversation is a stereo file, left the agent and right the user. Beside NAME.wav lies NAME.json:

    {"alignments": [[" word", [start, end], "SPEAKER_MAIN"], ...], "text_conditions": {...}}

sorted by start, in seconds; SPEAKER_MAIN is the agent. Other speakers, keys of a row or of a sidecar are ours, and kept
as they are: SPEAKER_UNSAID are the words that the agent was about to say when it was cut, at the seconds of "cuts".
"""

import gzip
import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from duologue.errors import InputError
from duologue.files import atomic_write
from duologue.types import StrPath

Row = dict[str, Any]
AGENT = "SPEAKER_MAIN"
USER = "SPEAKER_USER"
UNSAID = "SPEAKER_UNSAID"


@dataclass(frozen=True)
class Word:
    """One spoken word; times in seconds from the start of the recording."""

    text: str
    start: float
    end: float
    speaker: str = AGENT

    def moved(self, seconds: float) -> "Word":
        """The same word `seconds` later."""
        return Word(self.text, self.start + seconds, self.end + seconds, self.speaker)


@dataclass
class Transcript:
    """What lies beside a recording: its words, conditions on the text, and whatever else was there."""

    words: list[Word] = field(default_factory=list)
    text_conditions: dict[str, str] | None = None
    extra: dict[str, Any] = field(default_factory=dict)

    def of(self, speaker: str) -> list[Word]:
        """Words of one speaker."""
        return [word for word in self.words if word.speaker == speaker]


def read_manifest(path: StrPath) -> list[Row]:
    """Rows of a manifest, or of every *.jsonl below a folder; each "path" is resolved to an existing place.

    A relative path is looked for beside the manifest, and else from the current folder. Raises InputError, with the
    number of the line, if a row is no json object or has no "path".
    """
    path = Path(path)
    if path.is_dir():
        found = sorted(path.rglob("*.jsonl"))
        if not found:
            raise InputError(f"{path}: there is no .jsonl below this folder")
        return [row for one in found for row in read_manifest(one)]
    if not path.exists():
        raise InputError(f"there is no manifest {path}")
    rows = []
    with gzip.open(path, "rt") if path.suffix == ".gz" else path.open() as lines:
        for number, line in enumerate(lines, 1):
            if line.strip():
                rows.append(_parse(line, path, number))
    return rows


def _parse(line: str, manifest: Path, number: int) -> Row:
    try:
        row = json.loads(line)
        place = Path(row["path"])
    except (ValueError, KeyError, TypeError):
        raise InputError(
            f'{manifest}, line {number}: expected an object like {{"path": ..., "duration": ...}}'
        ) from None
    beside = manifest.parent / place
    return row | {"path": str(beside if beside.exists() or not place.exists() else place)}


def write_manifest(path: StrPath, rows: Iterable[Row]) -> None:
    """Write rows, whole or not at all; paths below the manifest's folder become relative to it."""
    path = Path(path)
    with atomic_write(path) as temporary:
        text = "".join(json.dumps(relative_row(row, path.parent)) + "\n" for row in rows)
        temporary.write_bytes(
            gzip.compress(text.encode(), mtime=0) if path.suffix == ".gz" else text.encode()
        )


def relative_row(row: Row, folder: Path) -> Row:
    """The row with "path" relative to `folder` where it lies below it, else absolute."""
    place, folder = Path(row["path"]).resolve(), folder.resolve()
    return row | {"path": str(place.relative_to(folder) if place.is_relative_to(folder) else place)}


def sidecar(path: StrPath) -> Path:
    """Where the transcript of a recording lies."""
    return Path(path).with_suffix(".json")


def read_transcript(path: StrPath) -> Transcript:
    """The transcript of the recording at `path` (its sound file). InputError if it is missing or malformed."""
    place = sidecar(path)
    if not place.exists():
        raise InputError(f"{path} has no transcript {place.name}: run `duologue data align` first")
    try:
        found = json.loads(place.read_text())
        words = [
            Word(text, float(start), float(end), who) for text, (start, end), who in found.pop("alignments")
        ]
    except (ValueError, KeyError, TypeError, AttributeError):
        raise InputError(
            f'{place} is not a transcript: expected {{"alignments": [[word, [start, end], who], ...]}}'
        ) from None
    return Transcript([_stripped(word) for word in words], found.pop("text_conditions", None), found)


def _stripped(word: Word) -> Word:
    return Word(word.text.strip(), word.start, word.end, word.speaker)


def write_transcript(path: StrPath, transcript: Transcript) -> None:
    """Write the transcript beside the recording at `path`; words are sorted by start, times to a millisecond."""
    words = sorted(transcript.words, key=lambda word: (word.start, word.end))
    body: dict[str, Any] = {
        "alignments": [[" " + w.text, [round(w.start, 3), round(w.end, 3)], w.speaker] for w in words]
    }
    if transcript.text_conditions:
        body["text_conditions"] = transcript.text_conditions
    with atomic_write(sidecar(path)) as temporary:
        temporary.write_text(json.dumps(body | transcript.extra))
