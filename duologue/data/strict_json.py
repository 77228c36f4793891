"""Strict JSON: no duplicate keys, no NaN, limited size and nesting."""

import json
from pathlib import Path
from typing import Any

from duologue.errors import InputError

LARGEST = 1 << 24  # bytes of one file or line


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
