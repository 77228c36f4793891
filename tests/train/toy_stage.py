"""A toy stage that uses what a real one may: dropout, buffers that change, two optimisers, averages, groups.

Run as a script, it trains in the folder given: `python toy.py OUT [key=value ...]`.
"""

import errno
import json
import multiprocessing
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from duologue.lm import LM
from duologue.lm.depth import DepthLayer
from duologue.nn.transformer import Layer
from duologue.presets import tiny_lm
from duologue.train import checkpoint, log, parallel
from duologue.train.lm import LMLossConfig, LMStage
from duologue.train.loop import LoopConfig, Outcome, run
from duologue.train.optim import Ema, Group, OptimConfig, Optimizer
from duologue.train.parallel import World
from duologue.train.stage import NumberedData, Stage


class ToyData:
    """Batch `n` of rank r holds rows drawn from a generator seeded by n; ranks share out the rows."""

    def __init__(
        self, rows: int = 8, world: World | None = None, length: int = 10**9, own_places: bool = False
    ) -> None:
        world = world or World()
        self.own_places = own_places
        self.rows, self.rank, self.size, self.length = rows, world.rank, world.size, length
        self.place = 0

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        while self.place < self.length:
            generator = torch.Generator().manual_seed(self.place)
            self.place += 1
            x_BD = torch.randn(self.rows, 6, generator=generator)
            yield {"x": x_BD[self.rank :: self.size], "y": x_BD[self.rank :: self.size].sin()}

    def state_dict(self) -> dict[str, Any]:
        return {"place": self.place} | ({"rank": self.rank} if self.own_places else {})

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.place = state["place"]


class NumberedToyData(NumberedData):
    """The batches of `ToyData` of one process, which other processes can make."""

    def make(self, index: int) -> dict[str, Tensor]:
        x_BD = torch.randn(8, 6, generator=torch.Generator().manual_seed(index))
        return {"x": x_BD, "y": x_BD.sin()}


class ToyModel(nn.Module):
    def __init__(self, dropout: float = 0.0, width: int = 16) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            nn.Sequential(nn.Linear(6, width), nn.Tanh(), nn.Dropout(dropout), nn.Linear(width, 6))
            for _ in range(2)
        )
        self.head = nn.Linear(6, 6)
        self.register_buffer("seen", torch.zeros(6))

    def forward(self, x_BD: Tensor) -> Tensor:
        if self.training:
            self.seen.lerp_(x_BD.detach().mean(0), 0.1)
        for layer in self.layers:
            x_BD = x_BD + layer(x_BD)
        return self.head(x_BD)


class Plain(Stage):
    pause = 0.0

    def loss(self, batch: Any) -> Any:
        time.sleep(self.pause)
        error_BD = (self.module(batch["x"]) - batch["y"]).square()
        return error_BD.sum(), error_BD.numel(), {"data_seconds": (len(error_BD), 0)}

    def evaluate(self) -> dict[str, float]:
        x_BD = torch.randn(4, 6, generator=torch.Generator().manual_seed(-1))
        torch.rand(3)  # draws from the global generator, as an evaluation may
        return {"loss": float((self.module(x_BD) - x_BD.sin()).square().mean())}


class Alternating(Plain):
    """Two optimisers over parts of the model, as a codec and its discriminators have."""

    def train_step(self, batches: Any, step: int) -> dict[str, float]:
        name = "head" if step % 3 == 2 else "layers"
        return self.update(name, self.loss, batches, step)


class LMData(ToyData):
    """Batches for the language model: as many random conversations as there are rows."""

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        while self.place < self.length:
            generator = torch.Generator().manual_seed(self.place)
            self.place += 1
            text_B1T = torch.randint(4, 400, (self.rows, 1, 12), generator=generator)
            audio_BKT = torch.randint(0, 32, (self.rows, 16, 12), generator=generator)
            codes_BKT = torch.cat([text_B1T, audio_BKT], 1)[self.rank :: self.size]
            yield {"codes": codes_BKT, "inputs": codes_BKT}


def build_lm(world: World, sharded: bool) -> Stage:
    torch.manual_seed(7)
    shard = (Layer, DepthLayer) if sharded else ()
    lm = parallel.parallelize(LM(tiny_lm()), world, shard, methods=("context",), recompute=True)
    return LMStage(lm, LMLossConfig(), OptimConfig(lr=1e-2, eps=1e-4), world=world, ema=0.9)


def build(world: World, dropout: float = 0.0, kind: str = "plain", sharded: bool = False) -> Plain:
    torch.manual_seed(7)
    model = parallel.parallelize(ToyModel(dropout), world, shard=(nn.Sequential,) if sharded else ())
    config = OptimConfig(lr=1e-2, schedule="cosine", warmup=3, steps=60, clip=0.5)
    ema = Ema(model, 0.9, select="layers")
    if kind == "plain":
        groups = [Group("head", lr=3e-3, weight_decay=0.0)]
        return Plain(model, {"main": Optimizer(model, config, groups)}, world, ema)
    parts = {name: Optimizer(model, config, select=f"^{name}") for name in ("layers", "head")}
    return Alternating(model, parts, world, ema)


def train(
    out: Path,
    steps: int = 30,
    save_every: int = 5,
    kind: str = "plain",
    dropout: float = 0.1,
    accumulate: int = 1,
    sharded: bool = False,
    rows: int = 8,
    pause: float = 0.0,
    own_places: bool = False,
    **config: Any,
) -> Outcome:
    world = parallel.start("cpu")
    if kind == "lm":
        stage, data = build_lm(world, sharded), LMData(rows, world)
    else:
        stage, data = build(world, dropout, kind, sharded), ToyData(rows, world, own_places=own_places)
        stage.pause = pause
    if config.get("workers"):
        data = NumberedToyData()
    settings = {"eval_every": 7, "log_every": 3, "accumulate": accumulate} | config
    loop = LoopConfig(steps=steps, save_every=save_every, **settings)
    try:
        return run(stage, data, loop, out)
    finally:
        parallel.stop(world)


