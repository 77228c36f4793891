"""Conversations without sound as training shards: transcripts of simulated conversations of a script.

A sample has "json" alone: "frames", "alignments" (what was truly said), "cuts", "turns", and "misheard": the user's
words as a recogniser with confusions would have written them, which a model may read in place of the true ones.
"""

import random
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from duologue.audio.framing import FRAME_SECONDS
from duologue.data.director import Director
from duologue.data.manifest import transcript_body
from duologue.data.shards import Sample
from duologue.data.strict_json import read_json
from duologue.errors import InputError
from duologue.types import USER, StrPath, Word

LEFT_OUT = 0.15  # share of the misheard words that are missing
GARBLED = 0.8  # share of wrong words in a question under loud noise


class Confusions:
    """What is heard in place of a word: a table {word: {similar word: weight}}, letters in lower case.

    Each conversation has its own share of wrong words, up to `share`.
    """

    def __init__(self, table: dict[str, dict[str, float]], share: float):
        if not 0 <= share <= 1:
            raise InputError("the share of misheard words lies between 0 and 1")
        self._similar = {
            word: (list(others), list(others.values())) for word, others in table.items() if others
        }
        self.share = share

    @classmethod
    def read(cls, path: StrPath, share: float) -> "Confusions":
        """From a file. InputError if it is no such table."""
        table = read_json(Path(path))
        if not isinstance(table, dict) or not all(
            isinstance(others, dict) and all(isinstance(w, int | float) and w > 0 for w in others.values())
            for others in table.values()
        ):
            raise InputError(f"{path} is no table of confusions: expected {{word: {{similar word: weight}}}}")
        return cls(table, share)

    def heard(self, words: list[Word], share: float, rng: random.Random) -> list[Word]:
        """The words as they are heard, `share` of them wrongly; times, capitals and punctuation stay."""
        found = []
        for word in words:
            if rng.random() >= share:
                found.append(word)
                continue
            others, weights = self._similar.get(re.sub(r"[^a-z']", "", word.text.lower()), ([], []))
            if others and rng.random() >= LEFT_OUT:
                found.append(replace(word, text=_dressed(rng.choices(others, weights)[0], word.text)))
            elif not others and rng.random() >= LEFT_OUT:
                found.append(word)
        return found


def _dressed(letters: str, like: str) -> str:
    """ "spain", "Kenya?" -> "Spain?"."""
    head = re.match(r"\W*", like)
    tail = re.search(r"\W*$", like)
    core = letters.capitalize() if like.lstrip("\"'(")[:1].isupper() else letters
    return (head.group() if head else "") + core + (tail.group() if tail else "")


def silent_samples(
    director: Director, count: int, seed: int, confusions: Confusions | None = None, prefix: str = "text"
) -> Iterator[Sample]:
    """`count` conversations; the same seed gives the same ones."""
    for number in range(count):
        name = f"{prefix}-{number:06d}"
        rng = random.Random(f"{seed} {name}")
        line = director.direct(rng)
        body = transcript_body(line.transcript())
        row = {"id": name, "duration": round(line.seconds, 3), "frames": round(line.seconds / FRAME_SECONDS)}
        if confusions is not None:
            share = rng.uniform(0, confusions.share)
            heard: list[Word] = []
            for placed in line.placed:
                if placed.role == "user":
                    words = [word.moved(placed.start) for word in placed.utterance.words]
                    heard += confusions.heard(words, GARBLED if placed.kind == "lost" else share, rng)
            heard.sort(key=lambda word: word.start)
            body["misheard"] = [[" " + w.text, [round(w.start, 3), round(w.end, 3)], USER] for w in heard]
        yield {"key": name, "json": row | body | {"turns": line.turns()}}
