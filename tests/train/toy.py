"""A toy stage that uses what a real one may: dropout, buffers that change, two optimisers, averages, groups.

Run as a script, it trains in the folder given: `python toy.py OUT [key=value ...]`.
"""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from duologue.train import parallel
from duologue.train.loop import LoopConfig, Outcome, run
from duologue.train.optim import Ema, Group, OptimConfig, Optimizer
from duologue.train.parallel import World
from duologue.train.stage import Stage


class ToyData:
    """Batch `n` of rank r holds rows drawn from a generator seeded by n; ranks share out the rows."""

    def __init__(self, rows: int = 8, world: World | None = None, length: int = 10**9) -> None:
        world = world or World()
        self.rows, self.rank, self.size, self.length = rows, world.rank, world.size, length
        self.place = 0

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        while self.place < self.length:
            generator = torch.Generator().manual_seed(self.place)
            self.place += 1
            x_BD = torch.randn(self.rows, 6, generator=generator)
            yield {"x": x_BD[self.rank :: self.size], "y": x_BD[self.rank :: self.size].sin()}

    def state_dict(self) -> dict[str, Any]:
        return {"place": self.place}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.place = state["place"]


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
    def loss(self, batch: Any) -> Any:
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


def build(world: World, dropout: float = 0.0, kind: str = "plain", sharded: bool = False) -> Stage:
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
    **config: Any,
) -> Outcome:
    world = parallel.start("cpu")
    stage = build(world, dropout, kind, sharded)
    settings = {"eval_every": 7, "log_every": 3, "accumulate": accumulate} | config
    loop = LoopConfig(steps=steps, save_every=save_every, **settings)
    try:
        return run(stage, ToyData(rows, world), loop, out)
    finally:
        parallel.stop(world)


if __name__ == "__main__":
    pairs = dict(argument.split("=") for argument in sys.argv[2:])
    values = {k: v if k == "kind" else float(v) if "." in v else int(v) for k, v in pairs.items()}
    outcome = train(Path(sys.argv[1]), **values)
    print(outcome.reason, outcome.step)
