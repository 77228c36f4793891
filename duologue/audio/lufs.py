"""Loudness of a whole recording in LUFS (ITU-R BS.1770-4): K-weighted, gated."""

from math import cos, pi, sin

import numpy as np

BLOCK, HOP = 0.4, 0.1  # seconds
SILENT, PAUSE = -70.0, 10.0  # LUFS; and how far below the mean a block counts as a pause
SHELF = 4.0, 2**-0.5, 1500.0  # gain in dB, quality, Hz: the effect of the head
HIGH_PASS = 0.5, 38.0


def loudness(wav_S: np.ndarray, rate: int) -> float:
    """LUFS of a mono recording; -inf if there is nothing but silence, or less than a block."""
    size, hop = round(BLOCK * rate), round(HOP * rate)
    if wav_S.size < size:
        return -np.inf
    power_S = np.concatenate([[0.0], np.cumsum(_weighted(wav_S.astype(np.float64), rate) ** 2)])
    starts = np.arange(0, wav_S.size - size + 1, hop)
    power_N = (power_S[starts + size] - power_S[starts]) / size
    loud_N = power_N[power_N > _power(SILENT)]
    if not loud_N.size:
        return -np.inf
    heard_N = loud_N[loud_N > loud_N.mean() * 10 ** (-PAUSE / 10)]
    return float(-0.691 + 10 * np.log10(heard_N.mean()))


def normalised(wav_S: np.ndarray, rate: int, target: float) -> np.ndarray:
    """The recording at another loudness; silence is unchanged."""
    now = loudness(wav_S, rate)
    return wav_S if now == -np.inf else (wav_S * 10 ** ((target - now) / 20)).astype(np.float32)


def _power(lufs: float) -> float:
    return 10 ** ((lufs + 0.691) / 10)


def _weighted(wav_S: np.ndarray, rate: int) -> np.ndarray:
    """K-weighting by the frequency response of both filters, with a second of padding for their decay."""
    size = wav_S.size + rate
    z = np.exp(-2j * pi * np.fft.rfftfreq(size))
    response = np.ones_like(z)
    for b, a in (_shelf(rate, *SHELF), _high_pass(rate, *HIGH_PASS)):
        response *= (b[0] + b[1] * z + b[2] * z**2) / (a[0] + a[1] * z + a[2] * z**2)
    return np.fft.irfft(np.fft.rfft(wav_S, size) * response, size)[: wav_S.size]


def _shelf(rate: int, gain: float, quality: float, hertz: float) -> tuple[list[float], list[float]]:
    amount, w = 10 ** (gain / 40), 2 * pi * hertz / rate
    alpha, c, root = sin(w) / (2 * quality), cos(w), 2 * 10 ** (gain / 80)
    up, down = amount + 1, amount - 1
    b = [
        amount * (up + down * c + root * alpha),
        -2 * amount * (down + up * c),
        amount * (up + down * c - root * alpha),
    ]
    return b, [up - down * c + root * alpha, 2 * (down - up * c), up - down * c - root * alpha]


def _high_pass(rate: int, quality: float, hertz: float) -> tuple[list[float], list[float]]:
    w = 2 * pi * hertz / rate
    alpha, c = sin(w) / (2 * quality), cos(w)
    return [(1 + c) / 2, -(1 + c), (1 + c) / 2], [1 + alpha, -2 * c, 1 - alpha]
