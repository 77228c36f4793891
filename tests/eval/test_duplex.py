"""Every figure of the duplex evaluation, on agents whose behaviour is known."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from duologue.audio import activity
from duologue.errors import InputError
from duologue.eval.duplex_play import play
from duologue.eval.duplex_report import make_report
from duologue.eval.duplex_scenes import Answer, ClipLibrary, SceneMaker
from duologue.eval.duplex_score import Judge, Score, Turn, edits
from tests.eval.duplex_actor import ANSWERS, LONG_ANSWERS, Actor, Manner, make_library, tone


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> ClipLibrary:
    return make_library(tmp_path_factory.mktemp("library"))


def scores(
    library: ClipLibrary, kind: str, count: int = 6, manner: Manner | None = None, split: str = "heard", **how
) -> list[Score]:
    """What becomes of some scenes of a kind with an actor of this manner."""
    maker = SceneMaker(library, minutes=how.pop("minutes", 1.0))
    judge = Judge(library.answers(), **how)
    scenes = [maker.make(plan) for plan in maker.plans(count, [kind]) if plan.split in (split, "")]
    assert len(scenes) >= 1
    return [judge.score(played) for played in play(Actor(manner or Manner()), scenes)]


def turns(found: list[Score]) -> list[Turn]:
    return [turn for score in found for turn in score.turns]


@pytest.mark.parametrize("delay", [2, 3, 8])
def test_response_runs_from_voice_to_voice(library: ClipLibrary, delay: int):
    found = turns(scores(library, "turn", 8, Manner(delay=delay)))
    assert len(found) == 8
    assert all(turn.right and not turn.early for turn in found)
    # The user's voice ends inside a frame; the actor speaks `delay` frames after that one has ended.
    times = [turn.response for turn in found if turn.response is not None]
    assert len(times) == 8
    assert delay * 0.08 - 0.04 <= min(times) <= max(times) <= (delay + 1) * 0.08
    assert len(set(times)) > 3, "questions start anywhere in a frame"


def test_a_turn_that_is_not_taken(library: ClipLibrary):
    found = turns(scores(library, "turn", 4, Manner(mute=True)))
    assert [(turn.response, turn.right, turn.said) for turn in found] == [(None, False, "")] * 4


def test_talking_into_the_question_is_no_fast_answer(library: ClipLibrary):
    found = turns(scores(library, "turn", 6, Manner(eager=2, stop=None)))
    assert all(turn.early for turn in found)
    assert all(turn.response is None or turn.response < 0.3 for turn in found)
    report = make_report("eager", [Score("a", "turn", "heard", turns=found)])
    assert report.value("turn", "talks into the question") == 100


def test_a_wrong_answer_is_wrong_by_text_and_by_ear(library: ClipLibrary):
    wrong = dict.fromkeys(ANSWERS, "One plus two is four.")
    found = turns(scores(library, "turn", 8, Manner(answers=wrong), asr=lambda wav_S: "one plus three is 4"))
    assert not any(turn.right for turn in found)
    assert {turn.item for turn in found if turn.right_asr} == {"plus-902"}
    assert {turn.said for turn in found} == {"One plus two is four."}
    report = make_report("wrong", [Score("a", "turn", "heard", turns=found)])
    assert report.value("turn", "WER of its speech to its text") == pytest.approx(
        20.0
    )  # "two" became "three"


def test_what_the_recogniser_gets_is_the_answer_alone(library: ClipLibrary):
    lengths: list[float] = []
    found = scores(library, "turn", 4, asr=lambda wav_S: str(lengths.append(len(wav_S) / 24_000)))
    for turn, seconds in zip(turns(found), lengths, strict=True):
        clip = library.speakers_of["heard"].answer(turn.expected)
        assert 0.2 < seconds - (clip.audible[1] - clip.audible[0]) < 0.6


@pytest.mark.parametrize(("delay", "takes"), [(2, True), (17, False)])
def test_a_pause_inside_a_question(library: ClipLibrary, delay: int, takes: bool):
    found = scores(library, "pause", 6, Manner(delay=delay, stop=1))
    assert [score.takes_in_pause for score in found] == [takes] * 6
    if not takes:
        assert all(turn.right for turn in turns(found))


@pytest.mark.parametrize("stop", [1, 2, 4])
def test_time_to_silence_and_the_new_answer(library: ClipLibrary, stop: int):
    found = scores(library, "interruption", 8, Manner(stop=stop))
    assert all(score.counts for score in found)
    times = [score.silent_after for score in found if score.silent_after is not None]
    assert len(times) == 8
    assert (stop - 1) * 0.08 - 0.05 <= min(times) <= max(times) <= (stop + 1) * 0.08
    assert all(turn.right for turn in turns(found))


def test_one_who_never_falls_silent(library: ClipLibrary):
    found = scores(library, "interruption", 4, Manner(stop=None))
    assert all(score.silent_after is not None and score.silent_after > 1 for score in found)
    assert not any(turn.right for turn in turns(found)), "the rest of the old answer is not the new one"
    report = make_report("deaf", found)
    assert report.value("interruption", "silent within 400 ms") == 0
    assert report.value("interruption", "new question answered") == 0


def test_one_who_stops_and_does_not_answer_the_new_question(library: ClipLibrary):
    answers = ANSWERS | {text: "I see." for text in ANSWERS if "plus" in text}
    report = make_report("vague", scores(library, "interruption", 4, Manner(answers=answers)))
    assert report.value("interruption", "silent within 400 ms") == 100
    assert report.value("interruption", "new question answered") == 0


def test_scenes_that_never_came_to_it_do_not_count(library: ClipLibrary):
    silent = scores(library, "interruption", 3, Manner(mute=True))
    assert {(score.counts, score.why) for score in silent} == {(False, "no answer to cut into")}
    other = ANSWERS | {text: "red " * 30 for text in ANSWERS if "story" in text}
    unknown = scores(library, "backchannel", 3, Manner(answers=other))
    assert {(score.counts, score.why) for score in unknown} == {
        (False, "less than 2 s of a known answer were left")
    }
    report = make_report("silent", silent + unknown)
    assert report.value("interruption", "silent within 400 ms") is None
    assert report.scenes["interruption"]["not counted"] == {"no answer to cut into": 3}
    assert report.scenes["backchannel"]["counted"] == 0


def test_another_long_answer_may_be_cut_too(library: ClipLibrary):
    swapped = ANSWERS | {text: LONG_ANSWERS["another" not in text] for text in ANSWERS if "story" in text}
    found = scores(library, "interruption", 6, Manner(answers=swapped))
    assert sum(score.counts for score in found) >= 4


def test_stop_is_an_interruption_with_an_answer(library: ClipLibrary):
    found = scores(library, "stop", 6)
    assert all(score.silent_after is not None and score.silent_after < 0.3 for score in found)
    assert {(turn.said, turn.right) for turn in turns(found)} == {("Okay.", True)}


@pytest.mark.parametrize("minds", [False, True])
def test_backchannels(library: ClipLibrary, minds: bool):
    found = scores(library, "backchannel", 6, Manner(minds_hums=minds, stop=1))
    assert [(score.counts, score.goes_on, score.finished) for score in found] == [
        (True, not minds, not minds)
    ] * 6


def test_quiet_scenes(library: ClipLibrary):
    for kind in ("silence", "noise", "babble"):
        assert [score.quiet for score in scores(library, kind, 2, Manner(mute=True))] == [True] * 2
        coughs = scores(library, kind, 2, Manner(mute=True, cough=200))
        assert [score.quiet for score in coughs] == [False] * 2
    found = scores(library, "noise", 5, Manner(afraid=True, eager=5, stop=None))
    report = make_report("afraid", found)
    assert report.scenes["noise"]["quiet"]["clicks"] == "0 of 1"
    assert set(report.scenes["noise"]["quiet"]) == {"white", "pink", "brown", "hum", "clicks"}
    assert report.value("noise", "stays quiet") == 20 * sum(score.quiet is True for score in found) < 100


def test_a_conversation_has_many_turns(library: ClipLibrary):
    found = scores(library, "conversation", 3)
    assert all(len(score.turns) >= 3 for score in found)
    assert all(turn.right and turn.response is not None and turn.response < 0.3 for turn in turns(found))
    report = make_report(
        "one wrong", [replace(found[0], turns=[replace(found[0].turns[0], right=False), *found[0].turns[1:]])]
    )
    assert report.value("conversation", "right answer, text") == pytest.approx(
        100 * (1 - 1 / len(found[0].turns)), abs=0.1
    )


def test_quality_minute_by_minute(library: ClipLibrary):
    found = scores(library, "ten-minutes", 2, Manner(until=round(60 * 12.5)), minutes=2.2)
    report = make_report("tired", found)
    assert report.minutes[0] == pytest.approx(100, abs=10)
    assert report.minutes[1] == pytest.approx(0, abs=10)
    first, last = (
        report.value("ten-minutes", f"right answer, {which} minute") for which in ("first", "last")
    )
    assert first == pytest.approx(report.minutes[0], abs=0.1)
    assert last == 0
    assert min(len(score.turns) for score in found) > 12


def test_unheard_phrasings_stand_beside(library: ClipLibrary):
    heard, unheard = (
        scores(library, "turn", 5),
        scores(library, "turn", 5, Manner(mute=True), split="unheard"),
    )
    assert len(unheard) == 1, "each clip once"
    report = make_report("learnt by heart", heard + unheard)
    assert report.value("turn", "right answer, text") == 100
    assert report.value("turn", "right answer, text", "unheard") == 0
    line = next(line for line in report.lines if line.title == "takes the turn")
    assert (line.heard.count, line.unheard.count, line.met) == (5, 1, True)


# Scenes


def test_scenes_are_of_held_out_voices_and_do_not_depend_on_their_number(library: ClipLibrary):
    maker = SceneMaker(library, seed=3)
    plans = maker.plans(4)
    assert {plan.kind for plan in plans} >= {
        "turn",
        "pause",
        "interruption",
        "stop",
        "backchannel",
        "silence",
        "babble",
    }
    for plan in plans:
        scene, again = maker.make(plan), SceneMaker(library, seed=3).make(plan)
        for event, other in zip(scene.events, again.events, strict=True):
            assert np.array_equal(event.sound.wav_S, other.sound.wav_S)
            assert event.delay == other.delay
            assert event.sound.voice in ("af_river", "")
    names = [maker.make(plan).events[0].delay for plan in plans if plan.kind == "turn"]
    assert names != [
        SceneMaker(library, seed=4).make(plan).events[0].delay for plan in plans if plan.kind == "turn"
    ]
    for plan in maker.plans(20, ["interruption"]):
        first, cut = maker.make(plan).events
        start, end = library.speakers_of["heard"].answer(library.script.items[first.item].answer).audible
        assert 1 <= cut.delay <= end - start - 2


def test_nothing_to_play(library: ClipLibrary, tmp_path: Path):
    rows = [
        {
            "role": "user",
            "voice": "af_bella",
            "text": "What is one plus two?",
            "key": "user/af_bella/plus-901-0",
            "place": "x",
        }
    ]
    with pytest.raises(InputError, match="af_river"):
        ClipLibrary.of(rows, library.script)


def test_slots_do_not_matter(library: ClipLibrary):
    """What is played to one slot, one scene after the other, is what is played to many."""
    maker = SceneMaker(library)
    plans = [plan for plan in maker.plans(2) if plan.kind not in ("babble", "noise")]
    alone = {p.scene.name: p for p in play(Actor(Manner(), 1), map(maker.make, plans))}
    many = {p.scene.name: p for p in play(Actor(Manner(), 5), map(maker.make, plans))}
    assert set(alone) == set(many) == {plan.name for plan in plans}
    for name, played in alone.items():
        assert np.array_equal(played.agent_S, many[name].agent_S)
        assert np.array_equal(played.user_S, many[name].user_S)
        assert played.starts == many[name].starts
        assert len(played.agent_S) == len(played.user_S)


# Parts


def test_spans_merge_short_silences_and_drop_clicks():
    silence = np.zeros(2400, np.float32)  # 0.1 s
    wav_S = np.concatenate(
        [silence, tone(0.3, 0.2), silence, tone(0.2, 0.2), silence, silence, silence, tone(0.02, 0.5)]
    )
    assert activity.spans(wav_S) == [(0.1, 0.7)]
    assert activity.spans(1e-3 * np.ones(24_000, np.float32)) == []
    assert activity.within([(0.1, 0.7), (1.0, 2.0)], 0.5, 1.2) == [(0.5, 0.7), (1.0, 1.2)]


@pytest.mark.parametrize(
    ("said", "right"),
    [
        ("One plus two is three.", True),
        ("one plus 2 is 3", True),
        ("One plus two is four.", False),
        ("One plus two is nine.", False),
        ("One plus three is four.", False),
        ("One plus two is three. One plus one is two.", False),
        ("", False),
    ],
)
def test_a_right_answer(library: ClipLibrary, said: str, right: bool):
    assert Judge(library.answers()).right("plus-901", said) == right


def test_a_long_answer_may_have_a_slip_and_a_short_one_a_spelling(library: ClipLibrary):
    judge = Judge(
        {"hot": Answer("The opposite of hot is cold."), "cold": Answer("The opposite of cold is hot.")}
    )
    assert judge.right("hot", "The opposite of hott is cold.")
    assert not judge.right("hot", "The opposite of hot is warm.")
    assert not judge.right("hot", "The opposite of cold is hot.")
    near = Judge(
        {"a": Answer("The best of all colours is read."), "b": Answer("The best of all colours is reed.")}
    )
    assert near.right("a", "the best of all colors is read")
    assert not near.right("a", "the best of all colours is red"), "as near to the other"
    judge = Judge(library.answers())
    assert judge.right("long-900", LONG_ANSWERS[0].replace("silver", "golden"))
    assert not judge.right("long-900", LONG_ANSWERS[1])


def test_what_is_left_of_an_answer(library: ClipLibrary):
    judge = Judge(library.answers())
    whole = library.answers()["long-900"].seconds
    assert whole > 4
    assert judge.left(["Once", "up"], 1.0) == pytest.approx(whole - 1)  # a word of which half was said
    assert judge.left(["Once", "upon", "the", "time"], 1.5) == pytest.approx(whole - 1.5)
    assert judge.left(["One", "plus", "one"], 1.0) == 0
    assert judge.left([], 0.0) == 0


def test_edits():
    assert edits(list("abc"), list("abc")) == 0
    assert edits(list("ac"), list("abc")) == 1
    assert edits(list("axcd"), list("abc")) == 2
    assert edits([], list("ab")) == 2


@pytest.mark.parametrize("misses", [0, 1])
def test_the_words_that_the_model_writes_down(library: ClipLibrary, misses: int):
    found = scores(library, "conversation", 4, Manner(misses=misses))
    report = make_report("m", found)
    words = sum(len(score.heard[0].split()) for score in found if score.heard)
    expected = 100 * misses * len(turns(found)) / words
    assert report.value("conversation", "WER of the user's words") == pytest.approx(expected, abs=0.01)
    backchannels = scores(library, "backchannel", 4)
    assert all(score.heard and score.heard[0].lower() == score.heard[1].lower() for score in backchannels)


def test_figures_of_known_scores():
    found = [
        Score(f"s{n}", "turn", "heard", turns=[Turn("i", "x", 1.0, "x", n > 0, 0.1 * (n + 1), n == 4)])
        for n in range(5)
    ] + [Score("n", "turn", "heard", turns=[Turn("i", "x", 1.0, "", False, None, False)])]
    report = make_report("m", found)
    assert report.value("turn", "takes the turn") == pytest.approx(100 * 5 / 6, abs=0.01)
    assert report.value("turn", "response, median") == 300
    assert report.value("turn", "response, 90th percentile") == 460
    assert report.value("turn", "right answer, text") == pytest.approx(100 * 4 / 6, abs=0.01)
    assert report.value("turn", "right answer, ASR") is None
    lines = {line.title: line for line in report.lines}
    assert (lines["takes the turn"].met, lines["response, median"].met) == (False, True)
    assert lines["right answer, ASR"].met is None
