"""The language model in MLX against the reference's golden tensors and against torch."""

from functools import cache

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

pytest.importorskip("mlx.core")

import mlx.core as mx

from duologue import presets
from duologue.errors import InputError
from duologue.lm import LM, Sampling
from duologue.lm import step as torch_step
from duologue.lm.model import NO_INPUT, TO_GENERATE
from duologue.lm.sampling import hashed_uniform
from duologue.mlx import attention, sampling
from duologue.mlx.condition import Condition
from duologue.mlx.step import init_state, step
from duologue.weights.random import random_lm
from tests import golden
from tests.golden.cases import LM_CASES
from tests.mlx import mirror
from tests.mlx.mirror import back, of, same_bits

CASES = ["lm_moshi", "lm_shared", "lm_heads", "lm_cond", "lm_hibiki", "lm_sin"]
SETTINGS = [
    Sampling.greedy(),
    Sampling(seed=-5),
    Sampling(seed=3),
    Sampling(1.2, 5, 1.1, 0, 0.5, seed=2**40 + 7),
]


@cache
def tiny() -> LM:
    lm = random_lm(presets.tiny_lm())
    with torch.no_grad():
        lm.text_head.weight.mul_(3)
    return lm


def random_codes(batch: int, frames: int, seed: int = 0) -> Tensor:
    return torch.randint(32, (batch, 17, frames), generator=torch.Generator().manual_seed(seed))


def conditions(case: str, lm, io: dict[str, Tensor]) -> Condition | None:
    """The conditions of both rows of the batch, put together."""
    if lm.conditioning is None:
        return None
    rows = []
    for row in range(2):
        values = dict(LM_CASES[case]["texts"][row])
        for name in {key.split(".")[1] for key in io if key.startswith("condition.")}:
            values[name] = (of(io[f"condition.{name}.{row}"]), of(io[f"condition_mask.{name}.{row}"]))
        rows.append(lm.conditioning(values))
    summed = [row.summed_B1D for row in rows if row.summed_B1D is not None]
    crossed = [row.crossed_BSD for row in rows if row.crossed_BSD is not None]
    return Condition(mx.concatenate(summed) if summed else None, mx.concatenate(crossed) if crossed else None)


@pytest.mark.parametrize("case", CASES)
def test_teacher_forced_it_gives_the_references_logits(case: str) -> None:
    lm, io = mirror.lm(golden.lm(case)), golden.io(case)
    out = lm(of(io["forward.codes"]), conditions(case, lm, io))
    assert_close(back(out.text_BTV), io["forward.text_logits"][:, 0], atol=1e-4, rtol=0)
    if "forward.hidden" in io:
        assert_close(back(out.hidden_BTD), io["forward.hidden"], atol=1e-4, rtol=0)
    if out.audio_BQTV is not None:
        mask = io["forward.mask"].bool()
        assert torch.equal(back(out.audio_mask_BQT), mask)
        assert torch.equal(back(out.text_mask_BT), io["forward.text_mask"][:, 0].bool())
        assert_close(back(out.audio_BQTV)[mask], io["forward.logits"][mask], atol=1e-4, rtol=0)


RUNS = [
    *((case, "greedy") for case in CASES),
    *((f"lm_{name}", "forced") for name in ("moshi", "cond", "shared", "sin")),
]


@pytest.mark.parametrize(("case", "run"), RUNS)
def test_greedy_it_says_the_references_tokens(case: str, run: str, monkeypatch) -> None:
    """Far past the context, with a user stream; "forced": with some tokens given instead of sampled."""
    monkeypatch.setattr(attention, "YOUNG", 4)
    lm, io = mirror.lm(golden.lm(case)), golden.io(case)
    state = init_state(lm, [Sampling.greedy()] * 2, conditions(case, lm, io))
    for s in range(io[f"{run}.text"].shape[-1]):
        forced = {}
        if run == "forced":
            forced = {"text_B": of(io["forced.forced_text"][:, s])}
            forced["audio_BQ"] = of(io["forced.forced_audio"][..., s])
        out = step(lm, state, of(io[f"{run}.user"][..., s]), **forced)
        mx.eval(out, state.arrays())
        returned = io[f"{run}.returned"][..., s]
        assert torch.equal(back(out.tokens_BK), returned), f"step {s}"
        if f"{run}.extra_heads" in io and (kept := (io[f"{run}.kept_steps"] == s).nonzero()).numel():
            heads = mx.softmax(mx.stack([head(out.hidden_BD) for head in lm.extra_heads], 1), -1)
            assert_close(back(heads), io[f"{run}.extra_heads"][:, int(kept)], atol=1e-4, rtol=0)
    assert (io[f"{run}.returned"] != TO_GENERATE).any()


