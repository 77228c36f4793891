"""Builds script rows: phrasings with natural variants, none of them twice in one context, each with its split."""

import re
from collections.abc import Iterable, Sequence
from typing import Any

from duologue.data.split import fraction, valid_phrasing

Row = dict[str, Any]
CONTRACTIONS = (
    ("What is ", "What's "), ("Who is ", "Who's "), ("Where is ", "Where's "), ("How is ", "How's "), ("I am ", "I'm "),
    ("You are ", "You're "), ("That is ", "That's "), ("It is ", "It's "), ("I would ", "I'd "), ("I will ", "I'll "),
    ("do not ", "don't "), ("can not ", "can't "), ("is not ", "isn't "), ("what is ", "what's "),
    ("does not ", "doesn't "),
)  # fmt: skip
ASKING = (
    "Hey, {q}",
    "Tell me, {q}",
    "So, {q}",
    "Okay, {q}",
    "One question. {Q}",
    "Um, {q}",
    "Please tell me, {q}",
    "Quick question. {Q}",
)
TELLING = (
    "You know, {q}",
    "Well, {q}",
    "So, {q}",
    "Actually, {q}",
    "Hey, {q}",
    "By the way, {q}",
    "Echo, {q}",
)
KEPT = ("I ", "I'", "English", "French", "Spanish", "Monday", "Christmas")


def pairs(text: str) -> list[tuple[str, str]]:
    """ "a=b; c=d" -> [("a", "b"), ("c", "d")]."""
    found = [part.strip().split("=") for part in re.split(r"[;\n]", text) if part.strip()]
    return [(left.strip(), right.strip()) for left, right in found]


def listed(text: str, mark: str = ";") -> list[str]:
    """ "a; b;\\n c" -> ["a", "b", "c"]."""
    return [part.strip() for part in re.split(rf"[{mark}\n]", text) if part.strip()]


def contracted(text: str) -> str:
    """ "What is it?" -> "What's it?": as people say it."""
    for long, short in CONTRACTIONS:
        text = text.replace(long, short)
    return text


def lowered(text: str) -> str:
    """The text as it goes on inside a sentence: small at its first letter, unless that is a name or "I"."""
    return text if text.startswith(KEPT) else text[0].lower() + text[1:]


def with_article(text: str) -> str:
    """ "a owl" -> "an owl"."""
    return re.sub(r"\b([Aa]) (?=[aeio])(?!one\b|once\b|eu)", r"\1n ", text)


def variants(phrasings: Sequence[str], least: int, seed: str) -> list[str]:
    """At least `least` phrasings: those given, their contractions, and openers before the first ones."""
    found = list(dict.fromkeys(phrasings))
    found += [short for text in phrasings if (short := contracted(text)) not in found]
    openers = ASKING if found[0].endswith("?") else TELLING
    at = int(fraction(seed) * len(openers))
    while len(found) < least:
        text = found[at % len(phrasings)]
        opened = openers[at % len(openers)].format(q=lowered(text), Q=text)
        if opened not in found:
            found.append(opened)
        at += 1
    return found[:6] if len(phrasings) <= 6 else found


class ScriptBook:
    """Rows of scripts in the making. A phrasing has one answer in one context: later ones lose it."""

    def __init__(self) -> None:
        self.rows: list[Row] = []
        self.lost: list[str] = []
        self._counts: dict[str, int] = {}
        self._said: dict[tuple[str, str], str] = {}

    def take(self, rows: Iterable[Row]) -> None:
        """Rows of another script: they are known, and not written again."""
        for row in rows:
            topic, _, number = row["id"].rpartition("-")
            self._counts[topic] = max(self._counts.get(topic, 0), int(number) + 1)
            self._register(row)

    def add(
        self,
        topic: str,
        user: Sequence[str],
        agent: str,
        before: list[list[str]] | None = None,
        least: int = 3,
        **more: Any,
    ) -> None:
        """One item, with phrasings that are new in its context; nothing where none is."""
        number = self._counts.get(topic, 0)
        self._counts[topic] = number + 1
        user = [with_article(text) for text in user]
        said = variants(user, 0 if before is not None else least, f"{topic} {number} {agent}")
        row: Row = {"id": f"{topic}-{number:03d}", "topic": topic, "user": said, "agent": agent}
        if before is not None:
            row["before"] = before
        self._register(row | more, self.rows)

    def _register(self, row: Row, rows: list[Row] | None = None) -> None:
        context = repr(row.get("before"))
        answer = row.get("agent", row.get("moshi"))
        fresh = []
        for text in row["user"]:
            known = self._said.setdefault((plain(text), context), answer)
            if known == answer and text not in fresh:
                fresh.append(text)
            elif known != answer:
                self.lost.append(f"{row['id']}: {text!r} is answered with {known!r}, not {answer!r}")
        row["user"] = fresh
        if rows is not None and fresh:
            rows.append(row)


def split_rows(first: Sequence[Row], rows: Sequence[Row]) -> None:
    """Write "split" into `rows`: one for each phrasing, the same wherever the same words are said.

    In `first`, a script without "split", the rule of names holds as it is.
    """
    split = {
        plain(text): "valid" if valid_phrasing(row["id"], index) else "train"
        for row in first
        for index, text in enumerate(row["user"])
    }
    firsts = {plain(row["user"][0]) for row in rows}
    for row in rows:
        for index, text in enumerate(row["user"]):
            held_out = plain(text) not in firsts and valid_phrasing(row["id"], index)
            split.setdefault(plain(text), "valid" if held_out else "train")
    for row in rows:
        row["split"] = [split[plain(text)] for text in row["user"]]


def plain(text: str) -> str:
    """Letters alone: what is heard of a text."""
    return re.sub(r"[^a-z' ]", "", text.lower()).strip()
