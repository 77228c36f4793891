"""Windows and mel filterbanks of spectrograms."""

import math

import numpy as np


def hann(size: int) -> np.ndarray:
    """The periodic Hann window, float32 `[size]`."""
    return np.hanning(size + 1)[:-1].astype(np.float32)


LINEAR_HZ, LINEAR_MEL = 1000.0, 15.0  # below, 200/3 Hz a mel; above, 27 mels for a factor of 6.4


def mel_filterbank(
    n_fft: int, n_mels: int, sample_rate: int, low: float = 0.0, high: float | None = None
) -> np.ndarray:
    """Triangular filters of equal area on Slaney's mel scale, float32 `[n_fft/2 + 1, n_mels]` (linear below 1 kHz).

    `low`, `high` in Hz; `high` defaults to half the sample rate. Narrow filters may fall between two bins and be 0.
    """
    edges_hz = _mel_to_hz(np.linspace(_hz_to_mel(low), _hz_to_mel(high or sample_rate / 2), n_mels + 2))
    bins_hz = np.linspace(0, sample_rate / 2, n_fft // 2 + 1)
    left, centre, right = edges_hz[:-2], edges_hz[1:-1], edges_hz[2:]
    rising = (bins_hz[:, None] - left) / (centre - left)
    falling = (right - bins_hz[:, None]) / (right - centre)
    return (np.minimum(rising, falling).clip(0) * 2 / (right - left)).astype(np.float32)


def _hz_to_mel(hz: float) -> float:
    if hz < LINEAR_HZ:
        return hz * LINEAR_MEL / LINEAR_HZ
    return LINEAR_MEL + 27 * math.log(hz / LINEAR_HZ) / math.log(6.4)


def _mel_to_hz(mel: np.ndarray) -> np.ndarray:
    above = LINEAR_HZ * np.exp((mel - LINEAR_MEL) * math.log(6.4) / 27)
    return np.where(mel < LINEAR_MEL, mel * LINEAR_HZ / LINEAR_MEL, above)
