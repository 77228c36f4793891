"""Runs a stage over the rows of a manifest: resumes, shows progress, skips and reports a bad row without stopping.

A stage is a class whose `__init__` loads what it needs and whose `__call__(rows) -> rows` is idempotent: called again
on the same rows it gives the same rows, and files already written are not written again. It knows nothing of this
module, so another engine can call it as well: `duologue.data.workers` calls it in the actors of Ray Data. Its
`settings`, if it has any, are what its outputs depend on besides the rows: one folder holds outputs of one setting.
"""

import json
import os
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from duologue.data.fingerprint import fingerprint
from duologue.data.manifest import PLACES, Row, read_manifest, sidecar, write_manifest
from duologue.data.strict_json import one_line, parse_json, read_json
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
class Tried:
    """What became of a row: the stage's row, or why there is none."""

    row: Row | None
    error: str = ""


Engine = Callable[[Stage, list[Row], int], Iterable[tuple[int, Tried]]]
"""Applies a stage to rows, in batches of a size: the number of each row with what became of it, in any order."""


@dataclass
class Result:
    """What a run did. `bad` holds {"id", "error"} of each row that failed."""

    rows: list[Row] = field(default_factory=list)
    bad: list[Row] = field(default_factory=list)
    resumed: int = 0


def attempt(stage: Stage, chunk: list[Row]) -> list[Tried]:
    """Apply a stage to rows; if they fail together, to each alone."""
    try:
        made = list(stage([dict(row) for row in chunk]))
        if len(made) != len(chunk):
            raise RuntimeError(f"{len(chunk)} rows in, {len(made)} out")
        return [Tried(row) for row in made]
    except Exception as error:  # whatever a damaged file makes a library raise
        if len(chunk) == 1:
            return [Tried(None, f"{type(error).__name__}: {one_line(error)}")]
    return [attempt(stage, [row])[0] for row in chunk]


def in_this_process(stage: Stage, rows: list[Row], batch: int) -> Iterator[tuple[int, Tried]]:
    """The engine that needs nothing: one batch after the other."""
    for start in range(0, len(rows), batch):
        yield from enumerate(attempt(stage, rows[start : start + batch]), start)


def run(
    stage: Stage,
    rows: list[Row],
    out: StrPath,
    batch: int = 1,
    label: str = "rows",
    engine: Engine = in_this_process,
) -> Result:
    """Apply `stage` to `rows` and write the manifest `out`, in the order of `rows`.

    A row is known by its "id", or else by its "path", which then becomes its id. Finished rows are kept in OUT.part as
    they come: a killed run goes on from there, and a run whose manifest exists does the rows that are new, and those
    whose recording, transcript or row has changed since ("made_from"). Rows that raised are listed in OUT.errors and
    tried again by the next run. Raises InputError if OUT was made with other settings of the stage.
    """
    out = check_writable(out)
    part = out.with_name(out.name + ".part")
    names = _names(rows)
    done = {name_of(row): row for row in (read_manifest(out) if out.exists() else [])} | _read_part(part)
    settings = getattr(stage, "settings", {})
    _same_settings(out, settings, bool(done))
    todo = [
        row for row, name in zip(rows, names, strict=True) if not _is_current(row, done.get(name), settings)
    ]
    result = Result(resumed=len(rows) - len(todo))
    for row in todo:
        done.pop(name_of(row), None)
    with part.open("a") as log:
        for row, made in _each(engine(stage, todo, batch), todo, label, result.bad):
            made |= {"id": name_of(row), "made_from": _made_from(row, settings)}
            log.write(json.dumps(made) + "\n")
            log.flush()
            done[name_of(row)] = made
    result.rows = [done[name] for name in names if name in done]
    write_manifest(out, result.rows)
    _report(out, result.bad)
    part.unlink(missing_ok=True)
    return result


