"""Splits a conversation's transcript into turns and finds what to delegate: what the model asks for itself, with a text
token or a phrase, or else every question of the user's."""

import re
from collections import deque
from dataclasses import dataclass

from duologue.engine.session import AgentFrame

CHOSEN = -2  # `AgentFrame.dictated` of a token that the model chose itself
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


@dataclass(frozen=True)
class Asks:
    """How a model asks for what it does not know: by a text token (`LMConfig.retrieval_token`) or by one of the phrases
    that it then says. A model with neither does not, and every question of the user's is delegated."""

    token: int | None = None
    phrases: tuple[str, ...] = ()


EVERY_QUESTION = Asks()


class Questions:
    """Collects the turns of both sides, oldest first. Call `push` in every frame."""

    def __init__(self, asks: Asks = EVERY_QUESTION):
        self._asks = asks
        self._user = self._agent = self._chosen = ""
        self._quiet = 0
        self.turns: deque[tuple[str, str]] = deque(maxlen=KEPT_TURNS)
        """(role, text), with the roles `user` and `assistant`."""

    def push(self, said: AgentFrame) -> str | None:
        """Returns what is to be answered, in the frame in which that is known, and None in all others."""
        ended = self._listen(said)
        if self._asks.token is None and not self._asks.phrases:
            return ended if ended is not None and asks(ended) else None
        if not self._model_asks(said):
            return None
        if self._user.strip():  # the model asks before the user's turn is known to be over
            self._end_turn()
        return next((text for role, text in reversed(self.turns) if role == "user"), None)

    def _model_asks(self, said: AgentFrame) -> bool:
        if said.dictated != CHOSEN:
            return False
        if self._asks.token is not None:
            return said.token == self._asks.token
        longest = max(len(phrase) for phrase in self._asks.phrases)
        self._chosen = (self._chosen + said.text)[-2 * longest :]
        if not any(phrase.casefold() in self._chosen.casefold() for phrase in self._asks.phrases):
            return False
        self._chosen = ""
        return True

    def _listen(self, said: AgentFrame) -> str | None:
        """Returns the user's turn in the frame in which it ends."""
        self._agent += said.text
        if said.user_text:
            self._user += said.user_text
            self._quiet = 0
        else:
            self._quiet += 1
        return None if not self._user or self._quiet < PAUSE_FRAMES else self._end_turn()

    def _end_turn(self) -> str:
        turn, self._user = self._user.strip(), ""
        if self._agent.strip():
            self.turns.append(("assistant", self._agent.strip()))
        self._agent = ""
        self.turns.append(("user", turn))
        return turn
