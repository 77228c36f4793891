"""The encoder of how something is said: streamed as offline, each slot alone, nothing of the future."""

import math

import pytest
import torch

from duologue.codec.acoustic import HOP, LOW_BINS, MELS, WINDOW, AcousticEncoder
from tests.codec.two_encoders import ACOUSTIC, FRAME, randomized, sound
from tests.nn.streaming import Layer, check_all, check_pauses
from tests.rounding import assert_same_in_company


@pytest.fixture(scope="module")
def encoder() -> AcousticEncoder:
    torch.manual_seed(0)
    made = randomized(AcousticEncoder(ACOUSTIC, FRAME))
    assert isinstance(made, AcousticEncoder)
    return made


def as_layer(encoder: AcousticEncoder, frames: int) -> Layer:
    """On sound as `[B, T, S]`: a step is a frame."""
    return Layer(
        lambda wav_BTS: encoder(wav_BTS.flatten(1)).mT,
        encoder.init_state,
        lambda state, wav_BTS, exec_B=None: encoder.step(state, wav_BTS[:, 0], exec_B),
        sound(4, frames).unflatten(1, (frames, FRAME)),
        [1] * frames,
        1,
    )


def test_streamed_equals_offline(encoder: AcousticEncoder) -> None:
    check_all(as_layer(encoder, 9))


def test_slots_pause_on_their_own(encoder: AcousticEncoder) -> None:
    with torch.no_grad():
        check_pauses(as_layer(encoder, 9))


def test_nothing_of_the_future_is_heard(encoder: AcousticEncoder) -> None:
    wav_BS = sound(1, 8)
    changed_BS = wav_BS.clone()
    changed_BS[:, 5 * FRAME :] = 0
    with torch.no_grad():
        before, after = encoder(wav_BS), encoder(changed_BS)
    assert torch.equal(before[..., :5], after[..., :5])
    assert not torch.allclose(before[..., 5], after[..., 5], atol=1e-3)


@pytest.mark.parametrize("slots", [[4], [0, 2, 5]])
def test_the_same_in_any_company(encoder: AcousticEncoder, slots: list[int]) -> None:
    wav_BS = sound(6, 6)
    together, some = encoder.init_state(6), encoder.init_state(len(slots))
    with torch.inference_mode():
        for part_BS in wav_BS.split(FRAME, 1):
            expected = encoder.step(together, part_BS)
            assert_same_in_company(encoder.step(some, part_BS[slots]), expected[slots])
    for a, b in zip(together.tensors(), some.tensors(), strict=True):
        assert_same_in_company(a[slots], b)


def test_spectra_tell_pitch_and_onset(encoder: AcousticEncoder) -> None:
    """The low bins peak at the harmonics of a voice, and the short window hears an onset before the long one does."""
    seconds_S = torch.arange(24_000) / 24_000
    wav_S = sum(torch.sin(2 * math.pi * 220 * k * seconds_S) for k in (1, 2, 3)) / 6
    spectra_TC = encoder.spectra(wav_S[None])[0]  # pyright: ignore[reportOptionalSubscript]
    assert spectra_TC.shape == ((24_000 - WINDOW) // HOP + 1, LOW_BINS + 2 * MELS)
    low_TF = spectra_TC[:, :LOW_BINS]
    for hertz in (220, 440, 660):
        bin = round(hertz * WINDOW / 24_000)
        assert (low_TF[:, bin] > low_TF[:, bin - 6] + 0.5).all() and (
            low_TF[:, bin] > low_TF[:, bin + 6] + 0.5
        ).all()
    silence_S = torch.zeros(24_000)
    silence_S[12_000:] = wav_S[:12_000]
    long_TM, short_TM = encoder.spectra(silence_S[None])[0][:, LOW_BINS:].split(MELS, 1)
    loud = [int((mels_TM.amax(1) > mels_TM.max() - 0.1).nonzero()[0]) for mels_TM in (long_TM, short_TM)]
    assert loud[1] < loud[0]


def test_every_weight_matters() -> None:
    learner = AcousticEncoder(ACOUSTIC, FRAME)
    learner(sound(1, 4)).square().sum().backward()
    for name, weight in learner.named_parameters():
        assert weight.grad is not None and weight.grad.abs().sum() > 0, name


def test_what_is_made_without_memory_has_real_tables(encoder: AcousticEncoder) -> None:
    with torch.device("meta"):
        empty = AcousticEncoder(ACOUSTIC, FRAME)
    assert empty.inp.weight.device.type == "meta"
    empty.load_state_dict(encoder.state_dict(), assign=True)
    wav_BS = sound(1, 3)
    with torch.no_grad():
        assert torch.equal(empty.eval()(wav_BS), encoder(wav_BS))
    assert not {"windows", "filterbank.weight"} & empty.state_dict().keys()
