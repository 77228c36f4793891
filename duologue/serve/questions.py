"""Splits a conversation's transcript into turns and finds the user's questions: the delegation policy for models
without a token that asks for it."""

import re
from collections import deque

from duologue.engine.session import AgentFrame

PAUSE_FRAMES = 8  # frames without a new word of the user that end a turn
MIN_WORDS = 3  # in a question
KEPT_TURNS = 20
ASKS = re.compile(
    r"\b(what|who|whose|whom|when|where|which|why|how|tell me|do you know|can you|could you|would you|"
    r"is there|are there|look up|search|find|explain|show me)\b|\?",
    re.IGNORECASE,
)


def asks(text: str) -> bool:
    """Whether a user turn is a question or a request."""
    return len(text.split()) >= MIN_WORDS and bool(ASKS.search(text))


class Questions:
    """Collects the turns of both sides, oldest first. Call `push` in every frame."""

    def __init__(self):
        self._user = self._agent = ""
        self._quiet = 0
        self.turns: deque[tuple[str, str]] = deque(maxlen=KEPT_TURNS)
        """(role, text), with the roles `user` and `assistant`."""

    def push(self, said: AgentFrame) -> str | None:
        """Returns the user's question in the frame in which its turn ends, and None in all others."""
        self._agent += said.text
        if said.user_text:
            self._user += said.user_text
            self._quiet = 0
        else:
            self._quiet += 1
        if not self._user or self._quiet < PAUSE_FRAMES:
            return None
        question, self._user = self._user.strip(), ""
        if self._agent.strip():
            self.turns.append(("assistant", self._agent.strip()))
        self._agent = ""
        self.turns.append(("user", question))
        return question if asks(question) else None
