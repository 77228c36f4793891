"""Whisper's encoder made causal: streamed as offline, for hours, each slot alone, nothing of the future."""

import copy
import math

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from duologue.codec.whisper import HOP, POSITION, WhisperEncoder, WhisperState, positions
from duologue.config import WhisperConfig
from tests.codec.two_encoders import FRAME, WHISPER, randomized, sound
from tests.nn.streaming import Layer, check_all, check_pauses, same_bits
from tests.rounding import assert_same_in_company


@pytest.fixture(scope="module")
def encoder() -> WhisperEncoder:
    torch.manual_seed(0)
    made = randomized(WhisperEncoder(WHISPER, FRAME))
    assert isinstance(made, WhisperEncoder)
    return made


def as_layer(encoder: WhisperEncoder, frames: int) -> Layer:
    """On sound as `[B, T, S]`: a step is a frame."""
    return Layer(
        lambda wav_BTS: encoder(wav_BTS.flatten(1)).mT,
        encoder.init_state,
        lambda state, wav_BTS, exec_B=None: encoder.step(state, wav_BTS[:, 0], exec_B),
        sound(4, frames).unflatten(1, (frames, FRAME)),
        [1] * frames,
        1,
    )


def streamed(encoder: WhisperEncoder, state: WhisperState, wav_BS: Tensor) -> Tensor:
    with torch.inference_mode():
        return torch.cat([encoder.step(state, part) for part in wav_BS.split(FRAME, 1)], 1)


def test_streamed_equals_offline_beyond_context_and_period(encoder: WhisperEncoder) -> None:
    """20 frames are 80 positions: the context is 20, and the embeddings repeat after 48."""
    check_all(as_layer(encoder, 20))


def test_slots_pause_on_their_own(encoder: WhisperEncoder) -> None:
    with torch.no_grad():
        check_pauses(as_layer(encoder, 12))


def test_nothing_of_the_future_is_heard(encoder: WhisperEncoder) -> None:
    wav_BS = sound(1, 8)
    changed_BS = wav_BS.clone()
    changed_BS[:, 5 * FRAME :] = 0
    with torch.no_grad():
        before, after = encoder(wav_BS), encoder(changed_BS)
    assert torch.equal(before[..., :5], after[..., :5])
    assert not torch.allclose(before[..., 5], after[..., 5], atol=1e-3)


def test_the_end_of_a_frame_is_heard_in_it(encoder: WhisperEncoder) -> None:
    wav_BS = sound(1, 3)
    changed_BS = wav_BS.clone()
    changed_BS[:, 2 * FRAME - HOP : 2 * FRAME] = 0
    with torch.no_grad():
        assert (encoder(wav_BS) - encoder(changed_BS))[..., 1].abs().max() > 1e-3


@pytest.mark.parametrize("slots", [[4], [0, 2, 5]])
def test_the_same_in_any_company(encoder: WhisperEncoder, slots: list[int]) -> None:
    """As a conversation of its own, and as some of the slots of many."""
    wav_BS, chosen_N = sound(6, 8), torch.tensor(slots)
    all_of_them, some = encoder.init_state(6), encoder.init_state(6)
    with torch.inference_mode():
        for part_BS in wav_BS.split(FRAME, 1):
            together = all_of_them.gather(torch.arange(6))
            expected = encoder.step(together, part_BS)
            all_of_them.scatter(torch.arange(6), together)
            taken = some.gather(chosen_N)
            assert_same_in_company(encoder.step(taken, part_BS[chosen_N]), expected[chosen_N])
            some.scatter(chosen_N, taken)
    for a, b in zip(all_of_them.tensors(), some.tensors(), strict=True):
        assert_same_in_company(a[chosen_N], b[chosen_N])
    if len(slots) == 1:
        alone = streamed(encoder, encoder.init_state(1), wav_BS[chosen_N])
        assert_same_in_company(alone[:, -1], expected[chosen_N][:, 0])


def test_an_hour_leaves_no_trace(encoder: WhisperEncoder) -> None:
    """The counters of an hour and more change no bit, wherever in the period it is."""
    wav_BS = sound(2, 24, 1)
    first_BS, rest_BS = wav_BS[:, : 10 * FRAME], wav_BS[:, 10 * FRAME :]
    young, old = encoder.init_state(2), encoder.init_state(2)
    assert same_bits(streamed(encoder, young, first_BS), streamed(encoder, old, first_BS))
    ring = old.transformer.ring
    round_trip = math.lcm(WHISPER.period, ring.capacity)
    later = 3600 * 24_000 // POSITION // round_trip * round_trip
    assert later > 150_000
    old.position_B += later
    ring.seen_B += later
    assert same_bits(streamed(encoder, young, rest_BS), streamed(encoder, old, rest_BS))


