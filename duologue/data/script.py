"""Scripts: questions in several phrasings with their answers, or whole conversations."""

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from duologue.data.split import valid_phrasing
from duologue.data.strict_json import parse_json
from duologue.errors import InputError
from duologue.spoken_text import spoken_words
from duologue.types import StrPath

BACKCHANNELS = ("Mm-hm.", "Uh-huh.", "Yeah.", "Right.", "Okay.", "I see.", "Oh, really?", "Wow.")
STOPS = ("stop", "wait")
LAST_ANSWER = "{answer}"  # in an answer: what the agent said before


@dataclass(frozen=True)
class Line:
    """One thing a user may say: phrasing `index` of item `item` ("" for a backchannel)."""

    item: str
    index: int
    text: str


@dataclass(frozen=True)
class Item:
    """A question in several phrasings, and its answer ("": nobody spoke to the agent, which stays quiet)."""

    id: str
    phrasings: tuple[str, ...]
    answer: str
    topic: str = ""
    before: tuple[tuple[str, str], ...] | None = None
    """The exchanges that must come first; () means that none may have come: in a conversation, or of its `slot`."""
    slot: str = ""
    """What it is about of the things that a user tells of themselves and asks for later, such as "name"."""
    unfinished: bool = False
    """Whether the question breaks off, so that the agent waits before it asks back."""
    split: tuple[str, ...] = ()
    """ "train" or "valid" for each phrasing; empty: by the rule of names (`split.valid_phrasing`)."""

    @cached_property
    def stops(self) -> bool:
        """Whether it asks the agent to be silent ("Stop.", "Wait."), mostly during an answer."""
        return " ".join(spoken_words(self.phrasings[0])) in STOPS

    @property
    def repeats(self) -> bool:
        """Whether its answer repeats what the agent said last."""
        return LAST_ANSWER in self.answer

    def held_out(self, index: int) -> bool:
        """Whether a phrasing is kept for validation."""
        return self.split[index] == "valid" if self.split else valid_phrasing(self.id, index)


@dataclass
class Script:
    """Items to draw from, and whole conversations to follow (lists of item ids and phrasing numbers)."""

    items: dict[str, Item] = field(default_factory=dict)
    conversations: list[list[Line]] = field(default_factory=list)

    @classmethod
    def read(cls, path: StrPath) -> "Script":
        """A script, or all scripts (.jsonl) of a folder as one.

        InputError, with the number of the line, if a line is neither an item nor a conversation, or has an id again.
        """
        script, place = cls(), Path(path)
        if not place.exists():
            raise InputError(f"there is no script {path}")
        for one in sorted(place.glob("*.jsonl")) if place.is_dir() else [place]:
            for number, text in enumerate(one.read_bytes().splitlines(), 1):
                try:
                    script._add(parse_json(text))
                except (ValueError, KeyError, TypeError):
                    raise InputError(
                        f'{one}, line {number}: expected {{"id", "user": [..], "agent"}} with an id of its own, '
                        'or {"id", "turns": [[q, a]]}'
                    ) from None
        if not script.items:
            raise InputError(f"{path} is empty" if place.is_file() else f"{path}: there is no script here")
        return script

    def with_answer(self, question: str, answer: str) -> Item | None:
        """The item that has this phrasing and this answer."""
        if not hasattr(self, "_by_exchange"):
            self._by_exchange = {
                (text, item.answer): item for item in reversed(self.items.values()) for text in item.phrasings
            }
        return self._by_exchange.get((question, answer))

    def held_out_texts(self) -> dict[str, dict[str, str]]:
        """{"split": "train" or "valid"} of each phrasing whose item says so."""
        return {
            text: {"split": item.split[k]}
            for item in self.items.values()
            if item.split
            for k, text in enumerate(item.phrasings)
        }

    def _add(self, row: dict[str, Any]) -> None:
        if "turns" not in row:
            self._add_item(_item(row))
            return
        lines = []
        for k, (question, answer) in enumerate(row["turns"]):
            self._add_item(_item({"id": f"{row['id']}.{k}", "user": [question], "agent": answer}))
            lines.append(Line(f"{row['id']}.{k}", 0, question))
        self.conversations.append(lines)

    def _add_item(self, item: Item) -> None:
        if item.id in self.items:
            raise ValueError
        self.items[item.id] = item


def _item(row: dict[str, Any]) -> Item:
    """An item of a row; "moshi" is an older name of "agent". Raises KeyError, TypeError or ValueError."""
    answer, before, split = (
        row["agent" if "agent" in row else "moshi"],
        row.get("before"),
        row.get("split", []),
    )
    if not isinstance(row["user"], list) or not row["user"] or not isinstance(split, list):
        raise TypeError
    exchanges = None if before is None else tuple((question, answer) for question, answer in before)
    texts = [row["id"], *row["user"], answer, row.get("topic", ""), row.get("slot", "")]
    texts += [text for exchange in exchanges or () for text in exchange]
    if not all(isinstance(text, str) for text in texts) or not isinstance(row.get("unfinished", False), bool):
        raise TypeError
    if split and (len(split) != len(row["user"]) or not set(split) <= {"train", "valid"}):
        raise ValueError
    return Item(
        row["id"], tuple(row["user"]), answer, row.get("topic", ""), exchanges, row.get("slot", ""),
        row.get("unfinished", False), tuple(split),
    )  # fmt: skip
