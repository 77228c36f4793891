"""The second text stream in MLX: the tokens that torch gives, step for step."""

from dataclasses import replace

import pytest
import torch

pytest.importorskip("mlx.core")

import mlx.core as mx

from duologue.lm import Sampling
from duologue.lm import step as torch_step
from duologue.mlx.step import init_state, step
from duologue.weights.random import random_lm
from tests.lm.test_user_text import CONFIG, STEPS, USER_BQS
from tests.mlx import mirror
from tests.mlx.mirror import back, of


def test_it_reads_what_torch_reads() -> None:
    twin = random_lm(replace(CONFIG))
    lm, settings = mirror.lm(twin), [Sampling.greedy()] * 2
    theirs, ours = torch_step.init_state(twin, settings), init_state(lm, settings)
    for s in range(STEPS):
        exec_B = torch.tensor([True, s % 3 != 1])
        expected = torch_step.step(twin, theirs, USER_BQS[..., s], exec_B)
        out = step(lm, ours, of(USER_BQS[..., s]), of(exec_B))
        mx.eval(out, ours.arrays())
        for mine, its in [
            (out.text_B, expected.text_B),
            (out.user_text_B, expected.user_text_B),
            (out.tokens_BK, expected.tokens_BK),
        ]:
            assert torch.equal(back(mine)[exec_B], its[exec_B]), f"step {s}"
