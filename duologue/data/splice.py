"""Questions put together from two recordings of a voice, in as many ways as it has said their parts.

Whoever learns from a few recordings of each question soon knows the recordings; of their words there are many more.
"""

import random
from collections import defaultdict
from dataclasses import replace
from typing import Generic, TypeVar

import numpy as np

from duologue.data.text import spoken_words
from duologue.data.timeline import Utterance, quiet_point

T = TypeVar("T")
Key = tuple[str, tuple[str, ...]]


def splice(text: str, first: Utterance, second: Utterance, at: int) -> Utterance | None:
    """The first `at` words of one recording and the last words of another, which together are `text`.

    None where a boundary is too near the end of a recording to cut there.
    """
    rest = len(text.split()) - at
    cuts = quiet_point(first, at), quiet_point(second, len(second.words) - rest)
    if None in cuts:
        return None
    begun, ended = first.before(cuts[0] or 0.0, fade=0.01), second.after(cuts[1] or 0.0)
    words = (*first.words[:at], *second.words[-rest:])
    moved = begun.seconds - (cuts[1] or 0.0)
    words = tuple(
        replace(word if k < at else word.moved(moved), text=said)
        for k, (word, said) in enumerate(zip(words, text.split(), strict=True))
    )
    return Utterance.of(text, np.concatenate([begun.wav_S, ended.wav_S]), words, first.voice)


class Parts(Generic[T]):
    """Which recordings (of any kind `T`) of a voice begin or end with some words."""

    def __init__(self) -> None:
        self._begins: defaultdict[Key, list[T]] = defaultdict(list)
        self._ends: defaultdict[Key, list[T]] = defaultdict(list)

    def add(self, voice: str, text: str, recording: T) -> None:
        words = _words(text)
        for k in range(1, len(words)):
            self._begins[voice, words[:k]].append(recording)
            self._ends[voice, words[k:]].append(recording)

    def draw(self, voice: str, text: str, rng: random.Random) -> tuple[T, T, int] | None:
        """Two recordings and the number of words to take of the first; None if the voice has said no such parts."""
        words = _words(text)
        for at in rng.sample(range(1, len(words)), max(len(words) - 1, 0)):
            begins, ends = self._begins[voice, words[:at]], self._ends[voice, words[at:]]
            if begins and ends:
                first, second = rng.choice(begins), rng.choice(ends)
                if first is not second:
                    return first, second, at
        return None


def _words(text: str) -> tuple[str, ...]:
    """One for each word as written, so that they are as many as the word times."""
    return tuple(" ".join(spoken_words(word)) for word in text.split())