def state_of(out: Path) -> tuple[dict[str, Tensor], list[Any], list[dict[str, Any]]]:
    """Everything a run left: tensors and values of its last checkpoint, and its metrics but for times and speeds."""
    folder = checkpoint.latest(out / "checkpoints")
    assert folder is not None
    values = [json.loads(path.read_text()) for path in sorted(folder.glob("rank-*.json"))]
    rows = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    clocks = ("time", "steps_per_second", "data_rate")
    rows = [{name: value for name, value in row.items() if name not in clocks} for row in rows]
    return checkpoint.read_tensors(folder), values, rows


def assert_same_run(one: Path, other: Path) -> None:
    """Bit for bit: weights, moments, averages, random state, place in the data, metrics."""
    (tensors, values, rows), (tensors_2, values_2, rows_2) = state_of(one), state_of(other)
    assert rows == rows_2
    assert values == values_2
    assert tensors.keys() == tensors_2.keys()
    assert [name for name in tensors if not torch.equal(tensors[name], tensors_2[name])] == []


class Processes:
    """Starts `train` in processes of its own, cheaply: they are forked from one that has imported torch."""

    def __init__(self) -> None:
        self.context = multiprocessing.get_context("forkserver")
        self.context.set_forkserver_preload(["toy_stage", "torch._dynamo"])

    def start(self, out: Path, size: int = 1, die: str = "", **settings: Any) -> list[Any]:
        """`die` concerns the last process: "step:N" and "save:N:K" (at the K-th file operation of the N-th save)
        kill it, "full:N:M" lets the saves from N to M find no room.
        """
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = str(probe.getsockname()[1])
        out.mkdir(parents=True, exist_ok=True)
        started = []
        for rank in range(size):
            env = {
                "RANK": str(rank),
                "WORLD_SIZE": str(size),
                "MASTER_ADDR": "127.0.0.1",
                "MASTER_PORT": port,
            }
            arguments = (out, env, die if rank == size - 1 else "", settings)
            process = self.context.Process(target=_child, args=arguments)
            process.start()
            started.append(process)
        return started

    def run(self, out: Path, size: int = 1, die: str = "", **settings: Any) -> list[int | None]:
        """The exit codes; when one process dies by a signal, the others are ended."""
        started = self.start(out, size, die, **settings)
        while any(p.exitcode is None for p in started):
            started[-1].join(0.05)
            if any((p.exitcode or 0) < 0 for p in started):
                for process in started:
                    process.kill()
        for process in started:
            process.join()
        return [process.exitcode for process in started]


def _child(out: Path, env: dict[str, str], die: str, settings: dict[str, Any]) -> None:
    os.environ.update(env)
    with (out / f"output-{env['RANK']}.txt").open("a") as file:
        os.dup2(file.fileno(), 2)
    log.plot = lambda *_: None  # drawing takes longer than the training
    if die:
        _arm(*die.split(":"))
    outcome = train(out, **settings)
    (out / "outcome.json").write_text(json.dumps([outcome.reason, outcome.step]))


def _arm(kind: str, *numbers: str) -> None:
    """Makes this process kill itself at a step or inside a save, or find the disk full in some saves."""
    first, second = int(numbers[0]), int(numbers[-1])
    counts = {"steps": 0, "saves": 0, "operations": 0}
    saving: dict[int, int] = {}  # the number of its save by thread
    original_loss, original_save = Plain.loss, checkpoint.save
    original_write = checkpoint.state_dict_saver.save

    def loss(self: Plain, batch: Any) -> Any:
        counts["steps"] += 1
        if counts["steps"] == first:
            os.kill(os.getpid(), signal.SIGKILL)
        return original_loss(self, batch)

    def save(*args: Any, **kwargs: Any) -> Path:
        counts["saves"] += 1
        saving[threading.get_ident()] = counts["saves"]
        try:
            return original_save(*args, **kwargs)
        finally:
            saving.clear()

    def write(*args: Any, **kwargs: Any) -> Any:
        written = original_write(*args, **kwargs)
        if kind == "full" and first <= counts["saves"] <= second:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return written

    def watch(event: str, _: Any) -> None:
        if event in FILE_OPERATIONS and saving.get(threading.get_ident()) == first:
            counts["operations"] += 1
            if counts["operations"] == second:
                os.kill(os.getpid(), signal.SIGKILL)

    if kind == "step":
        Plain.loss = loss
    else:
        checkpoint.save, checkpoint.state_dict_saver.save = save, write
    if kind == "save":
        sys.addaudithook(watch)


FILE_OPERATIONS = ("open", "os.mkdir", "os.rename", "os.remove", "os.rmdir", "shutil.rmtree")


def main(out: str, *arguments: str) -> None:
    """`die`, as in `Processes.start`, concerns the last process, and only before `torchrun` restarts it."""
    texts = dict(argument.split("=") for argument in arguments)
    die, kind = texts.pop("die", ""), texts.pop("kind", "plain")
    last = os.environ.get("RANK", "0") == str(int(os.environ.get("WORLD_SIZE", "1")) - 1)
    if die and last and os.environ.get("TORCHELASTIC_RESTART_COUNT", "0") == "0":
        _arm(*die.split(":"))
    log.plot = lambda *_: None
    outcome = train(Path(out), kind=kind, **{key: json.loads(text) for key, text in texts.items()})
    print(outcome.reason, outcome.step)


if __name__ == "__main__":
    main(*sys.argv[1:])
