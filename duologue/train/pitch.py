"""The pitch of recordings, which a source-filter decoder learns to predict (`codec.voice`).

Normalised autocorrelation, and of its peaks the smoothest path (Talkin 1995).
"""

import numpy as np

from duologue.codec.voice import HIGHEST, LOWEST, MIDDLE

WINDOW_SECONDS = 0.03  # seconds
VOICED = 0.5  # autocorrelation from which there is a voice
LOUD = 0.02  # of the loudest window, below which there is none
JUMP = 2.0  # what an octave from one frame to the next costs
SHORT = 0.08  # what an octave of period costs: of all multiples of a period, the first


def pitch_of(wav_S: np.ndarray, sample_rate: int, hop: int) -> tuple[np.ndarray, np.ndarray]:
    """(octaves from 200 Hz, where there is a voice) at the end of every `hop` samples, float32 and bool `[S // hop]`.

    Between voices the pitch glides.
    """
    count = len(wav_S) // hop
    low, high = (round(sample_rate / (MIDDLE * 2.0**edge)) for edge in (HIGHEST, LOWEST))
    likeness_TL, loud_T = _likeness(wav_S, count, hop, round(WINDOW_SECONDS * sample_rate), low, high)
    octaves_L = np.log2(sample_rate / np.arange(low, high + 1) / MIDDLE)
    path_T = _smoothest(likeness_TL + SHORT * octaves_L, octaves_L)
    at = np.arange(count)
    inner_T = path_T.clip(1, len(octaves_L) - 2)
    left, mid, right = (likeness_TL[at, inner_T + shift] for shift in (-1, 0, 1))
    bend = left - 2 * mid + right
    shift_T = np.where(bend < -1e-9, 0.5 * (left - right) / np.where(bend < -1e-9, bend, 1), 0).clip(-1, 1)
    octaves_T = np.log2(sample_rate / (low + inner_T + shift_T) / MIDDLE)
    voiced_T = (likeness_TL[at, path_T] > VOICED) & loud_T
    if voiced_T.any():
        octaves_T = np.interp(at, at[voiced_T], octaves_T[voiced_T])
    return octaves_T.clip(LOWEST, HIGHEST).astype(np.float32), voiced_T


def _likeness(
    wav_S: np.ndarray, count: int, hop: int, window: int, low: int, high: int
) -> tuple[np.ndarray, np.ndarray]:
    """Correlation of a window around each frame's end with what comes each lag of `low` to `high` later `[T, L]`, and
    whether there is any sound."""
    span = window + high
    # The two windows lie around the frame's end; exactly so at the middle pitch, whatever the lag.
    before = (window + round((low * high) ** 0.5)) // 2
    padded = np.pad(wav_S.astype(np.float64), (before, span))
    starts_T = hop * (np.arange(count) + 1)
    seen_TW = np.lib.stride_tricks.sliding_window_view(padded, span)[starts_T]
    size = 2 ** int(np.ceil(np.log2(span + window)))
    head_TF = np.fft.rfft(seen_TW[:, :window], size)
    product_TL = np.fft.irfft(head_TF.conj() * np.fft.rfft(seen_TW, size), size)[:, low : high + 1]
    energy_TW = np.pad(np.cumsum(seen_TW**2, 1), ((0, 0), (1, 0)))
    own_T = energy_TW[:, window]
    later_TL = energy_TW[:, low + window : high + window + 1] - energy_TW[:, low : high + 1]
    floor = 1e-9 + LOUD**2 * own_T.max(initial=0)
    return product_TL / np.sqrt((own_T[:, None] + floor) * (later_TL + floor)), own_T > floor


def _smoothest(score_TL: np.ndarray, octaves_L: np.ndarray) -> np.ndarray:
    """The path with the largest score minus the cost of jumps (Viterbi)."""
    cost_LL = JUMP * np.abs(octaves_L[:, None] - octaves_L)
    best_L = score_TL[0]
    from_TL = np.zeros(score_TL.shape, np.int64)
    for t in range(1, len(score_TL)):
        reach_LL = best_L - cost_LL
        from_TL[t] = reach_LL.argmax(1)
        best_L = score_TL[t] + reach_LL.max(1)
    path_T = np.zeros(len(score_TL), np.int64)
    path_T[-1] = best_L.argmax()
    for t in range(len(score_TL) - 1, 0, -1):
        path_T[t - 1] = from_TL[t, path_T[t]]
    return path_T
