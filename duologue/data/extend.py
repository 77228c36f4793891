"""Bandwidth extension of telephone speech, from 8 to 24 kHz: fills in the spectrum above 3.4 kHz.

`AudioSR` is what the paper uses on Fisher: a diffusion model with a package and weights of its own. `BandReplication`
needs no weights: the upper part of the spectrum is copied above it, at the level that the slope of the spectrum
predicts.
"""

from typing import Any, Protocol

import numpy as np

from duologue.audio.files import clean, resample
from duologue.audio.framing import SAMPLE_RATE
from duologue.errors import InputError

FFT, HOP = 768, 192  # 32 and 8 ms at 24 kHz
BIN = SAMPLE_RATE / FFT
EDGE, PATCH = 3400.0, 1700.0  # Hz: where the telephone ends, and from where on it is repeated
STEEPEST, FLATTEST = -18.0, -6.0  # dB an octave


class Extender(Protocol):
    """Mono at `rate` -> mono at 24 kHz with something above half of `rate`."""

    def __call__(self, wav_S: np.ndarray, rate: int) -> np.ndarray: ...


class Plain:
    """Resampling alone: nothing above 4 kHz."""

    def __call__(self, wav_S: np.ndarray, rate: int) -> np.ndarray:
        return resample(wav_S, rate, SAMPLE_RATE)


class BandReplication:
    """Spectral band replication on the envelope's own slope; below 3.4 kHz nothing changes."""

    def __call__(self, wav_S: np.ndarray, rate: int) -> np.ndarray:
        low_S = resample(wav_S, rate, SAMPLE_RATE)
        window_N = np.sqrt(np.hanning(FFT + 1)[:-1])
        padded_S = np.pad(low_S, (FFT, FFT + -len(low_S) % HOP))
        spectrum_TF = np.fft.rfft(np.lib.stride_tricks.sliding_window_view(padded_S, FFT)[::HOP] * window_N)
        high_TF = np.zeros_like(spectrum_TF)
        first, edge, top = round(PATCH / BIN), round(EDGE / BIN), spectrum_TF.shape[1]
        for start in range(edge, top, edge - first):
            width = min(edge - first, top - start)
            high_TF[:, start : start + width] = spectrum_TF[:, first : first + width]
        high_TF *= self._gain(np.abs(spectrum_TF), first, edge, top)
        frames_TN = np.fft.irfft(high_TF) * window_N
        high_S = np.zeros(len(padded_S) + FFT)
        for k, frame_N in enumerate(frames_TN):
            high_S[k * HOP : k * HOP + FFT] += frame_N
        high_S *= HOP / (window_N**2).sum()
        return clean(low_S + high_S[FFT : FFT + len(low_S)])

    def _gain(self, level_TF: np.ndarray, first: int, edge: int, top: int) -> np.ndarray:
        """What each repeated bin is multiplied with: the line through the levels of 1 to 3.4 kHz goes on above."""
        bins = np.arange(round(1000 / BIN), edge)
        octaves_F = np.log2(bins) - np.log2(bins).mean()
        db_TF = 20 * np.log10(level_TF[:, bins] + 1e-7)
        slope_T = (db_TF * octaves_F).sum(1) / (octaves_F**2).sum()
        # One frame is a poor estimate: the slope of 100 ms.
        slope_T = np.convolve(np.pad(slope_T, 6, mode="edge"), np.full(13, 1 / 13), "valid").clip(
            STEEPEST, FLATTEST
        )
        gain_TF = np.zeros_like(level_TF)
        for start in range(edge, top, edge - first):
            target = np.arange(start, min(start + edge - first, top))
            source = first + target - start
            gain_TF[:, target] = 10 ** (slope_T[:, None] * np.log2(target / source) / 20)
        return gain_TF


class AudioSR:
    """AudioSR (its own package and weights: `pip install audiosr`), the paper's choice for Fisher."""

    def __init__(self, model: str = "speech", device: str = "cpu"):
        try:
            from audiosr import build_model, super_resolution  # pyright: ignore[reportMissingImports]
        except ImportError:
            raise InputError("--extend audiosr needs the package audiosr: pip install audiosr") from None
        self._model: Any = build_model(model_name=model, device=device)
        self._extend = super_resolution

    def __call__(self, wav_S: np.ndarray, rate: int) -> np.ndarray:
        """In pieces of 5 s, as it was trained."""
        import tempfile
        from pathlib import Path

        from duologue.audio.files import write_audio

        pieces = []
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "piece.wav"
            for start in range(0, len(wav_S), 5 * rate):
                piece_S = wav_S[start : start + 5 * rate]
                write_audio(path, piece_S, rate)
                out_S = np.asarray(self._extend(self._model, str(path))).reshape(-1)
                samples = round(len(piece_S) * SAMPLE_RATE / rate)
                out_S = resample(out_S.astype(np.float32), 48_000, SAMPLE_RATE)[:samples]
                pieces.append(np.pad(out_S, (0, samples - len(out_S))))
        return clean(np.concatenate(pieces))


EXTENDERS = {"replicate": BandReplication, "audiosr": AudioSR, "none": Plain}
