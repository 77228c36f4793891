"""What may be said: questions in several phrasings with their answers, or whole conversations."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from duologue.data.strict_json import parse_json
from duologue.data.text import spoken_words
from duologue.errors import InputError
from duologue.types import StrPath

BACKCHANNELS = ("Mm-hm.", "Uh-huh.", "Yeah.", "Right.", "Okay.", "I see.", "Oh, really?", "Wow.")
STOPS = ("stop", "wait")


@dataclass(frozen=True)
class Line:
    """One thing a user may say: phrasing `index` of item `item` ("" for a backchannel)."""

    item: str
    index: int
    text: str


@dataclass(frozen=True)
class Item:
    """A question in several phrasings, and its answer."""

    id: str
    phrasings: tuple[str, ...]
    answer: str

    @property
    def stops(self) -> bool:
        """Whether it is about falling silent ("Stop.", "Wait."): said over an answer, mostly."""
        return spoken_words(self.phrasings[0])[:1] in [[word] for word in STOPS]


@dataclass
class Script:
    """Items to draw from, and whole conversations to follow (lists of item ids and phrasing numbers)."""

    items: dict[str, Item] = field(default_factory=dict)
    conversations: list[list[Line]] = field(default_factory=list)

    @classmethod
    def read(cls, path: StrPath) -> "Script":
        """InputError, with the number of the line, if a line is neither an item nor a conversation."""
        script = cls()
        if not Path(path).exists():
            raise InputError(f"there is no script {path}")
        for number, text in enumerate(Path(path).read_bytes().splitlines(), 1):
            try:
                script._add(parse_json(text))
            except (ValueError, KeyError, TypeError):
                raise InputError(
                    f'{path}, line {number}: expected {{"id", "user": [..], "agent"}} or {{"id", "turns": [[q, a]]}}'
                ) from None
        if not script.items:
            raise InputError(f"{path} is empty")
        return script

    def _add(self, row: dict[str, Any]) -> None:
        if "turns" not in row:
            if not isinstance(row["user"], list):
                raise TypeError
            answer = row["agent"] if "agent" in row else row["moshi"]  # as older scripts call it
            self._add_item(row["id"], row["user"], answer)
            return
        lines = []
        for k, (question, answer) in enumerate(row["turns"]):
            self._add_item(f"{row['id']}.{k}", [question], answer)
            lines.append(Line(f"{row['id']}.{k}", 0, question))
        self.conversations.append(lines)

    def _add_item(self, name: Any, phrasings: list[Any], answer: Any) -> None:
        if not phrasings or not all(isinstance(text, str) for text in (name, *phrasings, answer)):
            raise TypeError
        self.items[name] = Item(name, tuple(phrasings), answer)
