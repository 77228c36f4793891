"""Questions to a model, each in a conversation of its own: what is asked, heard and answered."""

import json
import sys

import numpy as np
import pytest

from duologue.data.voices import SAMPLE_RATE, write_clip
from recipes.nano import ask


@pytest.fixture
def asked(tmp_path, monkeypatch):
    questions = tmp_path / "questions.txt"
    questions.write_text("Hello?\n\nWho are you?\n")

    def run(*options):
        command = ["ask", str(questions), "--clips", str(tmp_path / "clips"), "--model", "tiny", *options]
        monkeypatch.setattr(sys, "argv", command)
        ask.main()

    return tmp_path, run


def test_what_is_not_spoken_yet_needs_a_voice(asked):
    _, run = asked
    with pytest.raises(SystemExit, match="no clip of 'Hello\\?': name Kokoro"):
        run()


def test_each_question_is_spoken_once_and_answered_in_order(asked, monkeypatch, capsys):
    folder, run = asked
    spoken = []

    class Voice:
        def __init__(self, folder):
            pass

        def speak(self, text, voice):
            spoken.append((text, voice))
            return np.zeros(SAMPLE_RATE // 2, np.float32)

    monkeypatch.setattr(ask, "Kokoro", Voice)
    write_clip(
        folder / "clips", "x", np.zeros(SAMPLE_RATE // 2, np.float32),
        {"key": "x", "id": "ask", "role": "user", "text": "Who are you?", "voice": "somebody"},
    )  # fmt: skip
    run("--kokoro", str(folder), "--json", str(folder / "answers.json"))
    assert spoken == [("Hello?", "af_river")]
    answers = json.loads((folder / "answers.json").read_text())
    assert [(a["asked"], a["voice"]) for a in answers] == [
        ("Hello?", "af_river"),
        ("Who are you?", "somebody"),
    ]
    assert all(isinstance(a["heard"], str) and isinstance(a["said"], str) for a in answers)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3 and lines[0].startswith("Hello?") and "of 2 questions" in lines[2]
    run()  # nobody has to speak again
    assert len(spoken) == 1
    (folder / "questions.txt").write_text("Why?\nHello?\n")  # other questions leave the clips that there are
    run("--kokoro", str(folder), "--json", str(folder / "answers.json"))
    assert [text for text, _ in spoken] == ["Hello?", "Why?"]
    assert [a["asked"] for a in json.loads((folder / "answers.json").read_text())] == ["Why?", "Hello?"]
