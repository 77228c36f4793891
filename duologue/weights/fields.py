"""Json objects read strictly: every value of a known type, and nothing left over."""

import json
from collections.abc import Callable
from pathlib import Path
from types import UnionType
from typing import Any, TypeVar, get_args, get_origin

from duologue.errors import InputError

T = TypeVar("T")
LARGEST_JSON = 2**24  # bytes


class Fields:
    """Takes values out of a json object, each of a known type, so that what is left at the end was not understood."""

    def __init__(self, values: Any, where: str):
        if not isinstance(values, dict):
            raise InputError(f"{where} must be a json object, not {shown(values)}")
        self.values, self.where = dict(values), where

    def take(self, key: str, kind: Any, *default: Any) -> Any:
        """The value of `key`, of type `kind`; without a default, the key must be there."""
        if key not in self.values:
            if not default:
                raise InputError(f"{self.where}: the key {key!r} is missing")
            return default[0]
        value = self.values.pop(key)
        if not is_a(value, kind):
            name = kind.__name__ if isinstance(kind, type) else str(kind)
            raise InputError(f"{self.where}: {key} must be of type {name}, not {shown(value)}")
        return float(value) if type(value) is int and is_a(0.5, kind) else value

    def inside(self, key: str) -> "Fields":
        """The fields of the object `key`."""
        return Fields(self.take(key, dict), f"{self.where}: {key}")

    def expect(self, **known: Any) -> None:
        """Keys that may be absent, but must have this value: no published model has another."""
        for key, value in known.items():
            if self.values.pop(key, value) != value:
                raise InputError(f"{self.where}: only {key} = {json.dumps(value)} is supported")

    def finish(self) -> None:
        if self.values:
            raise InputError(f"{self.where}: unknown key {sorted(self.values)[0]!r}")

    def build(self, make: Callable[..., T], *args: Any, **values: Any) -> T:
        """`make(...)`, whose complaints about the values then say where they came from."""
        try:
            return make(*args, **values)
        except InputError as error:
            raise InputError(f"{self.where}: {error}") from None


def is_a(value: Any, kind: Any) -> bool:
    """Whether a json value has a type; a whole number is a number, a truth value is not."""
    if get_origin(kind) is UnionType:
        return any(is_a(value, k) for k in get_args(kind))
    if get_origin(kind) is list:
        (of,) = get_args(kind)
        if not isinstance(value, list):
            return False
        if of is int:  # of which a hostile file may have millions
            return set(map(type, value)) <= {int}
        return all(is_a(v, of) for v in value)
    if isinstance(value, bool):
        return kind is bool
    if kind is float:
        return isinstance(value, int | float) and abs(value) < 1e100
    return isinstance(value, kind)


def shown(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 40 else text[:40] + " ..."


def _no_number(name: str) -> None:
    raise ValueError(f"{name} is not a number")


def read_json(path: Path) -> dict[str, Any]:
    try:
        if path.stat().st_size > LARGEST_JSON:
            raise ValueError(f"it is larger than {LARGEST_JSON >> 20} MiB")
        values = json.loads(path.read_text("utf-8"), parse_constant=_no_number)
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path} cannot be read as json: {error}") from None
    if not isinstance(values, dict):
        raise InputError(f"{path} must hold a json object, not {shown(values)}")
    return values
