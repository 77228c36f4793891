import json

import pytest

from duologue.data.script import Script
from duologue.data.split import valid_phrasing
from duologue.errors import InputError


def script(tmp_path, *rows, name="s.jsonl"):
    (tmp_path / name).write_text("".join(json.dumps(row) + "\n" for row in rows))
    return Script.read(tmp_path / name)


def test_items_of_both_spellings_with_all_that_they_may_say(tmp_path):
    found = script(
        tmp_path,
        {"id": "a-0", "user": ["Hi.", "Hey."], "moshi": "Hello."},
        {"id": "b-0", "topic": "b", "user": ["And you?"], "agent": "Fine.", "before": [["Hi.", "Hello."]],
         "slot": "mood"},
        {"id": "c-0", "user": ["Tom!"], "agent": "", "split": ["valid"], "unfinished": True, "before": []},
    ).items  # fmt: skip
    assert found["a-0"].answer == "Hello."
    assert (found["b-0"].before, found["b-0"].slot, found["b-0"].topic) == ((("Hi.", "Hello."),), "mood", "b")
    assert (found["c-0"].answer, found["c-0"].before, found["c-0"].unfinished) == ("", (), True)
    assert [found["a-0"].held_out(k) for k in (0, 1)] == [False, valid_phrasing("a-0", 1)]
    assert found["c-0"].held_out(0)


@pytest.mark.parametrize(
    "row",
    [
        {"id": "a", "user": "Hi.", "agent": "x"},
        {"id": "a", "user": ["Hi."]},
        {"id": "a", "user": ["Hi."], "agent": "x", "before": [["one"]]},
        {"id": "a", "user": ["Hi."], "agent": "x", "before": [["one", 2]]},
        {"id": "a", "user": ["Hi."], "agent": "x", "split": ["train", "valid"]},
        {"id": "a", "user": ["Hi."], "agent": "x", "split": ["test"]},
        {"id": "a", "user": ["Hi."], "agent": "x", "unfinished": "yes"},
        {"id": "first", "user": ["Hi."], "agent": "an id that is there"},
    ],
)
def test_a_bad_item_is_named_with_its_line(tmp_path, row):
    with pytest.raises(InputError, match="line 2: expected"):
        script(tmp_path, {"id": "first", "user": ["One."], "agent": "Two."}, row)


def test_a_folder_is_one_script(tmp_path):
    script(tmp_path, {"id": "a", "user": ["One."], "agent": "Two."}, name="a.jsonl")
    script(tmp_path, {"id": "b", "user": ["Three."], "agent": "Four."}, name="b.jsonl")
    found = Script.read(tmp_path)
    assert list(found.items) == ["a", "b"]
    assert found.with_answer("Three.", "Four.") is found.items["b"]
    assert found.with_answer("Three.", "Two.") is None
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="no script here"):
        Script.read(tmp_path / "empty")


def test_only_stop_itself_stops(tmp_path):
    found = script(
        tmp_path,
        {"id": "a", "user": ["Stop.", "Be quiet."], "agent": "Okay."},
        {"id": "b", "user": ["Stop the timer."], "agent": "I can not."},
    ).items
    assert [item.stops for item in found.values()] == [True, False]
