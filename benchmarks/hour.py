"""An hour of conversation (45,000 frames of 80 ms), far past the model's context: a step takes as long at the end as at
the start, and memory stays as it is.

    python benchmarks/hour.py                 the language model of `tiny` alone
    python benchmarks/hour.py --codec         from samples to samples
    python benchmarks/hour.py --model MODEL   another model

Exits with 1 if the end is over 10 % slower or holds over 1 % more memory than the start.
"""

import json
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

import torch
import tyro

from duologue.engine.duplex import Duplex
from duologue.files import atomic_write
from duologue.lm.step import init_state, step
from duologue.weights import Model, load


@dataclass(frozen=True)
class Hour:
    """How long to go on, and with what."""

    model: str = "tiny"
    """The model."""
    codec: bool = False
    """Encode and decode sound too."""
    steps: int = 45_000
    """Frames of 80 ms."""
    window: int = 1000
    """Frames at the start (once the context is full) and at the end that are compared."""
    json: Path | None = None
    """A file for the figures."""


@dataclass(frozen=True)
class Window:
    """What a stretch of steps took: medians in milliseconds, and the memory at its end."""

    first: int
    last: int
    wall_ms: float
    cpu_ms: float
    rss_mb: float
    state_mb: float


def main(options: Hour) -> int:
    torch.set_num_threads(1)
    model = load(options.model)
    context = model.lm.config.temporal.context or 0
    starts = context, max(context, options.steps - options.window)
    stepper, state_bytes = (with_codec if options.codec else language_model)(model)
    windows, wall, cpu = [], [], []
    for s in range(options.steps):
        before = time.perf_counter(), time.process_time()
        stepper()
        if any(first <= s < first + options.window for first in starts):
            wall.append(1000 * (time.perf_counter() - before[0]))
            cpu.append(1000 * (time.process_time() - before[1]))
        if s + 1 in [first + options.window for first in starts]:
            first = s + 1 - options.window
            windows.append(Window(first, s, median(wall), median(cpu), resident_mb(), state_bytes() / 1e6))
            print(" ".join(f"{name}={value:.6g}" for name, value in asdict(windows[-1]).items()), flush=True)
            wall, cpu = [], []
    start, end = windows[0], windows[-1]
    slower, larger = end.cpu_ms / start.cpu_ms, end.rss_mb / start.rss_mb
    print(f"step time x {slower:.3f} (wall x {end.wall_ms / start.wall_ms:.3f}), memory x {larger:.4f}")
    if options.json is not None:
        figures = {"model": options.model, "codec": options.codec, "steps": options.steps, "threads": 1}
        with atomic_write(options.json) as temporary:
            temporary.write_text(
                json.dumps(figures | {"windows": [asdict(w) for w in windows]}, indent=2) + "\n"
            )
    return int(slower > 1.1 or larger > 1.01)


def language_model(model: Model):
    """A step of the language model that hears other codes each time, and the size of its state."""
    lm = model.lm
    state = init_state(lm, [model.sampling])
    random = torch.Generator().manual_seed(0)
    heard_TBQ = torch.randint(lm.config.card, (997, 1, lm.config.heard), generator=random)

    def one() -> None:
        step(lm, state, heard_TBQ[int(state.frame_B) % len(heard_TBQ)])

    return one, state.nbytes


def with_codec(model: Model):
    """A step from samples to samples, and the size of its state."""
    duplex = Duplex(model, [model.sampling])
    random = torch.Generator().manual_seed(0)
    wav_TBS = 0.3 * torch.randn(97, 1, duplex.frame_size, generator=random)

    def one() -> None:
        duplex.step(wav_TBS[int(duplex._state.frame_B) % len(wav_TBS)])

    return one, lambda: duplex._state.nbytes() + duplex._codec_state.nbytes()


def resident_mb() -> float:
    """Memory of this process in RAM."""
    if sys.platform.startswith("linux"):
        return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 1e6
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1e6 if sys.platform == "darwin" else 1e3)


if __name__ == "__main__":
    sys.exit(main(tyro.cli(Hour, description=__doc__)))
