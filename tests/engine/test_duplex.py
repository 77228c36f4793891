"""The step that every conversation is made of: slots that do not notice one another."""

from dataclasses import replace
from functools import cache

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from duologue import presets
from duologue.config import DepthConfig
from duologue.engine.backend import TorchBackend
from duologue.engine.duplex import Duplex, DuplexFrame
from duologue.errors import InputError
from duologue.lm import Sampling
from duologue.lm.model import TO_GENERATE
from duologue.weights import Model, load
from duologue.weights.random import random_lm
from tests import golden
from tests.nn.streaming import same_bits

FRAME = 1920
SETTINGS = [Sampling.greedy(), Sampling(seed=3), Sampling(seed=3), Sampling(1.2, 5, 1.1, 4, 0.5, seed=4)]
BAD = {"nan": torch.nan, "inf": torch.inf, "-inf": -torch.inf, "huge": 1e30}


@cache
def model(double: bool = False) -> Model:
    """The tiny model; in double precision rounding decides no token."""
    tiny = load("tiny")
    with torch.no_grad():
        tiny.lm.text_head.weight.mul_(3)
    if double:
        tiny.codec.double()
        tiny.lm.double()
    return tiny


def sound(slots: int, frames: int, seed: int = 0) -> Tensor:
    """Noise whose loudness changes, `[B, T, S]`."""
    random = torch.Generator().manual_seed(seed)
    loud = torch.rand(slots, frames, 1, generator=random, dtype=torch.float64)
    return torch.randn(slots, frames, FRAME, generator=random, dtype=torch.float64).mul(loud).clamp(-1, 1)


def states(duplex: Duplex) -> list[Tensor]:
    return [*duplex._codec_state.tensors(), *duplex._state.tensors()]


def test_slots_come_and_go() -> None:
    """Four slots start, pause, are reset and end at frames of their own: each says what it says alone."""
    plan = {0: (0, 70), 1: (3, 24), 2: (7, 40), 3: (1, 33)}
    random = torch.Generator().manual_seed(5)
    wav_BTS = sound(4, 70)
    duplex = Duplex(model(double=True), SETTINGS)
    said: list[list[list[tuple[Tensor, DuplexFrame, int]]]] = [[] for _ in range(4)]
    for t in range(70):
        reset_B = torch.tensor([t == plan[b][0] or (b, t) in {(1, 9), (2, 15)} for b in range(4)])
        duplex.reset(reset_B)
        for b in reset_B.nonzero()[:, 0].tolist():
            said[b].append([])
        exec_B = torch.tensor([plan[b][0] <= t < plan[b][1] for b in range(4)])
        exec_B &= torch.rand(4, generator=random) < 0.8
        frame_BS = torch.where(exec_B[:, None], wav_BTS[:, t], torch.nan)
        out = duplex.step(frame_BS, exec_B)
        for b in exec_B.nonzero()[:, 0].tolist():
            said[b][-1].append((frame_BS[b], out, b))
    for own, conversation in [(s, c) for s, slot in zip(SETTINGS, said, strict=True) for c in slot]:
        alone = Duplex(model(double=True), [own])
        for frame_S, together, b in conversation:
            out = alone.step(frame_S[None])
            assert out.text_B[0] == together.text_B[b]
            assert torch.equal(out.heard_BQ[0], together.heard_BQ[b])
            assert torch.equal(out.tokens_BK[0], together.tokens_BK[b])
            assert_close(out.wav_BS[0], together.wav_BS[b], atol=1e-6, rtol=0)
            assert together.finite_B[b]
    tokens = torch.stack([out.tokens_BK[b] for slot in said for c in slot for _, out, b in c])
    assert len(tokens[:, 0].unique()) > 10, "they say nothing"
    assert len(tokens[:, 1].unique()) > 5
    assert [len(slot) for slot in said] == [1, 2, 2, 1]
    assert max(len(c) for slot in said for c in slot) > 42, "not past the context"


