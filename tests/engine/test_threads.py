"""How many threads a step takes."""

import numpy as np
import pytest
import torch

from duologue.engine.backend import FEW, TorchBackend
from duologue.engine.duplex import Duplex
from duologue.weights import load


@pytest.mark.parametrize(("running", "threads"), [(1, 1), (FEW, 1), (FEW + 1, 2)])
def test_few_conversations_take_one_thread(
    running: int, threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend = TorchBackend(load("tiny"), FEW + 1)
    seen: list[int] = []
    step = Duplex.step

    def counted(duplex: Duplex, *frames: torch.Tensor):
        seen.append(torch.get_num_threads())
        return step(duplex, *frames)

    monkeypatch.setattr(Duplex, "step", counted)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        backend.step(np.zeros((FEW + 1, 1920), np.float32), np.arange(FEW + 1) < running)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
    assert seen == [threads]
