import os

import pytest
import torch

from duologue.train.options import Run
from duologue.train.parallel import World
from duologue.train.settings import loop_config


@pytest.mark.parametrize(("processes", "workers"), [("1", 8), ("4", 3), ("16", 1)])
def test_processes_of_one_machine_share_its_cores(monkeypatch, processes: str, workers: int) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: range(16), raising=False)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", processes)
    world = World(device=torch.device("cuda"))
    assert loop_config(Run(steps=1), world).workers == workers
    assert loop_config(Run(steps=1, workers=5), world).workers == 5
