"""One conversation, one frame at a time."""

from dataclasses import dataclass

import numpy as np

from ..lm.sampling import Sampling
from ..tokenizer import TextStream, Tokenizer
from ..weights import Model
from .backend import Backend, open_backend
from .options import DEFAULT, Options


@dataclass(frozen=True)
class Said:
    """What the agent says in one frame. `frame` is its place in the conversation: it answers the user's frame
    `frame - 1`, and is heard while the user says `frame`. `text` is what the token adds to the text (-2: no token)."""

    frame: int
    wav_S: np.ndarray
    text: str
    token: int


class Session:
    """A conversation on a backend of its own: push a frame of the user, get one of the agent.

    >>> session = Session(load("tiny"))
    >>> said = session.push(np.zeros(1920, np.float32))
    """

    def __init__(self, model: Model, sampling: Sampling | None = None, options: Options = DEFAULT):
        self.tokenizer: Tokenizer = model.tokenizer
        self._backend: Backend = open_backend(model, options=options)
        self.frame_size = self._backend.frame_size
        self.restart(sampling or model.sampling)

    def restart(self, sampling: Sampling) -> None:
        """A new conversation: nothing of the old one is left."""
        self.frames = 0
        self._text = TextStream(self.tokenizer)
        self._backend.start({0: sampling})
        self._step(np.zeros(self.frame_size, np.float32))

    def push(self, frame_S: np.ndarray) -> Said:
        """Hear one frame (float32 `[frame_size]` in [-1, 1]) and say one. Raises FloatingPointError if the model has
        left the finite numbers; only `restart` helps then."""
        wav_S, token = self._step(np.asarray(frame_S, np.float32))
        self.frames += 1
        return Said(self.frames, wav_S, self._text.push(token) if token >= 0 else "", token)

    def _step(self, frame_S: np.ndarray) -> tuple[np.ndarray, int]:
        out = self._backend.step(frame_S[None], np.ones(1, bool))
        if not out.finite_B[0]:
            raise FloatingPointError("the model has left the finite numbers")
        return out.wav_BS[0], int(out.text_B[0])
