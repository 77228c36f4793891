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
        columns = [
            key
            for key in ("encode_ms", "decode_ms", "step_ms", "frame_ms_p99", "step_ms_p99")
            if key in report
        ]
        beside = Table("", *(key.replace("_", " ") for key in columns))
        for name, values in {f"duologue, {report['backend']}": report, **peers}.items():
            cells = (values.get(key, "") for key in columns)
            title = f"{name}: {values['error']}" if "error" in values else name
            beside.add_row(title, *(str(cell) for cell in cells))
        Console().print(beside)
