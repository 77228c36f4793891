"""A report as a table."""

from typing import Any

from rich.console import Console
from rich.table import Table


def show(report: dict[str, Any]) -> None:
    table = Table(show_header=False, box=None)
    peers = report.pop("peers", {})
    for name, value in report.items():
        if value is not None:
            table.add_row(name, f"{value:,.2f}" if isinstance(value, float) else str(value))
    Console().print(table)
    if peers:
        beside = Table("", "encode ms", "decode ms", "p99 ms")
        for name, values in {"duologue": report, **peers}.items():
            cells = (values.get(k, "") for k in ("encode_ms", "decode_ms", "frame_ms_p99"))
            beside.add_row(name, *(str(cell) for cell in cells))
        Console().print(beside)
