"""Scenes that lean on what came before, or are not for the agent, on agents whose behaviour is known."""

import pytest

from duologue.data.script import Item
from duologue.errors import InputError
from duologue.eval.duplex import read_library
from duologue.eval.duplex_chains import kind_of
from duologue.eval.duplex_kinds import ASIDE, CHAINS
from duologue.eval.duplex_play import play
from duologue.eval.duplex_report import make_report
from duologue.eval.duplex_scenes import SceneMaker
from duologue.eval.duplex_score import Judge, repeats
from tests.eval import duplex_actor
from tests.eval.duplex_actor import Actor, Manner, make_library

ONE = ["What is one plus one?", "One plus one is two."]
NAME = ["I am Ann.", "Nice to meet you, Ann."]
ITEMS = [
    {"id": "plus-900", "topic": "plus", "user": [ONE[0]], "moshi": ONE[1]},
    {"id": "and-900", "topic": "and-plus", "user": ["And one plus two?"], "moshi": "That is three.", "before": [ONE]},
    {"id": "correct-900", "topic": "correct-plus", "user": ["No, plus three."], "moshi": "That is four.",
     "before": [ONE]},
    {"id": "name-900", "topic": "name", "user": [NAME[0]], "moshi": NAME[1], "slot": "name"},
    {"id": "recall-900", "topic": "recall", "user": ["Who am I?"], "moshi": "You are Ann.", "before": [NAME],
     "slot": "name"},
    {"id": "repeat-900", "topic": "repeat", "user": ["Say that again."], "moshi": "I said: {answer}"},
    {"id": "unknown-900", "topic": "unknown", "user": ["What is a quark?"], "moshi": "I do not know that one."},
    {"id": "half-900", "topic": "half-heard", "user": ["One plus fun?"], "moshi": "Did you say one?"},
    {"id": "between-900", "topic": "between", "user": ["She says thanks."], "moshi": "She is welcome."},
    {"id": "negation-900", "topic": "negation", "user": ["Do not sing."], "moshi": "I will not sing."},
    {"id": "open-900", "topic": "open", "user": ["How are you?"], "moshi": "Very well.", "slot": "mood"},
    {"id": "aside-900", "topic": "aside", "user": ["Tom, come here."], "moshi": ""},
]  # fmt: skip
ANSWERS = {text: item["moshi"] for item in ITEMS for text in item["user"]} | {
    "Say that again.": "I said: " + ONE[1]
}


@pytest.fixture
def library(tmp_path, monkeypatch):
    monkeypatch.setattr(duplex_actor, "ITEMS", [item for item in ITEMS if item["moshi"]] + ITEMS[-1:])
    monkeypatch.setattr(
        duplex_actor, "SAID", [text for item in ITEMS for text in item["user"]] + list(duplex_actor.HUMS)
    )
    monkeypatch.setattr(duplex_actor, "frames_of", _frames_of)
    return make_library(tmp_path)


frames_of = duplex_actor.frames_of


def _frames_of(text, peak=0.3):
    return frames_of(text or "nothing", peak)


def scores(library, kind, answers=ANSWERS, count=4, **manner):
    maker, judge = SceneMaker(library), Judge(library.answers())
    scenes = [maker.make(plan) for plan in maker.plans(count, [kind])]
    assert len(scenes) == count and all(scene.kind == kind for scene in scenes)
    found = [judge.score(played) for played in play(Actor(Manner(answers=answers, **manner)), scenes)]
    return scenes, sorted(found, key=lambda score: score.name)


@pytest.mark.parametrize("kind", CHAINS)
def test_a_right_answer_at_the_end_of_a_chain(library, kind):
    scenes, found = scores(library, kind)
    report = make_report("right", found)
    assert [line.heard.value for line in report.lines] == [100.0] * len(report.lines) != []
    for scene, score in zip(scenes, found, strict=True):
        item = library.script.items[scene.events[-1].item]
        assert len(score.turns) == len(scene.events) and kind_of(item) == kind
        asked = [event.sound.text for event in scene.events]
        assert asked[0] == (
            item.before[0][0] if item.before else ONE[0] if item.repeats else item.phrasings[0]
        )


@pytest.mark.parametrize("kind", CHAINS)
def test_another_answer_is_not_right(library, kind):
    last = {item["user"][0]: item for item in ITEMS if kind_of(_item(item)) == kind}
    wrong = ANSWERS | dict.fromkeys(last, "Nice to meet you, Ann." if kind != "recall" else "Very well.")
    _, found = scores(library, kind, wrong)
    report = make_report("wrong", found)
    assert [line.heard.value for line in report.lines if line.title != "takes the turn"] == [0.0]


def _item(row):
    before = row.get("before")
    return Item(
        row["id"], tuple(row["user"]), row["moshi"], row["topic"], before and tuple(map(tuple, before))
    )


def test_who_answers_somebody_elses_line_is_not_quiet(library):
    _, found = scores(library, ASIDE, ANSWERS | {"Tom, come here.": "I am here."})
    report = make_report("meddler", found)
    assert report.value("aside", "stays quiet") == 0
    assert report.value("aside", "next question answered") == 100


def test_who_is_silent_is_quiet_and_answers_nothing(library):
    _, found = scores(library, ASIDE, mute=True)
    report = make_report("mute", found)
    assert report.value("aside", "stays quiet") == 100
    assert report.value("aside", "next question answered") == 0


def test_in_script_questions_that_are_refused_are_counted(library):
    _, found = scores(library, "turn", ANSWERS | {ONE[0]: "I do not know that one."}, count=6)
    report = make_report("shy", found)
    refused = sum(turn.item == "plus-900" for score in found for turn in score.turns)
    assert refused > 0
    assert report.value("turn", "says that it does not know") == pytest.approx(100 * refused / 6, abs=0.01)


def test_a_recall_has_another_question_in_between_half_of_the_time(library):
    scenes, _ = scores(library, "recall", count=16)
    lengths = [len(scene.events) for scene in scenes]
    assert set(lengths) == {2, 3} and 3 < lengths.count(3) < 13


def test_repeating_is_judged_by_what_was_said():
    assert repeats("I said: One plus two is four.", "One plus two is four.")
    assert repeats("One plus two is four.", "one plus two is 4")
    assert not repeats("I said: One plus two is three.", "One plus two is four, and more of it.")
    assert not repeats("", "")


def test_other_voices_may_ask(library, tmp_path):
    folder = tmp_path / "clips"
    duplex_actor.make_clips(folder, ("espeak:en-029",))
    mine = read_library(folder, library.script, voices=("espeak:en-029",))
    assert mine.speakers_of["heard"].users() == ["espeak:en-029"]
    assert read_library(folder, library.script).speakers_of["heard"].users() == ["af_river"]
    for voice in ("nobody", "af_bella"):  # the latter is a voice of training
        with pytest.raises(InputError, match=f"by {voice}"):
            read_library(folder, library.script, voices=(voice,))
