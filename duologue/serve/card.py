"""What a model says of itself to those who do not know it: `card.json` in its folder, for the page.

    {"title": "nano", "topics": ["capitals", "animals"], "questions": [{"text": "What does a cow say?"}]}

A question may have a recording of it in the folder, `"sound": "cow.opus"`. `does_not_know`: phrases with which the
model says that it does not know an answer; then a delegate is asked (`serve.delegation`).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from duologue.errors import InputError
from duologue.weights.card_files import CARD
from duologue.weights.fields import Fields, read_json
from duologue.weights.files import ModelFiles

LONGEST = 200  # characters of a text
MOST = 24  # topics, and questions


@dataclass(frozen=True)
class Question:
    """An example of what one may ask. `sound`: a recording of it."""

    text: str
    sound: Path | None = None


@dataclass(frozen=True)
class Card:
    title: str
    topics: tuple[str, ...] = ()
    questions: tuple[Question, ...] = ()
    does_not_know: tuple[str, ...] = ()

    def told(self) -> dict[str, Any]:
        """What a page is told; its address of a recording is relative to the page's own."""
        questions = [
            {"text": question.text} | ({"sound": f"api/questions/{number}"} if question.sound else {})
            for number, question in enumerate(self.questions)
        ]
        return {"title": self.title, "topics": list(self.topics), "questions": questions}


@dataclass(frozen=True)
class About:
    """What is told of a served model. `voice` and `role`: those it was started with; `reads_text`: whether a client may
    write to it."""

    card: Card | None = None
    voice: str | None = None
    role: str | None = None
    reads_text: bool = False

    def told(self) -> Mapping[str, Any]:
        return {
            "card": self.card.told() if self.card else None,
            "voice": self.voice,
            "role": self.role,
            "reads_text": self.reads_text,
        }


NOBODY = About()


def read_card(files: ModelFiles) -> Card | None:
    """The card of a model; None if it has none. Raises InputError if it is damaged."""
    if (path := files.optional(CARD)) is None:
        return None
    fields = Fields(read_json(path), str(path))
    card = Card(
        _text(fields, "title"),
        tuple(_bounded(fields.take("topics", list[str], []), f"{path}: topics")),
        tuple(_question(files, Fields(each, str(path))) for each in _questions(fields)),
        tuple(_bounded(fields.take("does_not_know", list[str], []), f"{path}: does_not_know")),
    )
    fields.finish()
    return card


def _questions(fields: Fields) -> list[Any]:
    found = fields.take("questions", list, [])
    if len(found) > MOST:
        raise InputError(f"{fields.where}: at most {MOST} questions, not {len(found)}")
    return found


def _question(files: ModelFiles, fields: Fields) -> Question:
    text, name = _text(fields, "text"), fields.take("sound", str | None, None)
    fields.finish()
    return Question(text, files.find(name) if name else None)


def _text(fields: Fields, key: str) -> str:
    return _bounded([fields.take(key, str)], f"{fields.where}: {key}")[0]


def _bounded(texts: list[str], where: str) -> list[str]:
    if len(texts) > MOST or any(not 0 < len(text) <= LONGEST for text in texts):
        raise InputError(f"{where}: at most {MOST} texts of 1 to {LONGEST} characters")
    return texts
