"""Words with their times, from the text tokens that come with the agent's frames."""

from dataclasses import dataclass

import numpy as np

from ..tokenizer import TextStream, Tokenizer

FRAME = 0.08  # seconds
LOUD = 3e-3  # root mean square above which a frame is voiced


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
    or the next word begins."""

    def __init__(self, tokenizer: Tokenizer):
        self._stream = TextStream(tokenizer)
        self._open = False
        self.words: list[Word] = []
        self.text = ""

    def push(self, frame: int, token: int, rms: float) -> str:
        """Take the token and the loudness of a frame; return the text that it adds."""
        piece = self._stream.push(token) if token >= 0 else ""
        now = frame * FRAME
        if piece.startswith(" ") or (piece and not self.words):
            self.words.append(Word(piece.strip(), now, now + FRAME))
            self._open = True
        elif piece:
            self.words[-1].word += piece
        if self._open and (piece or rms > LOUD):
            self.words[-1].end = now + FRAME
        elif self._open:
            self._open = False
        self.text += piece
        return piece
