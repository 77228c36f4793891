"""The language model frame by frame: against its teacher-forced self, and in slots that come and go."""

import gc
from functools import cache

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from duologue import presets
from duologue.config import LMConfig
from duologue.lm import LM, Sampling
from duologue.lm.model import NO_INPUT, TO_GENERATE
from duologue.lm.step import init_state, step
from duologue.lm.step_state import StepState
from duologue.weights.random import random_lm
from tests import golden
from tests.nn.streaming import same_bits

CASES = ["tiny", "lm_shared", "lm_hibiki"]


@cache
def model(case: str = "tiny") -> LM:
    """In double precision, so that rounding decides no token."""
    if case != "tiny":
        return golden.lm(case).double()
    lm = random_lm(presets.tiny_lm())
    with torch.no_grad():
        lm.text_head.weight.mul_(3)
    return lm.double()


def random_codes(config: LMConfig, batch: int, frames: int, seed: int = 0) -> Tensor:
    random = torch.Generator().manual_seed(seed)
    codes_BKT = torch.randint(config.card, (batch, config.streams, frames), generator=random)
    codes_BKT[:, 0] = torch.randint(config.text_card_out, (batch, frames), generator=random)
    return codes_BKT


def condition(lm: LM):
    return lm.conditioning({"description": "good"}) if lm.conditioning is not None else None


