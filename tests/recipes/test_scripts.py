"""nano's scripts: what the language model learns from must be correct as data, whatever it says."""

import json
import re

import pytest

from recipes.nano import write_scripts
from recipes.nano.families import families
from recipes.nano.script_book import ScriptBook, plain, variants, with_article

NAMES = ("dialogues", "domain", "everyday", "paraphrases")


@pytest.fixture(scope="module")
def rows():
    return {name: write_scripts.read(f"{name}.jsonl") for name in NAMES}


def every(rows):
    return [row for name in NAMES for row in rows[name]]


def test_the_committed_scripts_are_what_the_command_writes(tmp_path):
    assert write_scripts.write_scripts(tmp_path) == []  # no phrasing had to be left out
    for path in tmp_path.iterdir():
        assert path.read_bytes() == (write_scripts.HERE / path.name).read_bytes(), path.name


def test_there_are_as_many_new_items_as_old_ones(rows):
    assert len(rows["everyday"]) >= len(rows["domain"]) + 50
    assert sum(row["topic"] == "unknown" for row in rows["everyday"] + rows["domain"]) >= 400


def test_everything_is_spoken_words_in_ascii(rows):
    for row in every(rows):
        before = [text for pair in row.get("before") or [] for text in pair]
        for text in [*row["user"], row.get("agent", row.get("moshi")), *before]:
            assert text.isascii(), text
            assert not re.search(r"\d", text), text


def test_no_phrasing_has_two_answers_in_one_context(rows):
    answers, ids = {}, set()
    for row in every(rows):
        assert row["id"] not in ids
        ids.add(row["id"])
        for text in row["user"]:
            answer = row.get("agent", row.get("moshi"))
            known = answers.setdefault((plain(text), repr(row.get("before"))), answer)
            assert known == answer, text


def test_a_tenth_of_the_phrasings_is_held_out_wherever_they_stand(rows):
    splits, held_out, total = {}, 0, 0
    for name in NAMES[1:]:
        for row in rows[name]:
            assert len(row["split"]) == len(row["user"])
            for text, split in zip(row["user"], row["split"], strict=True):
                assert splits.setdefault(plain(text), split) == split, text
                held_out, total = held_out + (split == "valid"), total + 1
    assert 0.08 < held_out / total < 0.15
    assert all(row["split"][0] == "train" for row in rows["everyday"] if row["topic"] != "breath")


def test_new_answers_are_short(rows):
    lengths = [
        len(row["agent"].split()) for row in rows["everyday"] if row["agent"] and row["topic"] != "breath"
    ]
    assert max(lengths) <= 14
    assert sum(lengths) / len(lengths) < 9


def test_what_came_before_was_answered_as_the_scripts_answer(rows):
    """Every exchange of a context is one that the model is taught by itself, but for openings of scenes."""
    known = {}
    for row in every(rows):
        for text in row["user"]:
            known.setdefault(plain(text), set()).add(row.get("agent", row.get("moshi")))
    strangers = set()
    for row in rows["everyday"]:
        for question, answer in row.get("before") or []:
            if answer not in known.get(plain(question), ()):
                strangers.add((question, answer))
    assert strangers == set()


def test_a_book_keeps_the_first_answer_of_a_phrasing():
    book = ScriptBook()
    book.add("a", ["How are you?"], "Fine.", least=1)
    book.add("b", ["How are you?", "And you?"], "Good.", least=1)
    book.add("b", ["How are you?"], "Good.", [["Hello.", "Hi."]])
    assert [row["user"] for row in book.rows] == [["How are you?"], ["And you?"], ["How are you?"]]
    assert len(book.lost) == 1


def test_variants_are_contractions_and_openers():
    found = variants(["What is it?"], 3, "seed")
    assert found[:2] == ["What is it?", "What's it?"]
    assert (
        found[2].endswith("what is it?")
        or found[2].endswith("What is it?")
        or found[2].endswith("what's it?")
    )
    assert with_article("And of a owl, a user, a one?") == "And of an owl, a user, a one?"


def test_families_are_read_from_first_phrasings():
    rows = [
        json.loads(
            '{"id": "c-0", "topic": "c", "user": ["What is the capital of Spain?"], "moshi": "Madrid."}'
        )
    ]
    found = families(rows)["capital"]
    assert (found.answers, found.ask("Spain")) == ({"Spain": "Madrid."}, "What is the capital of Spain?")
