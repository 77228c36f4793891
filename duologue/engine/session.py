"""One conversation, one frame at a time."""

from dataclasses import dataclass

import numpy as np

from duologue.engine.backend import open_backend
from duologue.engine.options import DEFAULT, Options
from duologue.engine.words import Once
from duologue.interfaces import Backend, Frames
from duologue.lm.sampling import Sampling
from duologue.lm.tokenizer import TextStream, Tokenizer
from duologue.weights import Model


@dataclass(frozen=True)
class AgentFrame:
    """The agent's output in one frame. `frame` is its index in the conversation: it answers the user's frame `frame -
    1`, and is played during the user's `frame`. `text` is what the token adds to the text (-2: no token). `user_text`
    and `user_token` are the same of the user's transcript, if the model writes one (-1: it does not).
    `dictated` is the text token that the model was told to write in this step (-2: it chose one)."""

    frame: int
    wav_S: np.ndarray
    text: str
    token: int
    user_text: str = ""
    user_token: int = -1
    dictated: int = -2


class CaptionStreams:
    """The growing text of both sides of a conversation."""

    def __init__(self, tokenizer: Tokenizer):
        self._agent, self._user, self._once = TextStream(tokenizer), TextStream(tokenizer), Once(tokenizer)

    def said(self, frame: int, frames: Frames, slot: int) -> AgentFrame:
        """The agent frame of a slot."""
        token, user_token = int(frames.text_B[slot]), self._once.push(frame, int(frames.user_text_B[slot]))
        text = self._agent.push(token) if token >= 0 else ""
        user_text = self._user.push(user_token) if user_token >= 0 else ""
        return AgentFrame(frame, frames.wav_BS[slot].copy(), text, token, user_text, user_token)


class Session:
    """One conversation with its own backend: push a frame of the user, get one of the agent.

    >>> session = Session(load("tiny"))
    >>> said = session.push(np.zeros(1920, np.float32))
    """

    def __init__(self, model: Model, sampling: Sampling | None = None, options: Options = DEFAULT):
        self.tokenizer: Tokenizer = model.tokenizer
        self._backend: Backend = open_backend(model, options=options)
        self.frame_size = self._backend.frame_size
        self.restart(sampling or model.sampling)

    def restart(self, sampling: Sampling) -> None:
        """Start a new conversation; nothing of the old one is kept."""
        self.frames = 0
        self._transcripts = CaptionStreams(self.tokenizer)
        self._backend.start({0: sampling})
        self._step(np.zeros(self.frame_size, np.float32))

    def push(self, frame_S: np.ndarray) -> AgentFrame:
        """Hear one frame (float32 `[frame_size]` in [-1, 1]) and say one. Raises FloatingPointError if the model
        produced NaN or infinity; call `restart` then."""
        frames = self._step(np.asarray(frame_S, np.float32))
        self.frames += 1
        return self._transcripts.said(self.frames, frames, 0)

    def _step(self, frame_S: np.ndarray) -> Frames:
        out = self._backend.step(frame_S[None], np.ones(1, bool))
        if not out.finite_B[0]:
            raise FloatingPointError("the model produced NaN or infinity")
        return out
