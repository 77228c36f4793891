"""Words with their times, from the text tokens that come with the agent's frames."""

import re
from dataclasses import dataclass

import numpy as np

from ..tokenizer import TextStream, Tokenizer

FRAME = 0.08  # seconds
LOUD = 3e-3  # root mean square above which a frame of the agent is voiced
LOUD_USER = 1e-2  # the same of the user: a microphone is never silent


def loudness(wav_S: np.ndarray) -> float:
    """Root mean square of a frame."""
    return float(np.sqrt(np.mean(wav_S**2)))


@dataclass
class Word:
    """A word and when it is heard, in seconds from the start of the conversation."""

    word: str
    start: float
    end: float


class Words:
    """Collects words as frames go by. A word starts with its first token's frame and ends where the voice falls silent
    or the next word begins; there is no white space in it."""

    def __init__(self, tokenizer: Tokenizer):
        self._stream = TextStream(tokenizer)
        self._spaced: float | None = None  # when the white space came that begins the next word
        self._open = False
        self.words: list[Word] = []
        self.text = ""

    def push(self, frame: int, token: int, rms: float) -> str:
        """Take the token and the loudness of a frame; return the text that it adds."""
        piece = self._stream.push(token) if token >= 0 else ""
        now = frame * FRAME
        for i, part in enumerate(re.split(r"\s+", piece)):
            if i > 0:
                self._spaced = now
            if part and (self._spaced is not None or not self.words):
                self.words.append(Word(part, now if self._spaced is None else self._spaced, now))
                self._spaced, self._open = None, True
            elif part:
                self.words[-1].word += part
        if self._open and (piece or rms > LOUD):
            self.words[-1].end = now + FRAME
        elif self._open:
            self._open = False
        self.text += piece
        return piece
