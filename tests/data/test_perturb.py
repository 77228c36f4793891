"""A voice in disguise: pitch and formants move apart, and nothing else does."""

import random

import numpy as np
import pytest

from duologue.data.perturb import SpeakerPerturbation
from duologue.data.speakers import perturbed
from duologue.data.voices import SAMPLE_RATE
from tests.data.sounds import utterance


def vowel(pitch: float, formant: float, seconds: float = 1.0) -> np.ndarray:
    """Pulses through one resonance."""
    pulses_S = np.zeros(round(seconds * SAMPLE_RATE))
    pulses_S[(np.arange(round(seconds * pitch)) * SAMPLE_RATE / pitch).astype(int)] = 1
    t_S = np.arange(2000) / SAMPLE_RATE
    ring_S = np.exp(-np.pi * 150 * t_S) * np.sin(2 * np.pi * formant * t_S)
    sound_S = np.convolve(pulses_S, ring_S)[: len(pulses_S)]
    return (0.5 * sound_S / np.abs(sound_S).max()).astype(np.float32)


def pitch_of(wav_S: np.ndarray) -> float:
    spectrum_F = np.abs(np.fft.rfft(wav_S)) ** 2
    lags_S = np.fft.irfft(spectrum_F)[:400]
    return SAMPLE_RATE / (60 + int(np.argmax(lags_S[60:])))


def formant_of(wav_S: np.ndarray) -> float:
    """Where most of the energy lies."""
    spectrum_F = np.abs(np.fft.rfft(wav_S)) ** 2
    return float((np.fft.rfftfreq(len(wav_S), 1 / SAMPLE_RATE) * spectrum_F).sum() / spectrum_F.sum())


def test_no_change_is_no_change():
    wav_S = vowel(120, 1500)
    np.testing.assert_allclose(SpeakerPerturbation()(wav_S), wav_S, atol=1e-4)
    assert not SpeakerPerturbation(1.0, 1.1, (3.0,))(np.zeros(5000, np.float32)).any()


def test_formants_move_and_the_pitch_stays():
    wav_S = vowel(120, 1500)
    higher_S = SpeakerPerturbation(formants=1.15)(wav_S)
    assert len(higher_S) == len(wav_S)
    assert pitch_of(higher_S) == pytest.approx(120, rel=0.02)
    assert formant_of(higher_S) == pytest.approx(1.15 * formant_of(wav_S), rel=0.04)


def test_pitch_moves_and_the_formants_stay():
    wav_S = vowel(120, 1500)
    higher_S = SpeakerPerturbation(pitch=1.15)(wav_S)
    assert len(higher_S) == pytest.approx(len(wav_S) / 1.15, abs=2)
    assert pitch_of(higher_S) == pytest.approx(138, rel=0.02)
    assert formant_of(higher_S) == pytest.approx(formant_of(wav_S), rel=0.04)


def test_a_slope_of_the_microphone():
    noise_S = (0.1 * np.random.default_rng(0).standard_normal(SAMPLE_RATE)).astype(np.float32)
    spectrum_F = np.abs(np.fft.rfft(SpeakerPerturbation(colour=(6.0,))(noise_S))) / np.abs(
        np.fft.rfft(noise_S)
    )
    low, high = np.median(spectrum_F[100:200]), np.median(spectrum_F[-1000:])
    assert 20 * np.log10(low / high) == pytest.approx(11, abs=1.5)


def test_the_same_draw_is_the_same_disguise_and_another_is_another():
    first, again = (SpeakerPerturbation.drawn(random.Random(1)) for _ in range(2))
    assert first == again != SpeakerPerturbation.drawn(random.Random(2))


def test_words_stay_in_place():
    said = utterance("what is the capital of france")
    fast = perturbed(said, SpeakerPerturbation(1.25, 1.1))
    assert fast.seconds == pytest.approx(said.seconds / 1.25, abs=0.001)
    for before, after in zip(said.words, fast.words, strict=True):
        assert after.start == pytest.approx(before.start / 1.25)
    assert fast.audible[1] == pytest.approx(said.audible[1] / 1.25, abs=0.03)
