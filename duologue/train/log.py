"""The log of a run: metrics as JSON lines, a plot, audio samples, a line on the terminal.

Logging never stops a run: if the disk is full, a line is lost.
"""

import json
import math
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch

from duologue.files import atomic_write


class Meter:
    """Means of the finite values by name since the last `take`; its state is part of a checkpoint."""

    def __init__(self) -> None:
        self._sums: dict[str, list[float]] = {}

    def add(self, values: Mapping[str, Any]) -> None:
        for name, value in values.items():
            pair = self._sums.setdefault(name, [0.0, 0.0])
            if math.isfinite(value := float(value)):
                pair[0] += value
                pair[1] += 1

    def take(self) -> dict[str, float]:
        means = {name: total / count if count else math.nan for name, (total, count) in self._sums.items()}
        self._sums = {}
        return means

    def state_dict(self) -> dict[str, Any]:
        # One list, so that a metric called like another's path cannot get in the way.
        return {"sums": [[name, *pair] for name, pair in self._sums.items()]}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self._sums = {name: [total, count] for name, total, count in state["sums"]}


class RunLog:
    """The log of one run in `folder`: metrics.jsonl, loss.png, samples/. With `quiet` it does nothing."""

    def __init__(self, folder: Path, total: int, quiet: bool = False) -> None:
        self.folder, self.total, self.quiet = folder, total, quiet
        self._live = None
        self._complained = False
        self._plotted_at = -math.inf
        if not quiet and sys.stderr.isatty():
            self._live = _live_line(total)

    def resume(self, step: int) -> None:
        """Drops lines after `step`, which the run will write again, and any partial line."""
        path = self.folder / "metrics.jsonl"
        if self.quiet or not path.exists():
            return
        kept = [line for line, row in _rows(path) if row["step"] <= step and not self._is_last(row)]

        def write() -> None:
            with atomic_write(path) as temporary:
                temporary.write_text("".join(line + "\n" for line in kept))

        self._try(write)

    def metrics(self, step: int, values: Mapping[str, float]) -> None:
        """Appends a line to metrics.jsonl and shows it."""
        if self.quiet:
            return
        row = {"step": step, "time": round(time.time(), 3)}
        row |= {name: value if math.isfinite(value) else None for name, value in values.items()}
        self._try(lambda: _append(self.folder / "metrics.jsonl", json.dumps(row)))
        text = "  ".join(f"{name} {value:.4g}" for name, value in values.items())
        self._show(step, text)

    def note(self, text: str) -> None:
        """Shows a sentence."""
        if self._live:
            self._live.console.print(text)
        elif not self.quiet:
            _print(text)

    def samples(self, step: int, samples: Mapping[str, tuple[Any, int]]) -> None:
        """Writes each (wav [S] or [C, S], rate) to samples/step-NAME.wav."""
        for name, (wav, rate) in samples.items():
            wav = torch.as_tensor(wav).detach().float().cpu().numpy()
            path = self.folder / "samples" / f"{step:08d}-{name}.wav"
            if not self.quiet:
                self._try(lambda path=path, wav=wav, rate=rate: _write_wav(path, wav, rate))

    def plot(self, every: float = 0.0) -> None:
        """Draws the metrics over the steps, if matplotlib is here ([train] extra) and `every` seconds have passed."""
        path = self.folder / "metrics.jsonl"
        if not self.quiet and path.exists() and time.monotonic() - self._plotted_at >= every:
            self._try(lambda: plot(path, self.folder / "loss.png"))
            self._plotted_at = time.monotonic()

    def close(self) -> None:
        if self._live:
            self._live.stop()

    def _is_last(self, row: Mapping[str, Any]) -> bool:
        """Whether this is the evaluation at the end, which a finished run makes again."""
        return row["step"] == self.total and any(name.startswith("eval_") for name in row)

    def _show(self, step: int, text: str) -> None:
        if self._live:
            self._live.update(self._live.task_ids[0], completed=step, text=text)
        else:
            _print(f"step {step}/{self.total}  {text}")

    def _try(self, write: Any) -> None:
        try:
            write()
        except OSError as error:
            if not self._complained:
                self.note(f"the log cannot be written: {error}; training goes on")
            self._complained = True


_NOT_DRAWN = ("step", "time", "lr", "grad_norm", "skipped", "steps_per_second", "data_rate")


def plot(metrics: Path, image: Path) -> None:
    """Draws every metric but pace and rates, one panel each, training and evaluation together.

    Does nothing without matplotlib ([train] extra).
    """
    try:
        import matplotlib
    except ImportError:
        return
    matplotlib.use("Agg")
    from matplotlib.figure import Figure

    curves: dict[str, list[tuple[int, float]]] = {}
    for _, row in _rows(metrics):
        for name, value in row.items():
            if not name.endswith(_NOT_DRAWN) and value is not None:
                curves.setdefault(name, []).append((row["step"], value))
    panels = sorted({name.removeprefix("eval_") for name in curves})
    if not panels:
        return
    columns = math.ceil(math.sqrt(len(panels)))
    rows = math.ceil(len(panels) / columns)
    figure = Figure(figsize=(4.5 * columns, 3 * rows), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False).flat
    for axis, panel in zip(axes, panels, strict=False):
        for name, style in ((panel, "-"), (f"eval_{panel}", "o-")):
            if name in curves:
                axis.plot(*zip(*curves[name], strict=True), style, label=name, linewidth=1, markersize=3)
        axis.set_xlabel("step")
        axis.legend()
    with atomic_write(image) as temporary:
        figure.savefig(temporary, dpi=100)


def _live_line(total: int) -> Any:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (BarColumn(20), MofNCompleteColumn(), TimeRemainingColumn(), TextColumn("{task.fields[text]}"))
    live = Progress(*columns, console=Console(stderr=True))
    live.add_task("train", total=total, text="")
    live.start()
    return live


def _rows(path: Path) -> list[tuple[str, dict[str, Any]]]:
    rows = []
    for line in path.read_text(errors="replace").splitlines():
        try:
            row = json.loads(line)
        except ValueError:
            continue
        if isinstance(row, dict) and isinstance(row.get("step"), int):
            rows.append((line, row))
    return rows


def _print(text: str) -> None:
    # Where it goes may be a file on a full disk, or a terminal that was closed.
    with suppress(OSError):
        print(text, file=sys.stderr, flush=True)


def _append(path: Path, line: str) -> None:
    """The whole line or, on an error, nothing of it."""
    with path.open("ab", buffering=0) as file:
        size = file.tell()
        try:
            if file.write(data := line.encode() + b"\n") < len(data):
                raise OSError("no room for a whole line")
        except OSError:
            file.truncate(size)
            raise


def _write_wav(path: Path, wav: np.ndarray, rate: int) -> None:
    import soundfile  # where no sound is written, as on a borrowed machine, it need not be there

    path.parent.mkdir(exist_ok=True)
    with atomic_write(path) as temporary:
        soundfile.write(temporary, wav.T, rate)