def test_sampled_it_says_what_torch_says_in_slots_that_come_and_go() -> None:
    """Four settings in a batch; slots rest and start anew at frames of their own."""
    twin, lm = tiny(), mirror.lm(tiny())
    codes_BKT = random_codes(4, 60)
    theirs, ours = torch_step.init_state(twin, SETTINGS), init_state(lm, SETTINGS)
    pattern = torch.Generator().manual_seed(0)
    said = set()
    for t in range(60):
        exec_B = torch.rand(4, generator=pattern) < 0.8
        reset_B = torch.rand(4, generator=pattern) < 0.03
        theirs.reset(reset_B)
        ours.reset(of(reset_B))
        if t == 30:  # as when another person sits down there
            theirs.sampling.set(0, SETTINGS[1])
            ours.sampling.set(0, SETTINGS[1])
        a = torch_step.step(twin, theirs, codes_BKT[:, 9:, t], exec_B)
        b = step(lm, ours, of(codes_BKT[:, 9:, t]), of(exec_B))
        mx.eval(b, ours.arrays())
        assert torch.equal(back(b.text_B)[exec_B], a.text_B[exec_B])
        assert torch.equal(back(b.tokens_BK), a.tokens_BK)
        assert_close(back(b.hidden_BD)[exec_B], a.hidden_BD[exec_B], atol=1e-4, rtol=0)
        assert torch.equal(back(ours.tokens_BKC), theirs.tokens_BKC)
        said |= set(a.tokens_BK.flatten().tolist())
    assert len(said) > 60, "they say nothing"


def test_in_a_batch_it_says_what_it_says_alone() -> None:
    lm = mirror.lm(tiny())
    codes_BKT = of(random_codes(4, 30))
    together, alone = init_state(lm, SETTINGS), [init_state(lm, [one]) for one in SETTINGS]
    for t in range(30):
        many = step(lm, together, codes_BKT[:, 9:, t])
        for b, state in enumerate(alone):
            one = step(lm, state, codes_BKT[b : b + 1, 9:, t])
            mx.eval(one, state.arrays())
            assert mx.array_equal(one.tokens_BK[0], many.tokens_BK[b])
            assert mx.array_equal(one.text_B[0], many.text_B[b])
        mx.eval(together.arrays())


def test_a_reset_slot_is_as_new() -> None:
    lm = mirror.lm(tiny())
    state = init_state(lm, SETTINGS)
    for t in range(5):
        step(lm, state, of(random_codes(4, 5)[:, 9:, t]))
    state.reset(mx.array([False, True, False, False]))
    for array, new in zip(state.arrays(), init_state(lm, SETTINGS).arrays(), strict=True):
        assert same_bits(array[1], new[1])
    state.reset()
    for array, new in zip(state.arrays(), init_state(lm, SETTINGS).arrays(), strict=True):
        assert same_bits(array, new)


def test_the_noise_is_torchs_bit_for_bit() -> None:
    random = torch.Generator().manual_seed(0)
    seed = torch.randint(-(2**62), 2**62, (50,), generator=random)
    step_B = torch.randint(2**31 - 1, (50,), generator=random)
    token = torch.randint(2**27, (50, 40), generator=random)
    low = mx.array((seed & 0xFFFFFFFF).numpy().astype("uint32"))
    for stream in (0, 1, 16):
        expected = hashed_uniform(seed[:, None], step_B[:, None], stream, token)
        ours = sampling.hashed_uniform(low[:, None], of(step_B)[:, None], stream, of(token))
        assert torch.equal(back(ours), expected)
        assert len(expected.unique()) > 1900


def test_no_input_counts_for_nothing() -> None:
    lm = mirror.lm(tiny())
    tokens_BKT = random_codes(1, 3)
    full = lm.embed(of(tokens_BKT))
    lost = lm.audio_embs[4](of(tokens_BKT[:, 5]))
    tokens_BKT[:, 5] = NO_INPUT
    assert_close(back(lm.embed(of(tokens_BKT))), back(full - lost), atol=1e-5, rtol=1e-4)


def test_a_condition_that_is_none() -> None:
    lm = mirror.lm(golden.lm("lm_hibiki"))
    with pytest.raises(InputError, match="unknown condition 'mood'"):
        lm.conditioning({"mood": "good"})
    with pytest.raises(InputError, match="is one of"):
        lm.conditioning({"description": "no such"})
    with pytest.raises(ValueError, match="attends to a condition"):
        init_state(mirror.lm(golden.lm("lm_cond")), [Sampling()])
