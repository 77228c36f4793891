"""Manifests: one json row a recording, and the words spoken in it, in the layout that moshi-finetune reads.

A manifest is a .jsonl (or .jsonl.gz) of {"path", "duration", ...}; paths are relative to the manifest's folder. A
conversation is a stereo file, left the agent and right the user. Beside NAME.wav lies NAME.json:

    {"alignments": [[" word", [start, end], "SPEAKER_MAIN"], ...], "text_conditions": {...}}

sorted by start, in seconds; SPEAKER_MAIN is the agent. Other speakers, keys of a row or of a sidecar are ours, and kept
as they are: SPEAKER_UNSAID are the words that the agent was about to say when it was cut, at the seconds of "cuts".
"""

import gzip
import json
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from duologue.data.strict_json import parse_json, read_json, read_lines
from duologue.errors import InputError
from duologue.files import atomic_write
from duologue.types import StrPath, Word

Row = dict[str, Any]
CONTINUATION = "SPEAKER_UNSAID"
CONTINUATION_SECONDS = 1.0  # seconds after a cut: words further off are nobody's concern
PLACES = ("path", "codes")  # keys of a row that name a file: relative to the manifest's folder
LARGEST_MANIFEST = 1 << 30  # bytes, uncompressed


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
    number of the line, if a row is no json object or has no "path", and for a file that is damaged or unpacks to more
    than a GiB.
    """
    path = Path(path)
    if path.is_dir():
        found = sorted(path.rglob("*.jsonl"))
        if not found:
            raise InputError(f"{path}: there is no .jsonl below this folder")
        return [row for one in found for row in read_manifest(one)]
    if not path.exists():
        raise InputError(f"there is no manifest {path}")
    return list(_rows(path))


def _rows(path: Path) -> Iterator[Row]:
    total = 0
    for number, line in read_lines(path):
        total += len(line)
        if total > LARGEST_MANIFEST:
            raise InputError(f"{path} is larger than {LARGEST_MANIFEST >> 20} MiB: divide it into several")
        if line.strip():
            yield _parse(line, path, number)


def _parse(line: str, manifest: Path, number: int) -> Row:
    try:
        row = parse_json(line)
        if not isinstance(row, dict) or not isinstance(row["path"], str) or "\0" in row["path"]:
            raise ValueError
    except (ValueError, KeyError):
        raise InputError(
            f'{manifest}, line {number}: expected an object like {{"path": ..., "duration": ...}}'
        ) from None
    return row | {key: _found(row[key], manifest.parent) for key in PLACES if isinstance(row.get(key), str)}


def _found(name: str, folder: Path) -> str:
    """A place in a row: beside the manifest, or else from the current folder."""
    beside, place = folder / name, Path(name)
    try:
        return str(beside if beside.exists() or not place.exists() else place)
    except (OSError, ValueError):  # a name that no file can have
        return str(beside)


def write_manifest(path: StrPath, rows: Iterable[Row]) -> None:
    """Write rows, whole or not at all; paths below the manifest's folder become relative to it."""
    path = Path(path)
    with atomic_write(path) as temporary:
        text = "".join(json.dumps(relative_row(row, path.parent)) + "\n" for row in rows)
        temporary.write_bytes(
            gzip.compress(text.encode(), mtime=0) if path.suffix == ".gz" else text.encode()
        )


def relative_row(row: Row, folder: Path) -> Row:
    """The row with "path" (and "codes") relative to `folder` where it lies below it, else absolute."""
    folder = folder.resolve()
    places = {key: Path(row[key]).resolve() for key in PLACES if isinstance(row.get(key), str)}
    return row | {
        key: str(place.relative_to(folder) if place.is_relative_to(folder) else place)
        for key, place in places.items()
    }


def sidecar(path: StrPath) -> Path:
    """Where the transcript of a recording lies."""
    return Path(path).with_suffix(".json")


def read_transcript(path: StrPath) -> Transcript:
    """The transcript of the recording at `path` (its sound file), sorted by start. InputError if it is missing or
    malformed; a word must have a text, a speaker, and a time at which it starts and, no earlier, ends."""
    place = sidecar(path)
    if not place.exists():
        raise InputError(f"{path} has no transcript {place.name}: run `duologue data align` first")
    try:
        return parse_transcript(read_json(place))
    except ValueError as error:
        raise InputError(f"{place} is not a transcript: {error}") from None


def parse_transcript(found: Any) -> Transcript:
    """A transcript of its json. Raises ValueError if it is malformed."""
    if not isinstance(found, dict) or not isinstance(found.get("alignments"), list):
        raise ValueError('expected {"alignments": [[word, [start, end], who], ...]}')
    words = [_word(entry, number) for number, entry in enumerate(found["alignments"], 1)]
    cuts = found.get("cuts", [])
    if not isinstance(cuts, list) or not all(_is_time(cut) for cut in cuts):
        raise ValueError('"cuts" must be a list of seconds')
    extra = {name: value for name, value in found.items() if name not in ("alignments", "text_conditions")}
    words.sort(key=lambda word: (word.start, word.end))
    return Transcript(words, found.get("text_conditions"), extra)


def _word(entry: Any, number: int) -> Word:
    try:
        text, (start, end), who = entry
        if not (isinstance(text, str) and isinstance(who, str)):
            raise ValueError
        if not (_is_time(start) and _is_time(end) and start <= end):
            raise ValueError
    except (ValueError, TypeError):
        raise ValueError(
            f"its word {number} is {json.dumps(entry)[:80]}, expected [word, [start, end], who] in seconds"
        ) from None
    return Word(text.strip(), float(start), float(end), who)


def _is_time(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < math.inf


def transcript_body(transcript: Transcript) -> dict[str, Any]:
    """A transcript as json: words sorted by start, times to a millisecond."""
    words = sorted(transcript.words, key=lambda word: (word.start, word.end))
    body: dict[str, Any] = {
        "alignments": [[" " + w.text, [round(w.start, 3), round(w.end, 3)], w.speaker] for w in words]
    }
    if transcript.text_conditions:
        body["text_conditions"] = transcript.text_conditions
    return body | transcript.extra


def write_transcript(path: StrPath, transcript: Transcript) -> None:
    """Write the transcript (`transcript_body`) beside the recording at `path`."""
    with atomic_write(sidecar(path)) as temporary:
        temporary.write_text(json.dumps(transcript_body(transcript)))
