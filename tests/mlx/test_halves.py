"""The two halves of a step in MLX: what torch says, with conditions of each slot, guidance and fewer codebooks."""

from dataclasses import replace

import pytest
import torch

pytest.importorskip("mlx.core")

import mlx.core as mx

from duologue import presets
from duologue.lm import Sampling
from duologue.lm import step as torch_step
from duologue.mlx.condition import Condition
from duologue.mlx.step import init_state, listen, speak, step, tell
from duologue.mlx.step_state import Guidance
from duologue.weights.random import random_lm
from tests import golden
from tests.lm.test_halves import conditions, user_codes
from tests.mlx import mirror
from tests.mlx.mirror import back, of


def same(condition: torch_step.Condition) -> Condition:
    summed, crossed = condition.summed_B1D, condition.crossed_BSD
    return Condition(None if summed is None else of(summed), None if crossed is None else of(crossed))


@pytest.mark.parametrize("codebooks", [2, None])
@pytest.mark.parametrize("text", [True, False, None])
@pytest.mark.parametrize("case", ["lm_hibiki", "lm_cond"])
def test_it_says_what_torch_says(case: str, text: bool | None, codebooks: int | None) -> None:
    """Guided or not, in three slots that rest by turns; a forced word, steps without depth, another voice at half."""
    twin, lm = golden.lm(case), mirror.lm(golden.lm(case))
    first, second = conditions(case, twin)
    settings = [replace(Sampling.greedy(), guidance=g) for g in (1.0, 2.0, -1.0)]
    theirs_null = None if text is None else torch_step.Guidance(second, text)
    ours_null = None if text is None else Guidance(same(second), text)
    theirs = torch_step.init_state(twin, settings, first, theirs_null, codebooks)
    ours = init_state(lm, settings, same(first), ours_null, codebooks)
    for s, user_BQ in enumerate(user_codes(twin, 3)):
        exec_B = torch.tensor([True, s % 3 != 1, s % 4 != 2])
        if s == 12:
            torch_step.tell(twin, theirs, 1, second)
            tell(lm, ours, 1, same(second))
            theirs.reset(torch.tensor([False, True, False]))
            ours.reset(mx.array([False, True, False]))
            theirs.null_until_B[1] = 5
            ours.null_until_B[1] = 5
        a = torch_step.listen(twin, theirs, user_BQ, exec_B)
        ours.grow()
        b = listen(lm, ours, of(user_BQ), of(exec_B))
        assert torch.equal(back(b.text_B)[exec_B], a.text_B[exec_B])
        text_B = torch.where(torch.arange(3) == s % 5, 7, a.text_B)
        depth = s % 6 != 4
        x = torch_step.speak(twin, theirs, a, text_B, None, exec_B, depth)
        y = speak(lm, ours, b, of(text_B), None, of(exec_B), depth)
        mx.eval(y, ours.arrays())
        assert torch.equal(back(y.tokens_BK), x.tokens_BK), f"step {s}"
        assert torch.equal(back(ours.tokens_BKC), theirs.tokens_BKC)


@pytest.mark.parametrize("head", ["text_head", "depth.heads.3", "out_norm"])
def test_a_head_that_leaves_the_numbers_is_seen(head: str) -> None:
    twin = random_lm(presets.tiny_lm())
    for finite in (True, False):
        lm = mirror.lm(twin)
        state = init_state(lm, [Sampling.greedy(), Sampling(seed=1)])
        out = step(lm, state, mx.zeros((2, 8), mx.int32))
        assert out.finite_B.tolist() == [finite, finite]
        with torch.no_grad():
            twin.get_submodule(head).weight.view(-1)[7] = torch.nan
