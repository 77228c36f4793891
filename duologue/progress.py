"""A progress bar on a terminal; otherwise a line every half minute."""

import sys
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager

EVERY_SECONDS = 30.0  # seconds between two lines in a log


@contextmanager
def progress(label: str, total: float | None = None) -> Generator[Callable[[float], None]]:
    """Yields `advance(amount)`; `total` is None if it is unknown. On stderr: a bar if that is a terminal, else a line
    every half minute, so short work prints nothing."""
    if not sys.stderr.isatty():
        yield _lines(label, total)
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

    columns = TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn()
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(label, total=total)
        yield lambda amount: bar.advance(task, amount)


def _lines(label: str, total: float | None) -> Callable[[float], None]:
    began = last = time.monotonic()
    done = 0.0

    def advance(amount: float) -> None:
        nonlocal last, done
        done, now = done + amount, time.monotonic()
        if now - last < EVERY_SECONDS:
            return
        last = now
        how_far = f"{done:.0f}" if total is None else f"{100 * done / max(total, 1e-9):.0f} %"
        print(f"{label}: {how_far} after {now - began:.0f} s", file=sys.stderr, flush=True)

    return advance
