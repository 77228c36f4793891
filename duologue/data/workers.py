"""Ray Data as the engine of a stage: workers on one or many machines, each with a stage of its own.

Rows travel as JSON. A worker that dies is replaced and its rows are tried again; since a stage is idempotent and writes
whole files under names that say what is in them, each output is on the disk once. All machines must see the same files.
"""

import json
import logging
import os
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from duologue.data.manifest import Row
from duologue.data.runner import Engine, Stage, Tried, attempt
from duologue.errors import InputError

BLOCKS = 2000  # at most so many pieces of work
RETRIES = 3  # how often a piece of work may lose its worker


class Worker:
    """What an actor does: the stage, made once, for batches of rows."""

    def __init__(self, make: Callable[[], Stage]):
        self._stage = make()

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        tried = attempt(self._stage, [json.loads(row) for row in batch["row"]])
        return {
            "number": batch["number"],
            "row": np.array([json.dumps(each.row) for each in tried], dtype=object),
            "error": np.array([each.error for each in tried], dtype=object),
        }


def workers(make: Callable[[], Stage], cpus: int = 1, device: str = "cpu") -> Engine:
    """The engine whose workers make their stage by `make`, each with so many cores and, on cuda, a GPU of its own: as
    many as there is room for on the cluster at RAY_ADDRESS, or on this machine. InputError without the extra `ray`."""
    # Ray sends usage statistics to its vendor by default.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray.data
    except ImportError as error:
        raise InputError(f"--ray needs the extra: pip install 'duologue[ray]' ({error})") from None

    def run(_: Stage, rows: list[Row], batch: int) -> Iterator[tuple[int, Tried]]:
        if not rows:
            return
        if not ray.is_initialized():
            ray.init(
                address=os.environ.get("RAY_ADDRESS"), include_dashboard=False, logging_level=logging.WARNING
            )
        context = ray.data.DataContext.get_current()
        context.enable_progress_bars = False
        items = [{"number": number, "row": json.dumps(row)} for number, row in enumerate(rows)]
        tried = ray.data.from_items(
            items, override_num_blocks=min(BLOCKS, -(-len(items) // batch))
        ).map_batches(
            Worker,
            fn_constructor_args=(make,),
            batch_size=batch,
            num_cpus=cpus,
            num_gpus=int(device == "cuda"),
            compute=ray.data.ActorPoolStrategy(min_size=1),
            max_restarts=-1,
            max_task_retries=RETRIES,
        )
        try:
            for each in tried.iter_rows():
                yield each["number"], Tried(json.loads(each["row"]), each["error"])
        except ray.exceptions.RayError as error:
            raise InputError(f"the workers have died: {str(error).strip().splitlines()[-1]}") from error

    return run
