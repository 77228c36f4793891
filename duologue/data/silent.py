"""Speakers without sound: word times from a simple model of duration, and no waveform.

A rate in letters a second and pauses at punctuation, different in each conversation: enough to learn which words answer
which, at thousands of conversations a minute.
"""

import random
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import ceil, exp

import numpy as np

from duologue.audio.framing import FRAME_SECONDS
from duologue.data.script import Line, Script
from duologue.data.speakers import lines_of
from duologue.data.timeline import Utterance
from duologue.types import Word

AGENT_LETTERS_PER_SECOND = 14.5  # a second, as the agent's voice reads
USER_LETTERS = (10.0, 20.0)
JITTER = 0.25  # standard deviation of a word's duration, in logarithms
# At most, with punctuation: a frame has one token, and what comes too late for its word is dropped.
LETTERS_A_FRAME = 3
EDGE_SECONDS = 0.06  # seconds of silence at both ends, as clips have them
PAUSE_SECONDS = {",": 0.18, ":": 0.25, ".": 0.35, "!": 0.35, "?": 0.35}  # seconds after a word
NO_SOUND_S = np.zeros(0, np.float32)


@dataclass(frozen=True)
class SilentUtterance(Utterance):
    """Words with times, and `length` seconds of nothing."""

    length: float = 0.0

    @property
    def seconds(self) -> float:
        return self.length

    @property
    def last_sound(self) -> float:
        return self.audible[1]

    def boundaries(self) -> list[float]:
        return [(a.end + b.start) / 2 for a, b in zip(self.words, self.words[1:], strict=False)]

    def then(self, other: Utterance) -> "SilentUtterance":
        shift = -(-self.length // FRAME_SECONDS) * FRAME_SECONDS
        words = self.words + tuple(word.moved(shift) for word in other.words)
        audible, text = (self.audible[0], shift + other.audible[1]), f"{self.text} {other.text}"
        return replace(self, text=text, words=words, audible=audible, length=shift + other.seconds)

    def before(self, seconds: float, fade: float = 0.02) -> "SilentUtterance":
        cut = super().before(seconds, fade)
        assert isinstance(cut, SilentUtterance)
        return replace(cut, length=min(seconds, self.length), audible=_span(cut.words))

    def after(self, seconds: float, fade: float = 0.01) -> "SilentUtterance":
        rest = super().after(seconds, fade)
        assert isinstance(rest, SilentUtterance)
        return replace(rest, length=self.length - seconds, audible=_span(rest.words))


def _span(words: Sequence[Word]) -> tuple[float, float]:
    return (words[0].start, words[-1].end) if words else (0.0, 0.0)


def timed(text: str, letters: float, rng: random.Random, voice: str = "") -> SilentUtterance:
    """A text with word times, at about `letters` a second."""
    now, words = EDGE_SECONDS, []
    for part in text.split():
        length = (len(re.sub(r"\W", "", part)) + 1) / letters * exp(rng.gauss(0, JITTER))
        length = max(length, ceil(len(part) / LETTERS_A_FRAME) * FRAME_SECONDS)
        words.append(Word(part, round(now, 3), round(now + length, 3)))
        now += length + PAUSE_SECONDS.get(part[-1], 0.0)
    end = words[-1].end if words else EDGE_SECONDS
    return SilentUtterance(text, NO_SOUND_S, tuple(words), _span(words), voice, length=end + EDGE_SECONDS)


class SilentSpeakers:
    """Users "0" to "7" of different paces, and the agent, who says the same text in the same time always."""

    def __init__(self, script: Script, pace: float = 1.0):
        """`pace`: as many times as fast as people speak."""
        self.settings, self._pace = {"voice": "none"}, pace
        low, high = USER_LETTERS
        self._paces = {str(k): pace * (low + (high - low) * k / 7) for k in range(8)}
        self._lines = lines_of(script)
        self._answers: dict[str, Utterance] = {}

    def users(self) -> list[str]:
        return list(self._paces)

    def lines(self, user: str) -> list[Line]:
        return self._lines

    def ask(self, user: str, line: Line, rng: random.Random) -> Utterance:
        return timed(line.text, self._paces[user] * rng.uniform(0.9, 1.1), rng, user)

    def can_answer(self, text: str) -> bool:
        return True

    def answer(self, text: str) -> Utterance:
        if text not in self._answers:
            self._answers[text] = timed(
                text, self._pace * AGENT_LETTERS_PER_SECOND, random.Random(text), "agent"
            )
        return self._answers[text]
