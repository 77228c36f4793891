"""Spectra of a few windows of sound, and filterbanks that gather them into bands (`nn/spectrum.py`)."""

import mlx.core as mx
import mlx.nn as nn
import numpy as np


def unfold(wav_BS: mx.array, size: int, hop: int) -> mx.array:
    """Every whole window of `size` samples, `hop` apart: `[B, T, size]`."""
    batch, samples = wav_BS.shape
    count = (samples - size) // hop + 1
    return mx.as_strided(mx.contiguous(wav_BS), [batch, count, size], [samples, hop, 1])


def power_spectrum(windows_TS: mx.array, bins: int) -> mx.array:
    """Squared magnitudes `[..., bins]` of the first `bins` of each window `[..., S]`."""
    spectrum = mx.fft.rfft(windows_TS)[..., :bins]
    return mx.square(mx.real(spectrum)) + mx.square(mx.imag(spectrum))


class Filterbank(nn.Module):
    """Sums of the bins of spectra `[..., F]` with fixed weights of float16's precision, `[..., M]`."""

    def __init__(self, filters_FM: np.ndarray):
        super().__init__()
        self._filters_FM = mx.array(filters_FM.astype(np.float16).astype(np.float32))

    def __call__(self, spectrum_TF: mx.array) -> mx.array:
        return spectrum_TF @ self._filters_FM
