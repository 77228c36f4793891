"""The training loop: it drives a `Stage` over resumable data.

    class Words(Stage):
        def loss(self, batch):
            logits_BTV = self.module(batch["codes"])
            return cross_entropy(logits_BTV, batch["words"], reduction="sum"), batch["words"].numel()

    world = parallel.start()
    model = parallel.parallelize(build(), world)
    stage = Words(model, {"main": Optimizer(model, OptimConfig(lr=1e-3))}, world)
    run(stage, data, LoopConfig(steps=10_000), "runs/words")

Killed at any moment and started again with the same arguments, it goes on from the last checkpoint and does,
in one process, bit for bit what it would have done.
"""

import signal
import threading
import time
from collections import deque
from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch.utils.data import DataLoader, Dataset

from duologue.errors import InputError
from duologue.train import checkpoint
from duologue.train.log import Meter, RunLog
from duologue.train.parallel import World, pin, to_device
from duologue.train.stage import Data, PlacedData, Stage
from duologue.types import StrPath


@dataclass(frozen=True)
class LoopConfig:
    """How long, how often, how much."""

    steps: int
    accumulate: int = 1
    """Microbatches (batches of the data) in one step of one process."""
    log_every: int = 10
    eval_every: int = 0
    """Steps between evaluations; one more comes at the end. 0: only that."""
    save_every: int = 0
    """Steps between checkpoints; 0: by time only."""
    save_minutes: float = 10.0
    """Minutes between checkpoints; 0: by steps only."""
    keep: int = 3
    """How many checkpoints stay."""
    minutes: float = 0.0
    """Stop, with a checkpoint, after this time; 0: no limit."""
    seed: int = 0
    prefetch: int = 0
    """Batches read ahead by a thread."""
    workers: int = 0
    """Processes that make batches ahead, of data that is `PlacedData`; other data is then read ahead by a thread."""
    new_data: bool = False
    """Go on from the last checkpoint, but at the beginning of the data."""

    def __post_init__(self) -> None:
        if self.steps < 1 or self.accumulate < 1 or self.log_every < 1 or self.keep < 1:
            raise InputError("steps, accumulate, log_every and keep must be at least 1")


@dataclass(frozen=True)
class Outcome:
    """How a run ended: after its last step, at its time limit, by a signal, or with the data."""

    reason: Literal["steps", "time", "signal", "data"]
    step: int
    evaluation: dict[str, float]


MAX_SKIPPED = 50
"""Steps in a row with a gradient that is not finite before a run gives up."""


def run(stage: Stage, data: Data, config: LoopConfig, out_dir: StrPath) -> Outcome:
    """Trains `stage` until `config.steps`, going on from the newest checkpoint in `out_dir`, if there is one.

    SIGTERM and SIGINT end it with a checkpoint after the step in hand; so does `config.minutes`. Checkpoints are
    written by a thread: training stops for a copy in memory, not for the disk. One that cannot be written (full disk)
    is reported, and training goes on; but the first one, before any step, and the last must succeed.
    Raises InputError if another process trains in `out_dir`, or the checkpoint is of another model.
    """
    return _Run(stage, data, config, Path(out_dir)).go()


