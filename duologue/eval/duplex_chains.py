"""Scenes in which a line depends on earlier ones, or is not for the agent.

The kinds of HumDial (repetition request, negation, third party, speech to somebody else), follow-ups, things told and
recalled, corrections, half-heard questions, questions that nobody taught it, and what people open with.
"""

import random
from dataclasses import dataclass

from duologue.data.script import Item, Line, Script
from duologue.data.speakers import ClipSpeakers
from duologue.eval.duplex_kinds import ASIDE

OPENERS = (
    "open", "test", "thanks", "bye", "breath", "hi-name", "self", "feel", "weather", "complain", "day", "family",
    "opinion",
)  # fmt: skip
TOPICS = {
    "half-heard": "half-heard",
    "mumble": "half-heard",
    "unfinished": "half-heard",
    "between": "third-party",
}
PREFIXES = {
    "recall": "recall",
    "correct": "correction",
    "not-": "negation",
    "negation": "negation",
    "unknown": "unknown",
}
IN_BETWEEN = 0.5  # share of recalls with another question between the telling and the asking


def kind_of(item: Item) -> str:
    """The kind of scene that tests this item; "" for a plain question."""
    if not item.answer:
        return ASIDE
    if item.repeats:
        return "repetition"
    if item.topic in TOPICS:
        return TOPICS[item.topic]
    for prefix, kind in PREFIXES.items():
        if item.topic.startswith(prefix):
            return kind
    if item.before:
        return "follow-up"
    return "opener" if item.topic in OPENERS else ""


def is_plain(item: Item) -> bool:
    """Whether an item is a question that can be asked at any time, and that the script answers."""
    return item.before is None and kind_of(item) in ("", "opener") and not item.unfinished


@dataclass
class Chains:
    """What must be said before a line, by the same user."""

    script: Script
    speakers: ClipSpeakers
    plain: dict[str, list[Line]]
    """Short plain questions of each user, without anything that users tell of themselves."""

    def possible(self, user: str, item: Item) -> bool:
        """Whether this user can say all that comes before the item."""
        if item.repeats and not self.plain.get(user):
            return False
        return all(self._earlier(user, *exchange) for exchange in item.before or ())

    def before(self, user: str, item: Item, rng: random.Random) -> list[Line]:
        """Lines that come first."""
        if item.repeats:
            return [rng.choice(self.plain[user])]
        lines = [rng.choice(self._earlier(user, *exchange)) for exchange in item.before or ()]
        if item.slot and lines and self.plain.get(user) and rng.random() < IN_BETWEEN:
            lines.append(rng.choice(self.plain[user]))
        return lines

    def _earlier(self, user: str, question: str, answer: str) -> list[Line]:
        item = self.script.with_answer(question, answer)
        if item is None or user not in self.speakers.users():
            return []
        texts = self.speakers.texts(user)
        return [Line(item.id, k, text) for k, text in enumerate(item.phrasings) if text in texts]