def run_in_place(
    stage: Stage,
    rows: list[Row],
    errors: StrPath,
    batch: int = 1,
    label: str = "rows",
    engine: Engine = in_this_process,
) -> Result:
    """As `run`, for a stage that adds to what lies beside the recordings: no manifest is written.

    What is done already only the stage knows. Rows that raised are listed in ERRORS.errors.
    """
    result = Result()
    _names(rows)
    made = {name_of(row): made for row, made in _each(engine(stage, rows, batch), rows, label, result.bad)}
    result.rows = [made[name_of(row)] for row in rows if name_of(row) in made]
    _report(Path(errors), result.bad)
    return result


def _names(rows: list[Row]) -> list[str]:
    names = [name_of(row) for row in rows]
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise InputError(f"two rows share the id {twice[0]!r}")
    return names


def _same_settings(out: Path, settings: dict[str, Any], begun: bool) -> None:
    """Write the settings down beside `out`, or make sure that what is there already was made with them."""
    place = out.with_name(out.name.removesuffix(".gz").removesuffix(".jsonl") + ".settings.json")
    now = json.loads(json.dumps(settings, default=str))
    if begun:
        then = read_json(place) if place.exists() else {}
        other = sorted(key for key in now.keys() | then.keys() if now.get(key) != then.get(key))
        if other:
            told = ", ".join(f"{key} was {then.get(key)}, is {now.get(key)}" for key in other)
            raise InputError(
                f"{out} was made with other settings ({told}): name another folder, or delete this one"
            )
    with atomic_write(place) as temporary:
        temporary.write_text(json.dumps(now, indent=1) + "\n")


def _made_from(row: Row, settings: dict[str, Any]) -> str:
    """A hash of all that the outputs of a row depend on; moving the recordings changes nothing."""
    path = Path(row["path"])
    rest = {name: value for name, value in row.items() if name != "path"}
    return fingerprint(settings, rest, path, sidecar(path) if path.name else None)


def _is_current(row: Row, made: Row | None, settings: dict[str, Any]) -> bool:
    """Whether a finished row is there and still what the stage would make."""
    if made is None or not all(Path(made[key]).exists() for key in PLACES if isinstance(made.get(key), str)):
        return False
    return made.get("made_from") == _made_from(row, settings)


def _each(
    tried: Iterable[tuple[int, Tried]], rows: list[Row], label: str, bad: list[Row]
) -> Iterator[tuple[Row, Row]]:
    """Rows that went well, with what became of them; in the end the others are in `bad`, in the order of `rows`."""
    errors: dict[int, str] = {}
    with progress(label, len(rows)) as advance:
        for number, each in tried:
            if each.row is None:
                errors[number] = each.error
            else:
                yield rows[number], each.row
            advance(1)
    bad += [{"id": name_of(rows[number]), "error": errors[number]} for number in sorted(errors)]


def name_of(row: Row) -> str:
    """What identifies a row from stage to stage."""
    return str(row["id"] if "id" in row else row["path"])


def _read_part(part: Path) -> dict[str, Row]:
    """Rows of an unfinished run; a last line cut short by a kill is dropped, so that new lines start clean."""
    if not part.exists():
        return {}
    whole = part.read_bytes()
    end = whole.rfind(b"\n") + 1
    try:
        rows = {row["id"]: row for row in map(parse_json, whole[:end].split(b"\n")[:-1])}
    except (ValueError, KeyError, TypeError):
        raise InputError(f"{part} is damaged: delete it to have its rows made again") from None
    os.truncate(part, end)
    return rows


def _report(out: Path, bad: list[Row]) -> None:
    errors = out.with_name(out.name.removesuffix(".gz").removesuffix(".jsonl") + ".errors")
    if not bad:
        errors.unlink(missing_ok=True)
        return
    with atomic_write(errors) as temporary:
        temporary.write_text("".join(json.dumps(row) + "\n" for row in bad))
    print(f"{len(bad)} of the rows failed and were left out: see {errors}", file=sys.stderr)