class _Run:
    def __init__(self, stage: Stage, data: Data, config: LoopConfig, out_dir: Path) -> None:
        self.stage, self.data, self.config, self.out_dir = stage, data, config, out_dir
        self.world = stage.world
        self.root = out_dir / "checkpoints"
        self.step = self.saved_step = self.saving_step = self.skipped = 0
        self.meter = Meter()
        self.place: dict[str, Any] = {}
        self.began = self.saved_at = time.monotonic()

    def go(self) -> Outcome:
        try:
            self.out_dir.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"cannot make the folder {self.out_dir}: {error.strerror}") from None
        with _lock(self.out_dir, self.world), _signals() as caught:
            self.log = RunLog(self.out_dir, self.config.steps, quiet=not self.world.is_main)
            self.saver = checkpoint.Saver(self.root, self.world, self.config.keep)
            try:
                self._resume()
                return self._train(caught)
            finally:
                self.saver.close()
                self.log.plot()
                self.log.close()

    def _train(self, caught: threading.Event) -> Outcome:
        reason, evaluated, evaluation = "steps", -1, {}
        self.logged_step, self.logged_at = self.step, time.monotonic()
        self.stage.module.train()
        with closing(_feed(self.data, self.config, self.world)) as feed:
            while self.step < self.config.steps:
                item = next(feed, None)
                if self.world.any(item is None)[0] or item is None:
                    reason = "data"
                    break
                batches, self.place = item
                self._step([to_device(batch, self.world.device) for batch in batches])
                if self.config.eval_every and self.step % self.config.eval_every == 0:
                    evaluation, evaluated = self._evaluate(), self.step
                overtime, interrupted, due = self.world.any(self._overtime(), caught.is_set(), self._due())
                if overtime or interrupted:
                    reason = "signal" if interrupted else "time"
                    break
                if due:
                    self._save()
                elif self.saver.done:
                    self._note_saved()
        self._note_saved()
        if self.saved_step != self.step:
            self._save(must=True)
        if evaluated != self.step and reason != "signal":
            evaluation = self._evaluate()
        return Outcome(reason, self.step, evaluation)

    def _step(self, batches: list[Any]) -> None:
        result = self.stage.train_step(batches, self.step)
        if self.stage.ema:
            self.stage.ema.update()
        self.step += 1
        self.meter.add(result)
        skipped = any(value for name, value in result.items() if name.endswith("skipped"))
        self.skipped = self.skipped + 1 if skipped else 0
        if self.skipped >= MAX_SKIPPED:
            raise InputError(f"the gradient was not finite for {MAX_SKIPPED} steps: lower the learning rate")
        if self.step % self.config.log_every == 0 or self.step == self.config.steps:
            self._log()

    def _log(self) -> None:
        values, now = self.meter.take(), time.monotonic()
        pace = (self.step - self.logged_step) / max(1e-9, now - self.logged_at)
        self.logged_step, self.logged_at = self.step, now
        seconds = values.pop("data_seconds", None)
        speed = {"steps_per_second": pace} if seconds is None else {"data_rate": seconds * pace}
        self.log.metrics(self.step, values | speed)

    def _evaluate(self) -> dict[str, float]:
        before = checkpoint.random_state(self.world.device)
        self.stage.module.eval()
        averaged = self.stage.ema.applied() if self.stage.ema else nullcontext()
        with averaged, torch.no_grad(), self.world.autocast():
            values = {f"eval_{name}": float(value) for name, value in self.stage.evaluate().items()}
            samples = self.stage.samples()
        self.stage.module.train()
        # Evaluating more or less often must not change what is trained.
        checkpoint.set_random_state(before, self.world.device)
        if values:
            self.log.metrics(self.step, values)
        self.log.samples(self.step, samples)
        self.log.plot(every=60)
        return values

    def _state(self) -> dict[str, Any]:
        places = self.world.gather(self.place)
        return {
            **self.stage.state_dict(),
            "loop": {
                "step": self.step,
                "world_size": self.world.size,
                "random": checkpoint.random_state(self.world.device),
                "meter": self.meter.state_dict(),
                "data": {"place": self.place, "same_everywhere": all(p == places[0] for p in places)},
            },
        }

    def _resume(self) -> None:
        if self.world.is_main:
            checkpoint.clean(self.root)
        found = self.world.gather(checkpoint.latest(self.root) if self.world.is_main else None)[0]
        if found is None:
            checkpoint.seed_all(self.config.seed + self.world.rank)
            self.place = self.data.state_dict()
            self.log.resume(0)
            self._save(must=True)
            return
        state = checkpoint.load(found, self._state(), self.world)
        loop = state.pop("loop")
        self.stage.load_state_dict(state)
        self.step = self.saved_step = loop["step"]
        self.meter.load_state_dict(loop["meter"])
        self.place = self.data.state_dict() if self.config.new_data else loop["data"]["place"]
        if loop["world_size"] == self.world.size:
            checkpoint.set_random_state(loop["random"], self.world.device)
        elif self.config.new_data or loop["data"]["same_everywhere"]:
            checkpoint.seed_all(hash((self.config.seed, self.step, self.world.rank)) % 2**63)
        else:
            raise InputError(
                f"the place in the data was saved by {loop['world_size']} processes, each its own: go on with as many"
            )
        self.data.load_state_dict(self.place)
        self.log.resume(self.step)
        self.log.note(f"going on from {found}")

    def _save(self, must: bool = False) -> None:
        """Begins to write a checkpoint; with `must`, waits for it too. Raises InputError if that cannot be written."""
        self._note_saved()
        self.saver.start(self.step, self._state())
        self.saving_step, self.saved_at = self.step, time.monotonic()
        if must:
            try:
                self.saver.finish()
            except checkpoint.SaveError as error:
                raise InputError(
                    f"cannot write the checkpoint of step {self.step} to {self.root} ({error}): "
                    "make room and start again"
                ) from None
            self.saved_step = self.step

    def _note_saved(self) -> None:
        """Waits for the checkpoint that is being written, if there is one."""
        try:
            if self.saver.finish():
                self.saved_step = self.saving_step
        except checkpoint.SaveError as error:
            step = self.saving_step
            self.log.note(f"could not write the checkpoint of step {step}: {error}; training goes on")

    def _due(self) -> bool:
        by_steps = self.config.save_every and self.step % self.config.save_every == 0
        waited = time.monotonic() - self.saved_at
        return bool(by_steps or (self.config.save_minutes and waited > 60 * self.config.save_minutes))

    def _overtime(self) -> bool:
        return bool(self.config.minutes and time.monotonic() - self.began > 60 * self.config.minutes)


