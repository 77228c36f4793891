"""Words that an agent is told to say, in a conversation that goes on."""

import json

import numpy as np
import pytest

from duologue.engine.dictation import (
    CUTS_IN_FRAMES,
    LONGEST_HOLD_FRAMES,
    LONGEST_TOKENS,
    QUIET_FRAMES,
    Dictation,
)
from duologue.engine.recorder import TRACE, Recorder, replay
from duologue.engine.session import AgentFrame
from duologue.interfaces import TextMarks
from duologue.weights import load
from tests.engine.virtual import EchoBackend, Room, noise, room, seeded

PAD, EPAD = 3, 0
ANSWER = "the tallest mountain is Everest"
SILENCE = np.zeros((1, 1920), np.float32)


@pytest.fixture(scope="module")
def tiny():
    return load("tiny")


def words(said: list[AgentFrame]) -> str:
    return "".join(frame.text for frame in said).strip()


def silence(frames: int) -> np.ndarray:
    return np.repeat(SILENCE, frames, 0)


def dictation(tiny) -> Dictation:
    return Dictation(tiny.tokenizer, TextMarks(PAD, EPAD))


def run(dictation: Dictation, frames: int, voiced: bool = False) -> list[int]:
    """What is written in frames in which the model chooses 99, as a model does that speaks for itself."""
    written = []
    for _ in range(frames):
        dictation.hear(voiced)
        written.append(dictation.write(99) if dictation.active else 99)
    return written


def test_what_is_dictated_is_said_and_then_the_model_speaks_for_itself(tiny):
    caller_room = Room(EchoBackend(1), tiny.tokenizer)
    caller = caller_room.call(silence(100))
    caller_room.run(1.0)
    caller.session.dictate(ANSWER)
    caller_room.run(6.0)
    assert words(caller.said) == ANSWER
    assert caller.said[-1].dictated == -2


def test_dictated_words_wait_until_the_user_is_silent(tiny):
    told = dictation(tiny)
    run(told, 3, voiced=True)
    told.push("yes")
    assert run(told, 4, voiced=True) == [99] * 4
    assert run(told, QUIET_FRAMES - 1) == [99] * (QUIET_FRAMES - 1)
    assert PAD in run(told, 1) and any(token not in (PAD, EPAD, 99) for token in run(told, 8))


def test_the_users_voice_stops_them_and_a_murmur_does_not(tiny):
    told = dictation(tiny)
    told.push(ANSWER)
    run(told, 8)
    run(told, CUTS_IN_FRAMES - 1, voiced=True)
    assert told.active and not told.cuts
    run(told, 1)
    run(told, CUTS_IN_FRAMES, voiced=True)
    assert not told.active and run(told, 1) == [99]
    assert told.cuts == 1


def test_an_agent_that_is_held_is_silent_until_it_is_told_more(tiny):
    told = dictation(tiny)
    told.push("wait")
    told.hold()
    tokens = run(told, 40)
    assert 99 not in tokens and tokens[-10:] == [PAD] * 10
    told.push("now")
    assert any(token not in (PAD, EPAD) for token in run(told, 20))
    assert run(told, LONGEST_HOLD_FRAMES)[-1] == 99


def test_numbers_are_read_out(tiny):
    told = dictation(tiny)
    told.push("it is $2.5 million – or 5 km")
    said = " ".join(entry.text for entry in told._waiting)
    assert said == "it is two point five million dollars or five kilometers"


def test_of_too_much_text_the_rest_is_left_out(tiny):
    told = dictation(tiny)
    assert told.push(ANSWER)
    assert not told.push("mountain " * LONGEST_TOKENS)
    assert sum(len(entry.tokens) for entry in told._waiting) <= LONGEST_TOKENS
    assert len(told._waiting) > LONGEST_TOKENS / 20
    assert not told.push(ANSWER)
    told.stop()
    assert told.push(ANSWER)


def test_others_say_bit_for_bit_what_they_say_when_nobody_is_dictated_to(tiny):
    def other(text: str) -> tuple[list[AgentFrame], list[AgentFrame]]:
        both = room(tiny, 2)
        mine, told = both.call(noise(20, 1), seeded(tiny, 5)), both.call(silence(20))
        both.run(0.3)
        told.session.dictate(text)
        both.run(1.3)
        return mine.said, told.said

    (undisturbed, _), (beside, told) = other(""), other("the tallest")
    assert len(beside) > 15 and "tallest" in words(told)
    for one, same in zip(undisturbed, beside, strict=True):
        assert np.array_equal(one.wav_S, same.wav_S) and one.token == same.token


def test_a_recording_replays_to_the_tokens_that_were_dictated(tiny, tmp_path):
    recorder = Recorder(tmp_path, tiny.tokenizer, 24_000)
    sampling = seeded(tiny, 3)
    track = recorder.track("told", "tiny", sampling)
    place = room(tiny, 1)
    caller = place.call(noise(30, 2) * (np.arange(30) < 8)[:, None], sampling, sink=track)
    place.run(1.0)
    caller.session.dictate("the tallest")
    place.run(1.4)
    track.close()
    recorder.close()
    then, now = replay(tiny, tmp_path / f"told{TRACE}")
    assert len(then) > 25 and np.array_equal(then, now)
    lines = [json.loads(line) for line in (tmp_path / f"told{TRACE}").read_text().splitlines()]
    assert sum("dictated" in line for line in lines if isinstance(line, dict)) > 3
