"""What the director chooses, seen in conversations without sound."""

import json
import random
from collections import Counter
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from duologue.data.director import Director
from duologue.data.options import Situations, Timing
from duologue.data.script import Script
from duologue.data.silent import SilentSpeakers

PLAIN = Situations(
    pause_share=0, barge_in_share=0, stop_share=0, backchannel_share=0, silence_share=0, noise_share=0, long_share=0,
    follow_up_share=0, again_share=0, aside_share=0, lost_share=0,
)  # fmt: skip
FRANCE = ["What is the capital of France?", "The capital of France is Paris."]
ITEMS = [
    {"id": "capital-0", "topic": "capital", "user": [FRANCE[0], "Capital of France?"], "agent": FRANCE[1]},
    {"id": "and-0", "topic": "and", "user": ["And of Spain?"], "agent": "The capital of Spain is Madrid.",
     "before": [FRANCE]},
    {"id": "name-0", "topic": "name", "user": ["I am Ann."], "agent": "Nice to meet you, Ann.", "slot": "name"},
    {"id": "name-1", "topic": "name", "user": ["I am Bob."], "agent": "Nice to meet you, Bob.", "slot": "name"},
    {"id": "recall-0", "topic": "recall", "user": ["Who am I?"], "agent": "Your name is Ann.",
     "before": [["I am Ann.", "Nice to meet you, Ann."]], "slot": "name"},
    {"id": "recall-1", "topic": "recall", "user": ["Who am I?"], "agent": "Your name is Bob.",
     "before": [["I am Bob.", "Nice to meet you, Bob."]], "slot": "name"},
    {"id": "recall-2", "topic": "recall", "user": ["Who am I?"], "agent": "You have not told me.", "before": [],
     "slot": "name"},
    {"id": "repeat-0", "topic": "repeat", "user": ["Say that again."], "agent": "I said: {answer}"},
    {"id": "repeat-1", "topic": "repeat", "user": ["Once more."], "agent": "There is nothing yet.", "before": []},
    {"id": "aside-0", "topic": "aside", "user": ["Tom, come here."], "agent": ""},
    {"id": "half-0", "topic": "half", "user": ["What is the"], "agent": "Which one?", "unfinished": True},
    {"id": "mumble-0", "topic": "mumble", "user": ["Mm mm."], "agent": "What was that?"},
    {"id": "lost-0", "topic": "lost", "user": ["And this?"], "agent": "Never.", "before": [["Unheard of.", "No."]]},
]  # fmt: skip


@pytest.fixture(scope="module")
def script(tmp_path_factory):
    path = tmp_path_factory.mktemp("script") / "s.jsonl"
    path.write_text("".join(json.dumps(item) + "\n" for item in ITEMS))
    return Script.read(path)


def talks(script, situations=PLAIN, count=60, **more):
    """Conversations as lists of what was placed, by time."""
    director = Director(SilentSpeakers(script), script, situations, Timing(), 45.0, **more)
    lines = [director.direct(random.Random(seed)) for seed in range(count)]
    return [sorted(line.placed, key=lambda placed: placed.start) for line in lines]


def exchanges(talk):
    """Pairs of what was asked and what was answered ("" where nothing was)."""
    found = []
    for placed in talk:
        if placed.role == "user":
            found.append([placed.utterance.text, ""])
        else:
            found[-1][1] = placed.utterance.text
    return found


class Uneven(SilentSpeakers):
    """Somebody who can say everything, and nine people who can ask one thing."""

    def users(self):
        return ["all", *(f"one {k}" for k in range(9))]

    def lines(self, user):
        lines = super().lines(user)
        return lines if user == "all" else [line for line in lines if line.item == "capital-0"]

    def ask(self, user, line, rng):
        return replace(super().ask("0", line, rng), voice=user)


def test_voices_come_by_the_number_of_their_topics(script):
    director = Director(Uneven(script), script, PLAIN, Timing(), 15.0)
    lines = [director.direct(random.Random(seed)) for seed in range(300)]
    voices = Counter(
        next(placed.utterance.voice for placed in line.placed if placed.role == "user") for line in lines
    )
    topics = len({item.topic for item in script.items.values() if item.answer and item.topic != "lost"})
    assert voices["all"] / 300 == pytest.approx(topics / (topics + 9), abs=0.1)
    assert len(voices) == 10


def test_some_answers_come_late_where_that_is_asked_for(script):
    def waits(situations):
        found = []
        for talk in talks(script, situations):
            for asked, said in pairwise(talk):
                if asked.kind == "question" and said.kind == "answer" and asked.item != "half-0":
                    found.append(said.audible[0] - asked.audible[1])
        return np.array(found)

    late = waits(replace(PLAIN, late_share=0.3)) > 1.4
    assert late.mean() == pytest.approx(0.3, abs=0.06)
    assert not (waits(PLAIN) > 1.4).any()


