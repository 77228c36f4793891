"""Runs a stage over the rows of a manifest: resumes, shows progress, skips and reports a bad row without stopping.

A stage is a class whose `__init__` loads what it needs and whose `__call__(rows) -> rows` is idempotent: called again
on the same rows it gives the same rows, and files already written are not written again. It knows nothing of this
module, so a cluster engine can run it as well (`dataset.map_batches(Stage, ...)`).
"""

import json
import os
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from duologue.data.manifest import Row, read_manifest, write_manifest
from duologue.errors import InputError
from duologue.files import atomic_write, check_writable
from duologue.progress import progress
from duologue.types import StrPath


class Stage(Protocol):
    """One step of the pipeline."""

    def __call__(self, rows: list[Row]) -> list[Row]:
        """As many rows out as in, in the same order."""
        ...


@dataclass
class Result:
    """What a run did. `bad` holds {"id", "error"} of each row that failed."""

    rows: list[Row] = field(default_factory=list)
    bad: list[Row] = field(default_factory=list)
    resumed: int = 0


def run(stage: Stage, rows: list[Row], out: StrPath, batch: int = 1, label: str = "rows") -> Result:
    """Apply `stage` to `rows` and write the manifest `out`, in the order of `rows`.

    A row is known by its "id", or else by its "path", which then becomes its id. Finished rows are kept in OUT.part as
    they come: a killed run goes on from there, and a run whose manifest exists does the rows that are new. Rows that
    raised are listed in OUT.errors and tried again by the next run.
    """
    out = check_writable(out)
    part = out.with_name(out.name + ".part")
    names = _names(rows)
    done = {name_of(row): row for row in (read_manifest(out) if out.exists() else [])} | _read_part(part)
    result = Result(resumed=sum(name in done for name in names))
    todo = [row for row, name in zip(rows, names, strict=True) if name not in done]
    with part.open("a") as log:
        for row, made in _each(stage, todo, batch, label, result.bad):
            done[name_of(row)] = made | {"id": name_of(row)}
            log.write(json.dumps(done[name_of(row)]) + "\n")
            log.flush()
    result.rows = [done[name] for name in names if name in done]
    write_manifest(out, result.rows)
    _report(out, result.bad)
    part.unlink(missing_ok=True)
    return result


def run_in_place(
    stage: Stage, rows: list[Row], errors: StrPath, batch: int = 1, label: str = "rows"
) -> Result:
    """As `run`, for a stage that adds to what lies beside the recordings: no manifest is written.

    What is done already only the stage knows. Rows that raised are listed in ERRORS.errors.
    """
    result = Result()
    _names(rows)
    result.rows = [made for _, made in _each(stage, rows, batch, label, result.bad)]
    _report(Path(errors), result.bad)
    return result


def _names(rows: list[Row]) -> list[str]:
    names = [name_of(row) for row in rows]
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise InputError(f"two rows share the id {twice[0]!r}")
    return names


def _each(stage: Stage, rows: list[Row], batch: int, label: str, bad: list[Row]) -> Iterator[tuple[Row, Row]]:
    """Rows that went well, with what became of them; the others are added to `bad`."""
    with progress(label, len(rows)) as advance:
        for start in range(0, len(rows), batch):
            chunk = rows[start : start + batch]
            for row, made in zip(chunk, _attempt(stage, chunk, bad), strict=True):
                if made is not None:
                    yield row, made
            advance(len(chunk))


def name_of(row: Row) -> str:
    """What identifies a row from stage to stage."""
    return str(row["id"] if "id" in row else row["path"])


def _attempt(stage: Stage, chunk: list[Row], bad: list[Row]) -> list[Row | None]:
    """The stage's rows; if the chunk fails, row by row, with None where a row alone fails."""
    try:
        made = list(stage([dict(row) for row in chunk]))
        if len(made) != len(chunk):
            raise RuntimeError(f"{len(chunk)} rows in, {len(made)} out")
        return [*made]
    except Exception as error:  # whatever a damaged file makes a library raise
        if len(chunk) == 1:
            bad.append({"id": name_of(chunk[0]), "error": f"{type(error).__name__}: {error}"})
            return [None]
    return [_attempt(stage, [row], bad)[0] for row in chunk]


def _read_part(part: Path) -> dict[str, Row]:
    """Rows of an unfinished run; a last line cut short by a kill is dropped, so that new lines start clean."""
    if not part.exists():
        return {}
    whole = part.read_bytes()
    os.truncate(part, whole.rfind(b"\n") + 1)
    return {row["id"]: row for row in map(json.loads, whole[: whole.rfind(b"\n") + 1].splitlines())}


def _report(out: Path, bad: list[Row]) -> None:
    errors = out.with_name(out.name.removesuffix(".gz").removesuffix(".jsonl") + ".errors")
    if not bad:
        errors.unlink(missing_ok=True)
        return
    with atomic_write(errors) as temporary:
        temporary.write_text("".join(json.dumps(row) + "\n" for row in bad))
    print(f"{len(bad)} of the rows failed and were left out: see {errors}", file=sys.stderr)
