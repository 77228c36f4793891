"""One schema for the figures of every evaluation, one table, one file.

{"evaluation", "model", "settings": {...}, "figures": [{"name", "value", "unit", "count", "published"}], "duologue"}
"""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from duologue import __version__
from duologue.errors import InputError
from duologue.files import atomic_write
from duologue.types import StrPath


@dataclass(frozen=True)
class Figure:
    """One number: `count` is what it is over (items, pairs, seconds); `published` what a paper says of its model."""

    name: str
    value: float | None
    unit: str = ""
    count: int | None = None
    published: float | None = None


@dataclass
class Result:
    """What one evaluation found of one model."""

    evaluation: str
    model: str
    figures: list[Figure] = field(default_factory=list)
    settings: dict[str, Any] = field(default_factory=dict)

    def add(
        self,
        name: str,
        value: float | None,
        unit: str = "",
        count: int | None = None,
        published: float | None = None,
    ) -> None:
        self.figures.append(Figure(name, None if value is None else float(value), unit, count, published))

    def value(self, name: str) -> float | None:
        """A figure by name. KeyError if there is none."""
        return {figure.name: figure.value for figure in self.figures}[name]

    def to_json(self) -> dict[str, Any]:
        return asdict(self) | {"duologue": __version__}


def write_result(path: StrPath, result: Result) -> None:
    """Write it whole or not at all."""
    with atomic_write(path) as temporary:
        temporary.write_text(json.dumps(result.to_json(), indent=2) + "\n")


def read_result(path: StrPath) -> Result:
    """InputError if the file is not a result of `duologue eval`."""
    try:
        found = json.loads(Path(path).read_text())
        figures = [Figure(**figure) for figure in found["figures"]]
        return Result(found["evaluation"], found["model"], figures, found["settings"])
    except (OSError, ValueError, KeyError, TypeError):
        raise InputError(f"{path} is not a result that `duologue eval ... --json FILE` wrote") from None


def show(result: Result, target: Path | None = None) -> None:
    """The table on stdout, and the file if one is named."""
    from rich.console import Console
    from rich.table import Table

    published = any(figure.published is not None for figure in result.figures)
    table = Table(f"{result.evaluation}: {result.model}")
    for name in ("value", "unit", "over", *(["published"] if published else [])):
        table.add_column(name, justify="left" if name == "unit" else "right")
    for figure in result.figures:
        cells = [_cell(figure.value), figure.unit, "" if figure.count is None else str(figure.count)]
        table.add_row(figure.name, *cells, *([_cell(figure.published)] if published else []))
    Console().print(table)
    if target is not None:
        write_result(target, result)


def _cell(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:.3f}" if abs(value) < 10 else f"{value:.1f}"