def test_positions_repeat_without_a_seam() -> None:
    """How alike two positions are depends on their distance alone, also across the end of the period."""
    table_PD = torch.from_numpy(positions(1500, 384)).double()
    assert_close(table_PD[0], torch.cat([torch.zeros(192), torch.ones(192)]).double())
    alike_PP = table_PD @ table_PD.T
    for distance in (1, 2, 50, 749):
        alike_P = torch.stack([alike_PP[i, (i + distance) % 1500] for i in range(1500)])
        assert_close(alike_P, alike_P[:1].expand(1500), rtol=0, atol=1e-4)


def test_positions_are_whispers_but_for_whole_waves() -> None:
    own, half = positions(1500, 384), 192
    rate_D = 10_000.0 ** (-torch.arange(half, dtype=torch.float64) / (half - 1))
    own_rate_D = torch.from_numpy(own[1, :half]).double().asin()
    steep = slice(40, None)  # of the fast ones a sine does not tell the angle
    assert (own_rate_D - rate_D)[steep].abs().max() < math.pi / 1500 + 1e-6
    angle_D = own_rate_D[steep] * 1500 / (2 * math.pi)
    assert_close(angle_D, angle_D.round(), rtol=0, atol=1e-3)


def test_training_begins_anywhere_in_the_period(encoder: WhisperEncoder) -> None:
    learner = copy.deepcopy(encoder).train()
    wav_BS = sound(1, 3)
    with torch.no_grad():
        found = [learner(wav_BS) for _ in range(8)]
        assert any(not torch.equal(found[0], other) for other in found[1:])
        assert torch.equal(learner(wav_BS, start=7), encoder(wav_BS, start=7))
        assert not torch.equal(encoder(wav_BS, start=7), encoder(wav_BS))
        assert_close(encoder(wav_BS, start=WHISPER.period), encoder(wav_BS))


def test_every_weight_matters() -> None:
    learner = WhisperEncoder(WHISPER, FRAME)
    learner(sound(1, 4)).square().sum().backward()
    for name, weight in learner.named_parameters():
        assert weight.grad is not None and weight.grad.abs().sum() > 0, name


def test_what_is_made_without_memory_has_real_tables(encoder: WhisperEncoder) -> None:
    with torch.device("meta"):
        empty = WhisperEncoder(WHISPER, FRAME)
    assert empty.conv1.weight.device.type == "meta"
    empty.load_state_dict(encoder.state_dict(), assign=True)
    wav_BS = sound(1, 3)
    with torch.no_grad():
        assert torch.equal(empty.eval()(wav_BS), encoder(wav_BS))
    assert not {"window", "filterbank.weight", "positions_PD"} & empty.state_dict().keys()


def test_a_frame_that_cuts_a_position_is_refused() -> None:
    with pytest.raises(ValueError, match="1800 samples are no multiple of a position of 480"):
        WhisperEncoder(WHISPER, 1800)


def test_log_mel_is_whispers(encoder: WhisperEncoder) -> None:
    """Of a tone: the power in the bands as Whisper's own windows of 16 kHz find it."""
    whisper = WhisperEncoder(WhisperConfig(layers=1), FRAME)
    found = []
    for rate, size in ((24_000, 600), (16_000, 400)):
        wav_S = 0.3 * torch.sin(2 * math.pi * 437 * torch.arange(rate) / rate)
        if rate == 24_000:
            with torch.no_grad():
                found.append(whisper.log_mel(wav_S[None])[0])
            continue
        spectrum_FT = torch.stft(
            wav_S, size, 160, window=torch.hann_window(size), center=False, return_complex=True
        )
        mel_TM = spectrum_FT.abs().square().T @ whisper.filterbank.weight.T
        found.append(mel_TM.clamp(min=1e-6).log10() / 4 + 1)
    loud = found[1] > found[1].max() - 0.75  # within 30 dB of the loudest
    assert loud.any() and not loud.all()
    assert_close(found[0][:90][loud[:90]], found[1][:90][loud[:90]], rtol=0, atol=2e-3)