@pytest.mark.parametrize("case", CASES)
def test_steps_equal_the_teacher_forced_forward(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Told what to say, frame after frame, the model gives the logits that it gives over the whole text."""
    lm = model(case)
    config, frames = lm.config, 60  # past the context
    codes_BKT = random_codes(config, 2, frames)
    spoken, delays = config.depth_steps, config.delays
    with torch.no_grad():
        out = lm(codes_BKT, condition(lm))
        assert lm.depth is not None
        state = init_state(lm, [Sampling.greedy()] * 2, condition(lm))
    logits: dict[int, Tensor] = {}
    monkeypatch.setattr(
        type(state.sampling),
        "choose_audio",
        lambda self, l_BV, step_B, q, noise_BV: logits.update({q: l_BV}) or l_BV.argmax(-1),
    )
    for s in range(frames):
        heard_BQ = codes_BKT[:, 1 + spoken :, max(0, s - 1)]
        audio_BQ = torch.stack(
            [
                codes_BKT[:, q, s - delays[q]] if s >= delays[q] else torch.full((2,), config.card)
                for q in range(1, 1 + spoken)
            ],
            1,
        )
        said = step(lm, state, heard_BQ, text_B=codes_BKT[:, 0, s], audio_BQ=audio_BQ)
        assert_close(said.hidden_BD, out.hidden_BTD[:, s], atol=1e-5, rtol=1e-4)
        for q in range(spoken):
            frame = s - delays[1 + q]
            if frame >= 0:
                assert_close(logits[q], out.audio_BQTV[:, q, frame], atol=1e-5, rtol=1e-4)
        done = s - max(delays[: 1 + spoken])
        expected = codes_BKT[:, : 1 + spoken, done] if done >= 0 else torch.full((2, 1 + spoken), TO_GENERATE)
        assert torch.equal(said.tokens_BK, expected)


def test_masks_of_the_forward() -> None:
    lm = model()
    codes_BKT = random_codes(lm.config, 2, 7)
    codes_BKT[0, 0, 2] = codes_BKT[1, 3, 4] = NO_INPUT
    with torch.no_grad():
        out = lm(codes_BKT)
    assert out.text_mask_BT.logical_not().nonzero().tolist() == [[0, 2]]
    expected = torch.ones(2, 8, 7, dtype=torch.bool)
    expected[:, 1:, -1] = False  # delayed: the last frame has no prediction
    expected[1, 2, 4] = False
    assert torch.equal(out.audio_mask_BQT, expected)


def test_no_input_counts_for_nothing() -> None:
    """A token of -1 gives the same as a model without that stream's embedding."""
    lm = model()
    tokens_BKT = random_codes(lm.config, 1, 3)
    with torch.no_grad():
        full = lm.embed(tokens_BKT)
        lost = lm.audio_embs[4](tokens_BKT[:, 5])
        tokens_BKT[:, 5] = NO_INPUT
        assert_close(lm.embed(tokens_BKT), full - lost)
        assert lost.abs().max() > 0.01


def test_predictions_see_the_past_only() -> None:
    lm = model()
    a = random_codes(lm.config, 1, 12)
    b = a.clone()
    b[..., 6:] = random_codes(lm.config, 1, 6, seed=9)
    with torch.no_grad():
        out_a, out_b = lm(a), lm(b)
    assert_close(out_a.text_BTV[:, :7], out_b.text_BTV[:, :7])
    assert_close(out_a.audio_BQTV[:, 0, :6], out_b.audio_BQTV[:, 0, :6])
    assert (out_a.text_BTV[:, 7] - out_b.text_BTV[:, 7]).abs().max() > 1e-4


def talk(lm: LM, state: StepState, heard_BTQ: Tensor) -> list[tuple[Tensor, Tensor]]:
    return [
        (out.text_B, out.tokens_BK) for heard_BQ in heard_BTQ.unbind(1) for out in [step(lm, state, heard_BQ)]
    ]


SETTINGS = {
    "greedy": [Sampling.greedy()] * 4,
    "sampled": [Sampling(seed=s) for s in (0, 1, 1, 7)],
    "mixed": [
        Sampling.greedy(),
        Sampling(seed=3),
        Sampling(1.5, 5, 1.2, 4, 0.5, seed=4),
        Sampling(0.3, 0, 0, 3),
    ],
}


@pytest.mark.parametrize("settings", SETTINGS)
def test_slots_come_and_go(settings: str) -> None:
    """Four slots start, pause, are reset and end at frames of their own: each says what it says alone."""
    lm, sampling = model(), SETTINGS[settings]
    plan = {0: (0, 75), 1: (3, 30), 2: (7, 64), 3: (1, 49)}
    random = torch.Generator().manual_seed(5)
    state = init_state(lm, sampling)
    garbage_BQ = torch.full((4, 8), 31)
    said: list[list[list]] = [[[]] for _ in range(4)]  # slot, conversation, frames of (heard, text, tokens)
    for t in range(76):
        reset_B = torch.tensor([t == plan[b][0] or (b, t) in {(1, 9), (2, 15)} for b in range(4)])
        state.reset(reset_B)
        for b in reset_B.nonzero()[:, 0].tolist():
            said[b].append([])
        exec_B = torch.tensor([plan[b][0] <= t < plan[b][1] for b in range(4)]) & (
            torch.rand(4, generator=random) < 0.8
        )
        heard_BQ = torch.randint(32, (4, 8), generator=random)
        out = step(lm, state, torch.where(exec_B[:, None], heard_BQ, garbage_BQ), exec_B)
        for b in exec_B.nonzero()[:, 0].tolist():
            said[b][-1].append((heard_BQ[b], out.text_B[b], out.tokens_BK[b]))
    for own, conversation in [(s, c) for s, slot in zip(sampling, said, strict=True) for c in slot if c]:
        alone = init_state(lm, [own])
        heard_BTQ = torch.stack([frame[0] for frame in conversation])[None]
        for t, (text_B, tokens_BK) in enumerate(talk(lm, alone, heard_BTQ)):
            assert text_B[0] == conversation[t][1]
            assert torch.equal(tokens_BK[0], conversation[t][2])
    tokens = torch.stack([frame[2] for slot in said for c in slot for frame in c[3:]])
    assert len(tokens[:, 0].unique()) > 10, "they say nothing"
    assert len(tokens[:, 1].unique()) > 10
    assert max(len(c) for slot in said for c in slot) > 50, "not past the context"


def test_a_resting_slot_keeps_every_bit() -> None:
    lm = model()
    state = init_state(lm, SETTINGS["mixed"])
    talk(lm, state, torch.randint(32, (4, 5, 8), generator=torch.Generator().manual_seed(0)))
    before = [t.clone() for t in state.tensors()]
    exec_B = torch.tensor([True, False, True, False])
    for code in (0, 31):
        step(lm, state, torch.full((4, 8), code), exec_B)
    for old, new in zip(before, state.tensors(), strict=True):
        assert same_bits(old[~exec_B], new[~exec_B])
    assert (state.frame_B == torch.tensor([7, 5, 7, 5])).all()


def test_a_reset_slot_is_as_new() -> None:
    """After NaN has filled its past: every bit, and what it says. The others keep every bit."""
    lm = model()
    state, fresh = init_state(lm, SETTINGS["mixed"]), init_state(lm, SETTINGS["mixed"])
    heard_BTQ = torch.randint(32, (4, 6, 8), generator=torch.Generator().manual_seed(0))
    talk(lm, state, heard_BTQ)
    for ring in state.temporal.caches:
        ring.both_BHCD[1:3, :, : state.temporal.ring.used] = torch.nan
    assert not step(lm, state, heard_BTQ[:, 0]).hidden_BD[1:3].isfinite().any()
    before = [t.clone() for t in state.tensors()]
    state.reset(torch.tensor([False, True, True, False]))
    for old, new, first in zip(before, state.tensors(), fresh.tensors(), strict=True):
        assert same_bits(new[1:3], first[1:3])
        assert same_bits(new[::3], old[::3])
    for a, b in zip(talk(lm, state, heard_BTQ), talk(lm, fresh, heard_BTQ), strict=True):
        assert torch.equal(a[0][1:3], b[0][1:3])
        assert torch.equal(a[1][1:3], b[1][1:3])


def test_memory_and_objects_do_not_grow() -> None:
    """Some hundred steps past the context; `benchmarks/hour.py` goes on for an hour of conversation."""
    lm = random_lm(presets.tiny_lm())
    state, heard_BQ = init_state(lm, [Sampling(seed=0)]), torch.zeros(1, 8, dtype=torch.int64)
    for _ in range(lm.config.temporal.context + 5):
        step(lm, state, heard_BQ)
    gc.collect()
    size, objects = state.nbytes(), len(gc.get_objects())
    for _ in range(200):
        step(lm, state, heard_BQ)
    gc.collect()
    assert state.nbytes() == size
    assert len(gc.get_objects()) <= objects + 5
    assert state.frame_B.item() == lm.config.temporal.context + 205


def test_forced_tokens() -> None:
    """What is forced is said; what is not is sampled as it would be."""
    lm = model()
    states = [init_state(lm, [Sampling(seed=2)]) for _ in range(3)]
    heard_BQ = torch.zeros(1, 8, dtype=torch.int64)
    free = step(lm, states[0], heard_BQ)
    none = torch.full((1, 8), TO_GENERATE)
    same = step(lm, states[1], heard_BQ, text_B=none[:, 0], audio_BQ=none)
    assert torch.equal(free.text_B, same.text_B)
    assert all(same_bits(a, b) for a, b in zip(states[0].tensors(), states[1].tensors(), strict=True))
    audio_BQ = none.clone()
    audio_BQ[0, 2] = 9
    forced = step(lm, states[2], heard_BQ, text_B=free.text_B + 1, audio_BQ=audio_BQ)
    assert forced.text_B == free.text_B + 1
    assert states[2].tokens_BKC[0, 3, 1] == 9


def test_no_depth_transformer() -> None:
    """A model that only listens and writes."""
    lm = golden.lm("lm_heads")
    assert lm.depth is None
    with torch.no_grad():
        out = lm(random_codes(lm.config, 2, 5))
    assert out.audio_BQTV is None
    assert out.text_BTV.shape == (2, 5, lm.config.text_card_out)
    state = init_state(lm, [Sampling.greedy()] * 2)
    assert step(lm, state, torch.zeros(2, 4, dtype=torch.int64)).tokens_BK.shape == (2, 1)


@pytest.mark.parametrize("settings", [Sampling.greedy(), Sampling(seed=1)])
def test_half_precision(settings: Sampling) -> None:
    lm = random_lm(presets.tiny_lm()).bfloat16()
    state = init_state(lm, [settings])
    assert state.temporal.caches[0].keys_BHCD.dtype == torch.bfloat16
    heard_BTQ = torch.randint(32, (1, 45, 8), generator=torch.Generator().manual_seed(0))
    tokens_BK = talk(lm, state, heard_BTQ)[-1][1]
    assert ((tokens_BK >= 0) & (tokens_BK < 420)).all()