Item = tuple[list[Any], dict[str, Any]]


def _feed(data: Data, config: LoopConfig, world: World) -> Generator[Item, None, None]:
    """The microbatches of each step, with the place in the data after them; ends with the data."""

    def items() -> Generator[Item, None, None]:
        taken = []
        for batch in data:
            taken.append(pin(batch) if world.device.type == "cuda" else batch)
            if len(taken) == config.accumulate:
                yield taken, data.state_dict()
                taken = []

    if config.workers and isinstance(data, PlacedData):
        return _shared_out(data, config, world)
    prefetch = config.prefetch or 2 * config.workers
    return _ahead(items(), prefetch) if prefetch else items()


def _shared_out(data: PlacedData, config: LoopConfig, world: World) -> Generator[Item, None, None]:
    """The same items, whose batches are made by `config.workers` processes: in the order of their places."""
    following: deque[dict[str, Any]] = deque()

    def places() -> Iterator[dict[str, Any]]:
        place = data.state_dict()
        while True:
            following.append(data.after(place))
            yield place
            place = following[-1]

    made = DataLoader(
        _Places(data), sampler=places(), batch_size=None, num_workers=config.workers, prefetch_factor=4,
        pin_memory=world.device.type == "cuda",
        generator=torch.Generator(),  # otherwise each start draws from the global generator
    )  # fmt: skip
    taken: list[Any] = []
    for batch in made:
        taken.append(batch)
        place = following.popleft()
        if len(taken) == config.accumulate:
            yield taken, place
            taken = []


class _Places(Dataset[Any]):
    """What torch's loader asks for, with a place for an index."""

    def __init__(self, data: PlacedData) -> None:
        self.data = data

    def __getitem__(self, index: Any) -> Any:
        return self.data.at(index)


def _ahead(items: Iterator[Item], count: int) -> Generator[Item, None, None]:
    """The same items, made by a thread up to `count` ahead of the one in use."""
    pool = ThreadPoolExecutor(1)
    try:
        waiting = deque(pool.submit(next, items, None) for _ in range(count))
        while (item := waiting.popleft().result()) is not None:
            waiting.append(pool.submit(next, items, None))
            yield item
    finally:
        pool.shutdown(cancel_futures=True)


@contextmanager
def _signals() -> Generator[threading.Event]:
    """An event set by SIGTERM or SIGINT; a second one acts as it always did."""
    caught = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield caught
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}

    def catch(number: int, _: Any) -> None:
        caught.set()
        signal.signal(number, before[signal.Signals(number)])

    for number in before:
        signal.signal(number, catch)
    try:
        yield caught
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _lock(folder: Path, world: World) -> Generator[None]:
    """Keeps a second run out of `folder`; the lock goes with the process, however it ends."""
    try:
        import fcntl
    except ImportError:  # Windows
        yield
        return
    with (folder / ".lock").open("w") as file:
        taken = False
        if world.is_main:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                taken = True
        if world.any(taken)[0]:
            raise InputError(f"another process trains in {folder}: wait for it, or use another folder")
        yield
