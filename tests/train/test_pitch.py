"""The pitch of recordings, found where it is known."""

import numpy as np
import pytest

from duologue.codec.voice import MIDDLE
from duologue.train.pitch import pitch_of

RATE, HOP = 12_000, 120


def buzz(hertz_S: np.ndarray) -> np.ndarray:
    """Ten harmonics, the higher the softer, at a pitch for each sample."""
    phase_S = 2 * np.pi * np.cumsum(hertz_S) / RATE
    return 0.1 * np.sum([np.sin(k * phase_S) / k for k in range(1, 11)], 0)


@pytest.mark.parametrize(("low", "high"), [(80, 160), (120, 120), (180, 330), (300, 200)])
def test_glides_are_followed(low: float, high: float) -> None:
    hertz_S = np.geomspace(low, high, 2 * RATE)
    octaves_T, voiced_T = pitch_of(buzz(hertz_S), RATE, HOP)
    assert octaves_T.shape == voiced_T.shape == (200,)
    assert (octaves_T.dtype, voiced_T.dtype) == (np.float32, np.bool_)
    inner = slice(3, -6)  # at the edges there is less to go by
    found_T = MIDDLE * 2.0 ** octaves_T[inner]
    assert np.abs(found_T / hertz_S[HOP - 1 :: HOP][inner] - 1).max() < 0.01
    assert voiced_T[inner].all()


def test_noise_and_silence_have_no_voice() -> None:
    noise_S = np.random.default_rng(0).normal(0, 0.1, RATE)
    assert pitch_of(noise_S, RATE, HOP)[1].mean() < 0.05
    octaves_T, voiced_T = pitch_of(np.zeros(RATE), RATE, HOP)
    assert not voiced_T.any() and np.isfinite(octaves_T).all()


def test_between_voices_the_pitch_glides() -> None:
    parts = [np.full(RATE // 2, 150.0), np.full(RATE // 2, 0.0), np.full(RATE // 2, 250.0)]
    octaves_T, voiced_T = pitch_of(buzz(np.concatenate(parts)), RATE, HOP)
    assert voiced_T[5:45].all() and voiced_T[105:140].all() and not voiced_T[55:95].any()
    assert (np.diff(octaves_T[55:95]) > 0).all()


@pytest.mark.parametrize("samples", [HOP, HOP + 1, 7 * HOP - 1])
def test_one_value_for_each_whole_stretch(samples: int) -> None:
    octaves_T, voiced_T = pitch_of(buzz(np.full(samples, 200.0)), RATE, HOP)
    assert len(octaves_T) == len(voiced_T) == samples // HOP
