"""Words to say again: what is asked for is what is answered, and conversations can be made of it."""

import json
from pathlib import Path

from duologue.data.dialogues import silent_samples
from duologue.data.director import Director
from duologue.data.options import Situations, Timing
from duologue.data.script import Script
from duologue.data.silent import SilentSpeakers
from recipes.nano.copied_words import WORDS, rows, words_of

ITEM = {"id": "a-0", "user": ["What's on the map?", "The map!"], "agent": "Two towns."}


def test_the_words_are_those_of_the_script(tmp_path: Path) -> None:
    (tmp_path / "s.jsonl").write_text(json.dumps(ITEM) + "\n")
    assert words_of(Script.read(tmp_path)) == ["The", "Two", "What's", "map", "on", "the", "towns"]


def test_what_is_asked_for_is_answered_and_every_word_comes() -> None:
    words = [f"w{letter}" for letter in "abcdefgh"]
    found = list(rows(words, 200, seed=1))
    assert found == list(rows(words, 200, seed=1)) != list(rows(words, 200, seed=2))
    assert all(row["user"] == [f"Copy: {row['agent']}"] for row in found)
    said = [row["agent"].lower().rstrip(".").split() for row in found]
    assert {word for line in said for word in line} == set(words)
    assert {len(line) for line in said} == set(WORDS)


def test_conversations_can_be_made_of_it(tmp_path: Path) -> None:
    script = tmp_path / "copy.jsonl"
    script.write_text("".join(json.dumps(row) + "\n" for row in rows(["one", "two"], 30, seed=1)))
    read = Script.read(script)
    director = Director(SilentSpeakers(read, 3.0), read, Situations(), Timing(response=0.8), 20.0)
    (sample,) = silent_samples(director, 1, seed=1)
    turns = sample["json"]["turns"]
    asked = [turn["said"] for turn in turns if turn["role"] == "user" and turn["kind"] == "question"]
    answered = [turn["said"] for turn in turns if turn["role"] == "agent"]
    assert len(answered) > 5 and asked[0] == f"Copy: {answered[0]}"