def test_slots_that_rest_are_left_out_of_the_step() -> None:
    """A small model is stepped for those who run: they say what they say among all slots, and so do they later."""
    random, wav_BTS, sizes = torch.Generator().manual_seed(6), sound(4, 60), set()
    among_all, left_out = Duplex(model(double=True), SETTINGS), TorchBackend(model(double=True), 4)
    settings = dict(enumerate(SETTINGS))
    left_out.start(settings)
    for t in range(60):
        if t in (20, 45):
            among_all.reset(torch.arange(4) == t % 4)
            left_out.start({t % 4: SETTINGS[t % 4]})
        exec_B = torch.rand(4, generator=random) < 0.5
        sizes.add(int(exec_B.sum()))
        expected = among_all.step(wav_BTS[:, t], exec_B)
        got = left_out.step(wav_BTS[:, t].numpy(), exec_B.numpy())
        for name, rows in vars(got).items():
            wanted = getattr(expected, name)[exec_B]
            assert_close(torch.from_numpy(rows)[exec_B].to(wanted), wanted, atol=1e-6, rtol=0, msg=name)
            assert not rows[~exec_B.numpy()].any() or exec_B.sum() == 0
    assert sizes == {0, 1, 2, 3, 4}
    for got, expected in zip(states(left_out._duplex), states(among_all), strict=True):
        assert_close(got, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("bad", BAD)
def test_bad_samples_stay_in_their_slot_and_do_not_stay_there(bad: str) -> None:
    """The same schedule with and without them: the other slots are equal bit for bit, and a reset leaves nothing."""
    wav_BTS = sound(4, 12).float()
    exec_TB = torch.rand(12, 4, generator=torch.Generator().manual_seed(1)) < 0.8
    exec_TB[:, 2] = True
    dirty_BTS = wav_BTS.clone()
    dirty_BTS[2, :6, 100:900:2] = BAD[bad]
    clean, dirty = Duplex(model(), SETTINGS), Duplex(model(), SETTINGS)
    others, last_B = [0, 1, 3], torch.tensor([False, False, True, False])
    for t in range(12):
        if t == 6:
            dirty.reset(last_B)
            clean.reset(last_B)
            assert all(same_bits(a, b) for a, b in zip(states(clean), states(dirty), strict=True))
        a, b = clean.step(wav_BTS[:, t], exec_TB[t]), dirty.step(dirty_BTS[:, t], exec_TB[t])
        assert b.finite_B[2]
        for name in ("wav_BS", "text_B", "heard_BQ", "tokens_BK"):
            x, y = getattr(a, name), getattr(b, name)
            assert same_bits(x if t >= 6 else x[others], y if t >= 6 else y[others])
        for x, y in zip(states(clean), states(dirty), strict=True):
            assert same_bits(x if t >= 6 else x[others], y if t >= 6 else y[others])


def test_a_hundred_conversations_leave_nothing() -> None:
    duplex, new = Duplex(model(), SETTINGS[:2]), states(Duplex(model(), SETTINGS[:2]))
    last_B = torch.tensor([False, True])
    for cycle in range(100):
        frame_BS = sound(2, 1, cycle)[:, 0].float()
        frame_BS[1, cycle:] = list(BAD.values())[cycle % 4]
        for _ in range(cycle % 3 + 1):
            duplex.step(frame_BS, None if cycle % 2 else last_B)
        duplex.reset(last_B)
        assert all(same_bits(a[1], b[1]) for a, b in zip(states(duplex), new, strict=True))
    assert any(not same_bits(a[0], b[0]) for a, b in zip(states(duplex), new, strict=True))


def test_a_model_gone_astray_is_seen_in_its_slot_alone_and_a_reset_heals_it() -> None:
    duplex, twin = Duplex(model(), SETTINGS), Duplex(model(), SETTINGS)
    wav_BTS = sound(4, 8).float()
    for t in range(3):
        duplex.step(wav_BTS[:, t])
        twin.step(wav_BTS[:, t])
    duplex._state.temporal.caches[0].values_BHCD[1, :, :3] = torch.nan  # what was written
    out, other = duplex.step(wav_BTS[:, 3]), twin.step(wav_BTS[:, 3])
    assert out.finite_B.tolist() == [True, False, True, True]
    assert same_bits(out.wav_BS[[0, 2, 3]], other.wav_BS[[0, 2, 3]])
    mask_B = torch.tensor([False, True, False, False])
    duplex.reset(mask_B)
    twin.reset(mask_B)
    for t in range(4, 8):
        out, other = duplex.step(wav_BTS[:, t]), twin.step(wav_BTS[:, t])
        assert out.finite_B.all()
        assert same_bits(out.wav_BS, other.wav_BS)


def test_new_settings_begin_with_a_reset() -> None:
    duplex = Duplex(model(), SETTINGS)
    duplex.reset(torch.tensor([False, True, False, False]), {1: Sampling(seed=99)})
    assert duplex._state.sampling.seed_B.tolist() == [0, 99, 3, 4]


def test_the_first_frames_say_nothing() -> None:
    """The acoustic codes come a frame later; what is decoded then is the first frame."""
    duplex = Duplex(model(), [Sampling(seed=0)])
    first = duplex.step(sound(1, 1)[:, 0].float())
    assert first.text_B.tolist() == [TO_GENERATE]
    assert not first.wav_BS.any()
    second = duplex.step(sound(1, 1)[:, 0].float())
    assert second.text_B[0] >= 0
    assert second.wav_BS.any()


def test_the_codes_of_a_frame_stand_for_it() -> None:
    by_wav, by_codes = Duplex(model(), [Sampling(seed=0)]), Duplex(model(), [Sampling(seed=0)])
    for wav_BS in sound(1, 5).float().unbind(1):
        a = by_wav.step(wav_BS)
        b = by_codes.step_codes(a.heard_BQ)
        assert same_bits(a.wav_BS, b.wav_BS)
        assert torch.equal(a.text_B, b.text_B)


def altered(**parts: object) -> Model:
    """The tiny model with other parts."""
    opened = load("tiny")
    opened.__dict__.update({"lm": model().lm, "codec": model().codec} | parts)
    return opened


@pytest.mark.parametrize("case", ["lm_heads", "lm_cond"])
def test_a_model_that_cannot_hold_a_conversation(case: str) -> None:
    with pytest.raises(InputError, match="tiny does not both listen and speak"):
        Duplex(altered(lm=golden.lm(case)), [Sampling()])


def test_a_codec_with_other_codes_than_the_models() -> None:
    with pytest.raises(InputError, match="8 codebooks of 64 entries, the language model needs 8 of 32"):
        Duplex(altered(codec=golden.codec("mimi_small", 8)), [Sampling()])
    with pytest.raises(InputError, match="4 codebooks of 32 entries, the language model needs 8 of 32"):
        Duplex(altered(codec=golden.codec("mimi_32", 4)), [Sampling()])


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")  # torch warns of its own code
def test_compiled_it_says_the_same() -> None:
    """A small model: compiling takes a minute. Past the context, and as slots pause and start again."""
    whole = presets.tiny_lm()
    lm = random_lm(
        replace(
            whole,
            temporal=replace(whole.temporal, layers=1, context=8),
            depth=DepthConfig(16, 2, 1, 66, (0, 1)),
            audio_streams=4,
            delays=(0, 0, 1, 0, 1),
        )
    )
    plain, compiled = (Duplex(altered(lm=lm), SETTINGS, compile) for compile in (False, True))
    random, wav_BTS = torch.Generator().manual_seed(3), sound(4, 30).float()
    for t in range(30):
        exec_B = torch.rand(4, generator=random) < 0.8
        reset_B = torch.rand(4, generator=random) < 0.05
        plain.reset(reset_B)
        compiled.reset(reset_B)
        a, b = plain.step(wav_BTS[:, t], exec_B), compiled.step(wav_BTS[:, t], exec_B)
        assert torch.equal(a.tokens_BK[exec_B], b.tokens_BK[exec_B])
        assert_close(a.wav_BS[exec_B], b.wav_BS[exec_B], atol=1e-5, rtol=0)
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == 1
    assert not torch._dynamo.utils.counters["graph_break"]


@pytest.mark.parametrize("head", ["text_head", "depth.heads.3", "out_norm"])
def test_a_head_that_leaves_the_numbers_is_seen(head: str) -> None:
    """A weight that is damaged in memory, or overflows in few bits: its token would be babble."""
    broken = load("tiny")
    weight = broken.lm.get_submodule(head).weight
    with torch.no_grad():
        weight.view(-1)[7] = torch.nan
    out = Duplex(broken, SETTINGS[:2]).step(sound(2, 1)[:, 0].float())
    assert out.finite_B.tolist() == [False, False]
    assert Duplex(model(), SETTINGS[:2]).step(sound(2, 1)[:, 0].float()).finite_B.all()
