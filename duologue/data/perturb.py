"""Speaker perturbation: more speakers than were recorded, so that a model generalises to unknown ones.

Resampling moves pitch, formants and pace together; here the formants are moved apart from the pitch as well (vocal
tract length perturbation, Jaitly and Hinton 2013, on the cepstral envelope), and the colour of the microphone changes.
"""

import random
from dataclasses import dataclass

import numpy as np

from duologue.data.augment import change_speed
from duologue.data.voices import SAMPLE_RATE

SIZE, HOP = 1024, 256
ENVELOPE = 48
"""Samples of the cepstrum that make up the envelope: 2 ms, less than a period of any voice."""
MOST = np.log(10) / 20 * 12
"""No frequency of a frame is raised or lowered by more than 12 dB."""


@dataclass(frozen=True)
class SpeakerPerturbation:
    """How a voice is changed: factors of its pitch (and pace) and of its formants; the microphone's colour in dB."""

    pitch: float = 1.0
    formants: float = 1.0
    colour: tuple[float, ...] = ()
    """Amplitudes of half cosines over the octaves of 60 Hz to 12 kHz: a slope, a bow, a wave, ..."""

    @classmethod
    def drawn(cls, rng: random.Random) -> "SpeakerPerturbation":
        """What still sounds like a person."""
        pitch = rng.uniform(0.84, 1.19)
        formants = min(max(rng.uniform(0.86, 1.16), pitch * 0.82), pitch * 1.22)
        return cls(pitch, formants, tuple(rng.gauss(0, 2.5) for _ in range(3)))

    def __call__(self, wav_S: np.ndarray) -> np.ndarray:
        """`[S]` at 24 kHz -> `[S / pitch]`, as loud at its peak."""
        moved_S = change_speed(wav_S, self.pitch)
        filtered_S = _filtered(moved_S, self.formants / self.pitch, self._colour())
        peak = float(np.abs(filtered_S).max(initial=0))
        return filtered_S * (float(np.abs(wav_S).max(initial=0)) / peak) if peak else filtered_S

    def _colour(self) -> np.ndarray:
        """Gain of each frequency, natural logarithm, `[SIZE // 2 + 1]`."""
        hertz_F = np.fft.rfftfreq(SIZE, 1 / SAMPLE_RATE)
        octaves_F = np.log2(hertz_F.clip(60) / 60) / np.log2(12_000 / 60)
        waves = (a * np.cos(np.pi * (k + 1) * octaves_F) for k, a in enumerate(self.colour))
        return np.log(10) / 20 * sum(waves, np.zeros(len(hertz_F)))


def _filtered(wav_S: np.ndarray, warp: float, colour_F: np.ndarray) -> np.ndarray:
    """Formants times `warp` and a fixed gain, harmonics and phases left where they are; as long as `wav_S`."""
    window = np.hanning(SIZE + 1)[:-1]
    frames = 1 + (len(wav_S) + SIZE - 1) // HOP
    padded_S = np.pad(wav_S, (SIZE - HOP, frames * HOP))
    slices_TS = np.lib.stride_tricks.sliding_window_view(padded_S, SIZE)[: frames * HOP : HOP]
    spectra_TF = np.fft.rfft(slices_TS * window)
    cepstra_TS = np.fft.irfft(np.log(np.abs(spectra_TF) + 1e-4))
    cepstra_TS[:, ENVELOPE : SIZE - ENVELOPE] = 0
    envelope_TF = np.fft.rfft(cepstra_TS).real
    at_F = np.minimum(np.arange(SIZE // 2 + 1) / warp, SIZE // 2)
    below_F = np.minimum(at_F.astype(int), SIZE // 2 - 1)
    part_F = at_F - below_F
    warped_TF = (1 - part_F) * envelope_TF[:, below_F] + part_F * envelope_TF[:, below_F + 1]
    gain_TF = np.exp((warped_TF - envelope_TF + colour_F).clip(-MOST, MOST))
    pieces_TS = np.fft.irfft(spectra_TF * gain_TF) * window
    out_S, weight_S = np.zeros(len(padded_S)), np.zeros(len(padded_S))
    for t, piece_S in enumerate(pieces_TS):
        out_S[t * HOP : t * HOP + SIZE] += piece_S
        weight_S[t * HOP : t * HOP + SIZE] += window**2
    start = SIZE - HOP
    return (out_S / weight_S.clip(1e-3))[start : start + len(wav_S)].astype(np.float32)
