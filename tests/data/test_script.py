"""Scripts: what may be said."""

import json
from pathlib import Path

import pytest

from duologue.data.script import Script


@pytest.mark.parametrize("name", ["agent", "moshi"])
def test_the_answer_has_two_names(name: str, tmp_path: Path):
    (tmp_path / "s.jsonl").write_text(json.dumps({"id": "a", "user": ["Hi."], name: "Hello."}))
    assert Script.read(tmp_path / "s.jsonl").items["a"].answer == "Hello."
