"""A model's card: what the page is told of it, and what is no card."""

import json
from pathlib import Path

import pytest

from duologue.errors import InputError
from duologue.serve.card import About, read_card
from duologue.serve.settings import Settings
from duologue.weights import load
from duologue.weights.files import Missing, ModelFiles
from tests.serve.server import Server, get

CARD = {
    "title": "Tidal",
    "topics": ["tides"],
    "questions": [{"text": "When is high water?", "sound": "when.wav"}, {"text": "Why?"}],
    "does_not_know": ["I do not know", "no idea"],
}


def files(folder: Path) -> ModelFiles:
    def find(name: str) -> Path:
        if not (folder / name).is_file():
            raise Missing(f"the file {name} is missing")
        return folder / name

    return ModelFiles("a model", load("tiny").files.config, find)


def write(folder: Path, card: object) -> ModelFiles:
    (folder / "card.json").write_text(json.dumps(card))
    (folder / "when.wav").write_bytes(b"RIFF of a kind")
    return files(folder)


def test_the_page_is_told_what_the_card_says(tmp_path: Path) -> None:
    card = read_card(write(tmp_path, CARD))
    server = Server(Settings(sessions=1), about=About(card, role="a pilot"))
    try:
        status = json.loads(get(server, "/api/status")[1])
        sound, silent = get(server, "/api/questions/0"), get(server, "/api/questions/1")
        beyond = get(server, "/api/questions/7")
    finally:
        server.close()
    first, second = status["card"]["questions"]
    assert status["card"]["title"] == "Tidal" and status["card"]["topics"] == ["tides"]
    assert first == {"text": "When is high water?", "sound": "api/questions/0"} and second == {"text": "Why?"}
    assert status["role"] == "a pilot" and status["voice"] is None and status["recorded"] is False
    assert sound == (200, b"RIFF of a kind")
    assert (silent[0], beyond[0]) == (404, 404)


def test_a_recorded_conversation_is_said_to_be(tmp_path: Path) -> None:
    server = Server(Settings(sessions=1), record=tmp_path)
    try:
        assert json.loads(get(server, "/api/status")[1])["recorded"] is True
    finally:
        server.close()


def test_a_model_may_have_none(tmp_path: Path) -> None:
    assert read_card(files(tmp_path)) is None
    assert read_card(load("tiny").files) is None


def test_nano_has_one_with_questions_that_it_knows() -> None:
    card = read_card(load("nano").files)
    assert card is not None and len(card.questions) == 6
    scripts = (Path(__file__).parents[2] / "recipes" / "nano").glob("*.jsonl")
    lines = [json.loads(line) for script in scripts for line in script.read_text().splitlines()]
    known = {text for line in lines for text in line["user"] if line.get("topic") != "unknown"}
    assert {question.text for question in card.questions} <= known


@pytest.mark.parametrize(
    ("card", "message"),
    [
        ({}, "'title' is missing"),
        (CARD | {"extra": 1}, "unknown key 'extra'"),
        (CARD | {"topics": "tides"}, "topics must be of type"),
        (CARD | {"topics": [""]}, "1 to 200 characters"),
        (CARD | {"questions": [{"text": "x", "sound": "none.wav"}]}, "none.wav is missing"),
        (CARD | {"questions": [{"text": "x"}] * 25}, "at most 24"),
        ([], "must hold a json object"),
    ],
)
def test_what_is_no_card_is_refused(tmp_path: Path, card: object, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_card(write(tmp_path, card))
