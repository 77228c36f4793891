"""Memory of one rank in a large training run: `python benchmarks/ranks.py --ranks 1016 --replicas 8 --model moshi`.

One process is rank 0 of a simulated group (torch's fake process group). It shards a model on the meta device (FSDP;
HSDP with --replicas) as `train.parallel` does, and prints its share of weights, gradients, moments and average, and how
far that is above an equal share. Nothing is computed or sent.
"""

import json
from dataclasses import dataclass
from typing import Literal

import torch
import torch.distributed as dist
import tyro
from torch.distributed.tensor import DTensor
from torch.testing._internal.distributed.fake_pg import FakeStore

from duologue import presets
from duologue.lm import LM
from duologue.lm.depth import DepthLayer
from duologue.nn.transformer import Layer
from duologue.train import parallel
from duologue.train.parallel import World

MODELS = {"moshi": presets.moshi_7b, "nano": presets.nano_lm, "tiny": presets.tiny_lm}
BYTES = 20  # per weight: the weight, its gradient, two moments and the average, in 32 bits


@dataclass(frozen=True)
class Ranks:
    ranks: int = 1016
    replicas: int = 1
    model: Literal["moshi", "nano", "tiny"] = "moshi"


def measured(options: Ranks) -> dict[str, float]:
    dist.init_process_group("fake", store=FakeStore(), rank=0, world_size=options.ranks)
    try:
        with torch.device("meta"):
            lm = LM(MODELS[options.model]())
        total = sum(weight.numel() for weight in lm.parameters())
        world = World(size=options.ranks)
        parallel.parallelize(lm, world, (Layer, DepthLayer), methods=("context",), replicas=options.replicas)
        own = sum(w.to_local().numel() if isinstance(w, DTensor) else w.numel() for w in lm.parameters())
    finally:
        dist.destroy_process_group()
    equal = total / (options.ranks / options.replicas)
    return {
        "ranks": options.ranks,
        "replicas": options.replicas,
        "parameters": total,
        "own": own,
        "own_gb": round(BYTES * own / 1e9, 3),
        "above_equal_share": round(own / equal - 1, 3),
    }


if __name__ == "__main__":
    print(json.dumps(measured(tyro.cli(Ranks))))
