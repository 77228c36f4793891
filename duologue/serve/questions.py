"""The turns of a conversation by its words, and which of the user's turns ask for something that may have to be looked
up: the policy by which work is delegated for a model that has no token of its own for it."""

import re
from collections import deque

from duologue.engine.session import AgentFrame

PAUSE_FRAMES = 8  # without a new word of the user, after which the turn is over
MIN_WORDS = 3  # of a question
KEPT_TURNS = 20
ASKS = re.compile(
    r"\b(what|who|whose|whom|when|where|which|why|how|tell me|do you know|can you|could you|would you|"
    r"is there|are there|look up|search|find|explain|show me)\b|\?",
    re.IGNORECASE,
)


def asks(text: str) -> bool:
    """Whether a turn of the user's asks for something."""
    return len(text.split()) >= MIN_WORDS and bool(ASKS.search(text))


class Questions:
    """Collects the turns of both sides, oldest first: `push` every frame."""

    def __init__(self):
        self._user = self._agent = ""
        self._quiet = 0
        self.turns: deque[tuple[str, str]] = deque(maxlen=KEPT_TURNS)
        """(role, text), with the roles `user` and `assistant`."""

    def push(self, said: AgentFrame) -> str | None:
        """Returns the user's question, in the frame in which a turn that asks for something is over."""
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
