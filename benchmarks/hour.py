"""An hour of conversation (45,000 frames of 80 ms), far past the model's context: a step takes as long at the end as at
the start, and memory stays as it is.

    python benchmarks/hour.py                 the language model of `tiny` alone
    python benchmarks/hour.py --codec         from samples to samples
    python benchmarks/hour.py --model MODEL   another model

A machine that others share is slower at one time than at another. So the last frames take turns with those of a young
conversation, whose context has just filled, and are judged against them.
Exits with 1 if the hour made a step over 10 % slower or memory over 1 % larger.
"""

import json
import sys
import time
from collections.abc import Callable
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

    what: str
    wall_ms: float
    cpu_ms: float
    rss_mb: float
    state_mb: float


def main(options: Hour) -> int:
    torch.set_num_threads(1)
    model = load(options.model)
    make = with_codec if options.codec else language_model
    context, window = model.lm.config.temporal.context or 0, options.window
    old = make(model)
    for _ in range(context):
        old.step()
    windows = measure([("start", old)], window)
    for _ in range(options.steps - context - 2 * window):
        old.step()
    young = make(model)
    for _ in range(context):
        young.step()
    windows += measure([("end", old), ("young", young)], window)
    for each in windows:
        print(
            "  ".join(f"{k} {v:8.3f}" if isinstance(v, float) else f"{v:6}" for k, v in asdict(each).items())
        )
    start, end, twin = windows
    slower, larger = end.cpu_ms / twin.cpu_ms, end.rss_mb / start.rss_mb
    print(
        f"a step at the end takes x {slower:.3f} of a young one's CPU time, x {end.cpu_ms / start.cpu_ms:.3f} of one "
        f"at the start; memory x {larger:.4f}"
    )
    if options.json is not None:
        figures = {"model": options.model, "codec": options.codec, "steps": options.steps, "threads": 1}
        with atomic_write(options.json) as temporary:
            temporary.write_text(
                json.dumps(figures | {"windows": [asdict(w) for w in windows]}, indent=2) + "\n"
            )
    return int(slower > 1.1 or larger > 1.01)


@dataclass(frozen=True)
class Conversation:
    """One conversation: its next step, and the bytes it holds."""

    step: Callable[[], None]
    nbytes: Callable[[], int]


def measure(conversations: list[tuple[str, Conversation]], steps: int) -> list[Window]:
    """Steps of the conversations in turn."""
    wall, cpu = [[] for _ in conversations], [[] for _ in conversations]
    for _ in range(steps):
        for i, (_, conversation) in enumerate(conversations):
            before = time.perf_counter(), time.process_time()
            conversation.step()
            wall[i].append(1000 * (time.perf_counter() - before[0]))
            cpu[i].append(1000 * (time.process_time() - before[1]))
    return [
        Window(what, median(wall[i]), median(cpu[i]), resident_mb(), conversation.nbytes() / 1e6)
        for i, (what, conversation) in enumerate(conversations)
    ]


def language_model(model: Model) -> Conversation:
    """The language model alone, hearing other codes each time."""
    lm = model.lm
    state = init_state(lm, [model.sampling])
    random = torch.Generator().manual_seed(0)
    heard_TBQ = torch.randint(lm.config.card, (997, 1, lm.config.heard), generator=random)

    def one() -> None:
        step(lm, state, heard_TBQ[int(state.frame_B) % len(heard_TBQ)])

    return Conversation(one, state.nbytes)


def with_codec(model: Model) -> Conversation:
    """From samples to samples."""
    duplex = Duplex(model, [model.sampling])
    random = torch.Generator().manual_seed(0)
    wav_TBS = 0.3 * torch.randn(97, 1, duplex.frame_size, generator=random)

    def one() -> None:
        duplex.step(wav_TBS[int(duplex._state.frame_B) % len(wav_TBS)])

    return Conversation(one, lambda: duplex._state.nbytes() + duplex._codec_state.nbytes())


def resident_mb() -> float:
    """Memory of this process in RAM."""
    if sys.platform.startswith("linux"):
        return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 1e6
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1e6 if sys.platform == "darwin" else 1e3)


if __name__ == "__main__":
    sys.exit(main(tyro.cli(Hour, description=__doc__)))
