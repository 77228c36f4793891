"""A script of people and pets with coined names, for conversations without sound (`duologue data dialogues`).

    python -m recipes.nano.coined_names RUNS/scripts-silent/coined.jsonl --count 400 --seed 1

Of the few dozen names of nano's scripts a model learns which are likely, and not to read the one that it was told ("My
name is Laura." - "Nice to meet you, Julia."). A name that never comes again can only be read.
"""

import argparse
import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from duologue.files import atomic_write

ONSETS = [*"bcdfghjklmnprstvwz", "br", "ch", "dr", "gr", "sh", "st", "th", "tr"]
VOWELS = [*"aeiou", *"aeio", "ee", "ia", "ay", "oo"]
CODAS = ["", "", "", *"lnrsmt", "nd", "ck"]

Row = dict[str, Any]


def name(rng: random.Random) -> str:
    syllables = (
        rng.choice(ONSETS) + rng.choice(VOWELS) + rng.choice(CODAS) for _ in range(rng.choice([1, 2, 2, 3]))
    )
    return "".join(syllables).capitalize()


def rows(count: int, seed: int) -> Iterator[Row]:
    """Items of `count` people and of a quarter as many pets."""
    rng = random.Random(seed)
    for number in range(count):
        who = name(rng)
        nice = f"Nice to meet you, {who}."
        told = rng.choice(
            [
                f"My name is {who}.",
                f"I am {who}.",
                f"Call me {who}.",
                f"Hi, I'm {who}.",
                f"Hello, my name is {who}.",
            ]
        )
        yield _row(f"coined-name-{number:04d}", [told, f"This is {who}."], nice, "name")
        asked = ["What is my name?", "Do you know my name?", "Who am I?", "Do you remember my name?"]
        yield _row(f"coined-recall-{number:04d}", asked, f"Your name is {who}.", "name", [[told, nice]])
        if number % 4 == 0:
            kind = rng.choice(["dog", "cat", "horse", "parrot"])
            before = [[f"I have a {kind}.", f"What is the name of your {kind}?"]]
            answers = [f"{who}.", f"It's {who}.", f"The {kind} is called {who}."]
            good = f"{who} is a good name for a {kind}."
            yield _row(f"coined-pet-{number:04d}", answers, good, "", before)
            before = [*before, [answers[rng.randrange(3)], good]]
            asked = [f"What is my {kind} called?", f"What's the name of my {kind}?"]
            yield _row(
                f"coined-recall-pet-{number:04d}", asked, f"Your {kind} is called {who}.", "pet", before
            )


def _row(key: str, user: list[str], agent: str, slot: str, before: list[list[str]] | None = None) -> Row:
    row = {
        "id": key,
        "topic": key.rsplit("-", 1)[0],
        "user": user,
        "agent": agent,
        "split": ["train"] * len(user),
    }
    return row | ({"slot": slot} if slot else {}) | ({"before": before} if before else {})


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("script", type=Path)
    parser.add_argument("--count", type=int, default=400)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    with atomic_write(options.script) as temporary:
        temporary.write_text("".join(json.dumps(row) + "\n" for row in rows(options.count, options.seed)))


if __name__ == "__main__":
    main()
