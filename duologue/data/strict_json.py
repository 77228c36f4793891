"""Strict JSON: no duplicate keys, no NaN, limited size and nesting. Text files by lines."""

import gzip
import json
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from duologue.errors import InputError
from duologue.types import StrPath

LARGEST = 1 << 24  # bytes of one file or line
T = TypeVar("T")


def parse_json(text: str | bytes) -> Any:
    """The value of a json text. Raises ValueError for anything else, however it is broken."""
    if len(text) > LARGEST:
        raise ValueError(f"it is longer than {LARGEST >> 20} MiB")
    try:
        return json.loads(text, object_pairs_hook=_unique, parse_constant=_no_number)
    except RecursionError:
        raise ValueError("it is nested too deep") from None


def read_json(path: Path) -> Any:
    """The value in a file. Raises InputError if it is missing, too large or no json."""
    try:
        if path.stat().st_size > LARGEST:
            raise ValueError(f"it is larger than {LARGEST >> 20} MiB")
        return parse_json(path.read_bytes())
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from None
    except ValueError as error:
        raise InputError(f"{path} is no json: {one_line(error)}") from None


def read_lines(path: StrPath) -> Iterator[tuple[int, str]]:
    """The lines of a text file in UTF-8, with their numbers; a .gz is unpacked. Only a line feed ends a line: a text
    may hold Unicode's other line breaks. Raises InputError if the file is missing or damaged, or a line is too long."""
    path, number = Path(path), 0
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            while line := file.readline(LARGEST + 1):
                number += 1
                if len(line) > LARGEST:
                    raise InputError(f"{path}, line {number}: longer than {LARGEST >> 20} MiB")
                yield number, _text(line, path, number)
    except FileNotFoundError:
        raise InputError(f"there is no file {path}") from None
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(
            f"{path} is damaged or cannot be read, after line {number}: {one_line(error)}"
        ) from None


def _text(line: bytes, path: Path, number: int) -> str:
    try:
        return line.decode("utf-8-sig" if number == 1 else "utf-8").rstrip("\r\n")
    except UnicodeDecodeError:
        raise InputError(f"{path}, line {number}: it is not in UTF-8") from None


def read_rows(path: StrPath, make: Callable[[Any], T], expected: str) -> Iterator[T]:
    """What `make` makes of the json value in each line that is not empty. Raises InputError, with the number of the
    line, if it is no json or `make` cannot use it."""
    for number, line in read_lines(path):
        try:
            made = make(parse_json(line)) if line.strip() else None
        except (ValueError, KeyError, TypeError, AttributeError):
            raise InputError(f"{path}, line {number}: expected {expected}") from None
        if made is not None:
            yield made


def one_line(error: Exception) -> str:
    """An error's message, without line breaks and not too long."""
    return " ".join(str(error).split())[:200]


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("it has a key twice")
    return found


def _no_number(name: str) -> None:
    raise ValueError(f"{name} is no number")
