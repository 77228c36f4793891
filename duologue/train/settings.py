"""From the options that all trainings share to the loop's configuration."""

import os

from duologue.train.loop import LoopConfig
from duologue.train.options import Run
from duologue.train.parallel import World

MOST_WORKERS = 8


def loop_config(how: Run, world: World) -> LoopConfig:
    """Beside a GPU, other processes make the batches: one alone would keep it waiting."""
    workers = how.workers
    if workers is None:
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        cores //= int(os.environ.get("LOCAL_WORLD_SIZE", "1"))  # shared by `torchrun`'s processes here
        workers = 0 if world.device.type == "cpu" else min(MOST_WORKERS, max(1, cores - 1))
    return LoopConfig(
        how.steps, 1, 20, how.eval_every, save_minutes=how.save_minutes, minutes=how.minutes, seed=how.seed,
        workers=workers, new_data=how.new_data,
    )  # fmt: skip
