"""Writes everyday.jsonl and paraphrases.jsonl beside dialogues.jsonl and domain.jsonl, always the same.

`python -m recipes.nano.write_scripts`. What is said lies in recipes/nano/content, written by hand; families of
questions (capitals, sums, opposites, ..) are read from the two older scripts, for more phrasings and follow-ups.
"""

import json
from pathlib import Path

from duologue.files import atomic_write
from recipes.nano.content import aside
from recipes.nano.content.items_asked import beyond, following, half_heard, two_sentences
from recipes.nano.content.items_said import small_talks, told
from recipes.nano.families import MORE, families
from recipes.nano.script_book import Row, ScriptBook, listed, split_rows

HERE = Path(__file__).parent


def read(name: str) -> list[Row]:
    """The rows of a script beside this file."""
    return [json.loads(line) for line in (HERE / name).read_text().splitlines()]


def everyday(older: list[Row]) -> ScriptBook:
    """What is in none of the older scripts."""
    book, found = ScriptBook(), families(older)
    book.take(older)
    small_talks(book)
    told(book)
    beyond(book)
    half_heard(book, found)
    following(book, found)
    two_sentences(book, older)
    for said in listed(aside.ASIDE, "|"):
        book.add("aside", [said], "", least=1)
    return book


def paraphrases(older: list[Row], everyday_rows: list[Row]) -> ScriptBook:
    """More ways to ask what the families ask."""
    book, found = ScriptBook(), families(older)
    book.take([*older, *everyday_rows])
    for name, phrasings in MORE.items():
        for key, answer in found[name].answers.items():
            texts = [text.format(x=key, X=key[0].upper() + key[1:]) for text in phrasings]
            book.add(f"more-{name}", texts, answer, least=1)
    return book


def write_scripts(folder: Path = HERE) -> list[str]:
    """Write the scripts into `folder`; returns the phrasings that were left out, since they have another answer."""
    dialogues, domain = read("dialogues.jsonl"), read("domain.jsonl")
    older = [*dialogues, *domain]
    new = everyday(older)
    more = paraphrases(older, new.rows)
    split_rows(dialogues, [*domain, *new.rows, *more.rows])
    for name, rows in (
        ("domain.jsonl", domain),
        ("everyday.jsonl", new.rows),
        ("paraphrases.jsonl", more.rows),
    ):
        with atomic_write(folder / name) as temporary:
            temporary.write_text("".join(json.dumps(row) + "\n" for row in rows))
        phrasings = sum(len(row["user"]) for row in rows)
        print(
            f"{name}: {len(rows)} items, {phrasings} phrasings, {len({row['agent'] for row in rows})} answers"
        )
    return new.lost + more.lost


if __name__ == "__main__":
    for line in write_scripts():
        print("left out:", line)
