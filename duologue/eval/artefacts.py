"""Artefacts of generated codes by their entropy (Moshi paper, appendix D): what rounding weights does to a voice.

H is the Shannon entropy (nats) of a stream's tokens over the last 64 frames. Windows of 64 frames that do not overlap
get one label each; the order in which labels are tried, and the base of the logarithm, are not published.
"""

from collections import Counter
from dataclasses import dataclass

import numpy as np

WINDOW = 64
LABELS = ("silence", "background noise", "gibberish", "repetitive", "noisy", "none")


@dataclass(frozen=True)
class Thresholds:
    """The paper's."""

    background: float = 2.0
    gibberish: float = 3.5
    slope: float = 1e-3
    spread: float = 0.6


def entropies(tokens_KT: np.ndarray, window: int = WINDOW) -> np.ndarray:
    """Entropy over the last `window` tokens of each stream, `[K, T]`; the first `window` frames look at fewer."""
    found_KT = np.zeros(tokens_KT.shape)
    for k, tokens_T in enumerate(tokens_KT):
        counts: Counter[int] = Counter()
        for t, token in enumerate(tokens_T.tolist()):
            counts[token] += 1
            if t >= window:
                old = int(tokens_T[t - window])
                counts[old] -= 1
                if not counts[old]:
                    del counts[old]
            share = np.fromiter(counts.values(), float) / min(t + 1, window)
            found_KT[k, t] = -(share * np.log(share)).sum() + 0.0
    return found_KT


def label(text_T: np.ndarray, audio_QT: np.ndarray, limits: Thresholds) -> str:
    """The artefact in one window of entropies: text `[T]`, codebooks `[Q, T]` (the first is semantic)."""
    if text_T.max() < 1e-9:
        return "silence" if np.median(audio_QT[1:]) <= limits.background else "background noise"
    if text_T.mean() > limits.gibberish:
        return "gibberish"
    if abs(np.polyfit(np.arange(len(text_T)), text_T, 1)[0]) < limits.slope:
        return "repetitive"
    if audio_QT.mean(1).std() > limits.spread:
        return "noisy"
    return "none"


def artefacts(tokens_KT: np.ndarray, limits: Thresholds | None = None, window: int = WINDOW) -> Counter[str]:
    """How many windows of generated tokens `[1 + Q, T]` (text, codebooks) have which label; the first is left out."""
    found_KT = entropies(tokens_KT, window)
    labels: Counter[str] = Counter()
    for start in range(window, tokens_KT.shape[1] - window + 1, window):
        part_KT = found_KT[:, start : start + window]
        labels[label(part_KT[0], part_KT[1:], limits or Thresholds())] += 1
    return labels
