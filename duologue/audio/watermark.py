"""A detectable watermark in the agent's sound: spread spectrum with a key, or AudioSeal.

`SpreadSpectrum` adds noise that the key reproduces, about 30 dB below the sound in each band, and finds it by
correlation; it needs no weights. Somebody who wants to remove it can, and a neural codec removes it (as the paper found
for AudioSeal): a mark proves where a recording comes from, a missing mark proves nothing.
"""

from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from duologue.audio.framing import SAMPLE_RATE
from duologue.errors import InputError

PERIOD = 24_000  # samples after which the noise repeats: one second
FOUND = 6.0  # standard deviations above which a mark is detected: one false alarm in 10**9
BAND = (500.0, 6000.0)  # Hz


class Watermark(Protocol):
    """`mark` adds it to a stream of frames, `find` gives the probability that a recording has it, 0..1."""

    def mark(self, frame_S: np.ndarray) -> np.ndarray: ...
    def find(self, wav_S: np.ndarray) -> float: ...


def noise_of(key: int) -> np.ndarray:
    """A second of band-limited noise, float32 `[PERIOD]`, of unit power."""
    spectrum_F = np.fft.rfft(np.random.default_rng(key).standard_normal(PERIOD))
    hertz_F = np.fft.rfftfreq(PERIOD, 1 / SAMPLE_RATE)
    spectrum_F[(hertz_F < BAND[0]) | (hertz_F > BAND[1])] = 0
    noise_S = np.fft.irfft(spectrum_F, PERIOD)
    return (noise_S / noise_S.std()).astype(np.float32)


@dataclass
class SpreadSpectrum:
    """One stream's mark. `strength`: of the noise, relative to the sound of 10 ms; silence stays silent."""

    key: int = 0x6D6F73
    strength: float = 0.03
    at: int = 0
    level: float = 0.0
    noise_S: np.ndarray = field(default_factory=lambda: np.zeros(0, np.float32))

    def __post_init__(self) -> None:
        self.noise_S = noise_of(self.key)

    def mark(self, frame_S: np.ndarray) -> np.ndarray:
        """The next frame of the stream, of any length, with the mark."""
        out_S = np.array(frame_S, np.float32)
        for start in range(0, len(out_S), 240):
            part_S = out_S[start : start + 240]
            place = (self.at + np.arange(len(part_S))) % PERIOD
            now = float(np.sqrt(np.mean(part_S.astype(np.float64) ** 2)))
            gain_S = np.linspace(self.level, now, len(part_S), dtype=np.float32)
            out_S[start : start + 240] = np.clip(part_S + self.strength * gain_S * self.noise_S[place], -1, 1)
            self.at, self.level = self.at + len(part_S), now
        return out_S

    def score(self, wav_S: np.ndarray) -> float:
        """How many standard deviations the best correlation over all shifts lies above chance, for the number of shifts
        tried."""
        wav_S = (
            wav_S[: len(wav_S) // PERIOD * PERIOD]
            if len(wav_S) >= PERIOD
            else np.pad(wav_S, (0, PERIOD - len(wav_S)))
        )
        level_S = np.repeat(np.sqrt((wav_S.reshape(-1, 240) ** 2).mean(1)) + 1e-4, 240)
        flat = (wav_S / level_S * (level_S > 1e-3)).reshape(-1, PERIOD).sum(0)
        spectrum_F, noise_F = np.fft.rfft(flat), np.fft.rfft(self.noise_S)
        whole_F = spectrum_F / np.maximum(
            np.abs(spectrum_F), 1e-9
        )  # whiten: speech is mostly low frequencies
        found_S = np.fft.irfft(
            whole_F * np.conj(noise_F) / np.maximum(np.abs(noise_F), 1e-9) * (np.abs(noise_F) > 1e-6)
        )
        return float(found_S.max() / (found_S.std() + 1e-12))

    def find(self, wav_S: np.ndarray) -> float:
        """Probability of a mark: 1 well above the threshold, 0 at chance level."""
        return float(np.clip((self.score(wav_S) - 4) / (2 * (FOUND - 4)), 0, 1))


class AudioSeal:
    """Meta's AudioSeal (its package and its weights: cards on the hub, or the files of both networks)."""

    def __init__(
        self, generator: str = "audioseal_wm_streaming", detector: str = "audioseal_detector_streaming"
    ):
        try:
            from audioseal import AudioSeal as Published  # pyright: ignore[reportMissingImports]
        except ImportError:
            raise InputError("AudioSeal's mark needs its package: pip install audioseal") from None
        self._generator: Any = Published.load_generator(generator).eval()
        self._detector: Any = Published.load_detector(detector).eval()

    def mark(self, frame_S: np.ndarray) -> np.ndarray:
        import torch

        with torch.inference_mode():
            wav_BCS = torch.from_numpy(np.asarray(frame_S, np.float32))[None, None]
            return self._generator(wav_BCS, sample_rate=SAMPLE_RATE, alpha=1.0)[0, 0].numpy()

    def find(self, wav_S: np.ndarray) -> float:
        import torch

        with torch.inference_mode():
            wav_BCS = torch.from_numpy(np.asarray(wav_S, np.float32))[None, None]
            probability, _ = self._detector.detect_watermark(wav_BCS, sample_rate=SAMPLE_RATE)
        return float(probability)
