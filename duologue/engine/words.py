"""Words with their times from the text tokens of the frames: the agent's, and those of the user's transcript."""

import re
from collections import deque
from dataclasses import replace
from typing import Any

from duologue.audio.activity import LOUD, LOUD_USER
from duologue.audio.framing import FRAME_SECONDS
from duologue.lm.monologue import USER_TEXT_DELAY_FRAMES
from duologue.lm.tokenizer import TextStream, Tokenizer
from duologue.types import USER, Word

AGAIN_FRAMES = 2  # frames within which a repeated token of the user's belongs to the same word
PAD = 3  # as in every published vocabulary
LONGEST_SECONDS = 1.0  # seconds, upper limit for a word of the user's


class Words:
    """Collects the agent's words frame by frame. A word starts with its first token's frame and ends where the voice
    falls silent or the next word begins; it contains no white space."""

    def __init__(self, tokenizer: Tokenizer):
        self._stream = TextStream(tokenizer)
        self._spaced: float | None = None  # when the white space before the next word arrived
        self._open = False
        self.words: list[Word] = []
        self.text: str | None = None  # None until the first token, which may be PAD

    def push(self, frame: int, token: int, rms: float) -> str:
        """Add the token and the loudness of a frame; returns the text that it adds."""
        piece = self._stream.push(token) if token >= 0 else ""
        now = frame * FRAME_SECONDS
        for i, part in enumerate(re.split(r"\s+", piece)):
            if i > 0:
                self._spaced = now
            if part and (self._spaced is not None or not self.words):
                self.words.append(self._word(part, now if self._spaced is None else self._spaced))
                self._spaced = None
            elif part:
                last = self.words[-1]
                self.words[-1] = replace(last, text=last.text + part)
        self._sound(now, rms, bool(piece))
        if token >= 0:
            self.text = (self.text or "") + piece
        return piece

    def forget_after(self, frame: int) -> None:
        """Only the words that begin in the first `frame` frames were heard."""
        heard = [word for word in self.words if word.start < frame * FRAME_SECONDS]
        if len(heard) < len(self.words):
            self.words, self.text = heard, " ".join(word.text for word in heard)

    def _word(self, text: str, came: float) -> Word:
        """A word whose first token came at this time."""
        self._open = True
        return Word(text, came, came)

    def _sound(self, now: float, rms: float, written: bool) -> None:
        if self._open and (written or rms > LOUD):
            self.words[-1] = replace(self.words[-1], end=now + FRAME_SECONDS)
        elif self._open:
            self._open = False


class Once:
    """Tokens of the user's transcript without repetitions. The head does not see its own last output, and may write a
    word in both frames around its end: a token that is repeated at once is not a new one.
    """

    def __init__(self, tokenizer: Tokenizer):
        self._silent = tokenizer.is_control
        self._last: tuple[int, int] | None = None  # token, and the frame it came in

    def push(self, frame: int, token: int) -> int:
        """The token, or PAD if it is a repetition."""
        if token < 0 or self._silent(token):
            return token
        again = self._last is not None and self._last[0] == token and frame - self._last[1] <= AGAIN_FRAMES
        self._last = token, frame
        return PAD if again else token


class UserWords(Words):
    """Collects the user's words, which the model writes after they have ended: `rms` is the loudness of the user's last
    frame, `frame - 1`. A word starts where the voice starts, or where the word before ends."""

    def __init__(self, tokenizer: Tokenizer):
        super().__init__(tokenizer)
        self._once = Once(tokenizer)
        self._onsets: deque[float] = deque(maxlen=16)
        self._voiced = False

    def push(self, frame: int, token: int, rms: float) -> str:
        return super().push(frame, self._once.push(frame, token), rms)

    def _word(self, text: str, came: float) -> Word:
        end = max(FRAME_SECONDS, came - (USER_TEXT_DELAY_FRAMES - 1) * FRAME_SECONDS)
        onset = max((onset for onset in self._onsets if onset < end), default=0.0)
        before = self.words[-1].end if self.words else 0.0
        return Word(text, max(onset, min(before, end - FRAME_SECONDS), end - LONGEST_SECONDS), end, USER)

    def _sound(self, now: float, rms: float, written: bool) -> None:
        before, self._voiced = self._voiced, rms > LOUD_USER
        if self._voiced and not before:
            self._onsets.append(now - FRAME_SECONDS)


def transcript(agent: Words, user: Words) -> dict[str, Any]:
    """The text and words of the agent, and under "user" those of the user if the model transcribes: as published
    json."""
    result: dict[str, Any] = {
        "text": (agent.text or "").strip(),
        "words": [_rounded(word) for word in agent.words],
    }
    if user.text is not None:
        result["user"] = {"text": user.text.strip(), "words": [_rounded(word) for word in user.words]}
    return result


def _rounded(word: Word) -> dict[str, Any]:
    return {"word": word.text, "start": round(word.start, 2), "end": round(word.end, 2)}
