"""A prompt for speech recognition: what a model hears, and is made to write, before a recording. It steers the spelling
of names, the style, the language.
"""

from collections import deque
from dataclasses import dataclass

import numpy as np

from duologue.engine.script import PAD, WORD
from duologue.lm.tokenizer import Tokenizer

GAP_SECONDS = 0.8  # seconds of silence between the prompt and the recording


@dataclass(frozen=True)
class Prompt:
    """`wav_S`: a recording, float32 at the model's rate. `text`: what is said in it, as the model should write it; the
    model writes what it likes if empty."""

    wav_S: np.ndarray
    text: str = ""


class PromptTokens:
    """The tokens of a prompt that the model has not written yet. Until it has, it may write the next of them, WORD and
    PAD, and nothing else."""

    def __init__(self, tokenizer: Tokenizer, text: str):
        self._left = deque(tokenizer.encode(text) if text else ())

    def allow(self, allowed_V: np.ndarray) -> None:
        """Clear the flags of all other tokens, if any of the prompt is left."""
        if self._left:
            allowed_V[:] = False
            allowed_V[[WORD, PAD, self._left[0]]] = True

    @property
    def pending(self) -> bool:
        return bool(self._left)

    def written(self, token: int) -> None:
        """The model has written a token."""
        if self._left and token == self._left[0]:
            self._left.popleft()

    def drop(self) -> None:
        """The recording begins: what is left is not written any more."""
        self._left.clear()