def test_what_must_come_before_comes_before(script):
    followed = 0
    for talk in talks(script):
        said = exchanges(talk)
        for k, (question, answer) in enumerate(said):
            if question == "And of Spain?":
                followed += 1
                assert said[k - 1] in ([FRANCE[0], FRANCE[1]], ["Capital of France?", FRANCE[1]])
                assert answer == "The capital of Spain is Madrid."
    assert followed > 20


def test_a_name_is_recalled_as_it_was_told_last_also_after_other_things(script):
    distances = Counter()
    for talk in talks(script, count=120):
        name, since = "", 0
        for question, answer in exchanges(talk):
            if question.startswith("I am "):
                name, since = question[5:-1], 0
            elif question == "Who am I?":
                assert answer == (f"Your name is {name}." if name else "You have not told me.")
                distances[since if name else "never"] += 1
            since += 1
    assert distances["never"] > 3
    assert distances[1] > 10
    assert sum(count for since, count in distances.items() if since != "never" and since > 2) > 5


def test_say_that_again_repeats_the_last_answer(script):
    repeated = 0
    for talk in talks(script):
        last = ""
        for question, answer in exchanges(talk):
            if question == "Say that again.":
                repeated += 1
                assert answer == f"I said: {last}"
            elif question == "Once more.":
                assert last == ""
            else:
                last = answer
    assert repeated > 20


def test_follow_ups_and_say_that_again_come_as_often_as_asked(script):
    context = ("and-0", "recall-0", "recall-1")

    def shares(**asked):
        said = [placed for talk in talks(script, replace(PLAIN, **asked)) for placed in talk]
        items = [placed.item for placed in said if placed.role == "user"]
        return [sum(item in some for item in items) / len(items) for some in (("repeat-0",), context)]

    again, follow_up = shares()
    more_again, _ = shares(again_share=0.4)
    _, more_follow_up = shares(follow_up_share=0.6)
    assert again < 0.2 < 0.3 < more_again < 0.5
    assert 1.4 * follow_up < more_follow_up < 0.5  # each comes after what it follows


def test_nothing_is_said_to_somebody_elses_line(script):
    asides = 0
    for talk in talks(script, replace(PLAIN, aside_share=0.3)):
        for placed, following in pairwise(talk):
            if placed.kind == "aside":
                asides += 1
                assert placed.utterance.text == "Tom, come here." and following.role == "user"
    assert asides > 30
    assert not any(placed.kind == "aside" for talk in talks(script) for placed in talk)


def test_a_question_that_breaks_off_is_waited_for(script):
    for talk in talks(script):
        for placed, answer in pairwise(talk):
            if placed.item == "half-0" and placed.role == "user":
                assert 1.6 < answer.audible[0] - placed.audible[1] < 2.5
            elif placed.role == "user" and answer.role == "agent":
                assert answer.audible[0] - placed.audible[1] < 0.43


def test_a_lost_question_is_asked_back_and_mostly_asked_again(script):
    lost, again = 0, 0
    director = Director(SilentSpeakers(script), script, replace(PLAIN, lost_share=0.4), Timing(), 45.0)
    for seed in range(60):
        line = director.direct(random.Random(seed))
        talk = sorted(line.placed, key=lambda placed: placed.start)
        assert len(line.lost) == sum(placed.kind == "lost" for placed in talk)
        words = [word.text for word in line.transcript().words if word.speaker == "SPEAKER_USER"]
        heard = [w.text for p in talk if p.role == "user" and p.kind != "lost" for w in p.utterance.words]
        assert sorted(words) == sorted(heard)  # nobody could write the lost ones down
        for k, placed in enumerate(talk):
            if placed.kind == "lost":
                lost += 1
                assert talk[k + 1].utterance.text == "What was that?"
                again += k + 2 < len(talk) and talk[k + 2].item == placed.item
    assert lost > 20
    assert 0.5 < again / lost < 0.95


def test_what_cannot_be_led_up_to_is_not_said(script):
    assert not any(placed.item == "lost-0" for talk in talks(script) for placed in talk)


def test_a_split_draws_its_own_phrasings(script):
    wanted = lambda line: line.text in ("And of Spain?", "I am Bob.")  # noqa: E731
    said = Counter(
        placed.item for talk in talks(script, drawn=wanted) for placed in talk if placed.role == "user"
    )
    assert set(said) == {"and-0", "capital-0", "name-1"}


def test_topics_weigh_by_the_root_of_their_lines(tmp_path):
    rows = [{"id": f"a-{k}", "topic": "a", "user": [f"Number {k}."], "agent": "Yes."} for k in range(100)]
    rows += [{"id": "b-0", "topic": "b", "user": ["Hello."], "agent": "Hi."}]
    (tmp_path / "s.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    said = Counter(
        placed.item[0]
        for talk in talks(Script.read(tmp_path / "s.jsonl"))
        for placed in talk
        if placed.role == "user"
    )
    assert said["b"] / said.total() == pytest.approx(1 / 11, abs=0.03)
