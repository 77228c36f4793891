"""Questions put together from two recordings."""

import random

import numpy as np

from duologue.data.cast import ClipCast
from duologue.data.script import Item, Line, Script
from duologue.data.splice import Parts, splice
from duologue.data.timeline import Utterance
from duologue.data.voices import SAMPLE_RATE

from .sounds import clip_folder, spoken, utterance

TEXT = "What is three plus five?"


def pitched(text: str, word: float, scale: float) -> Utterance:
    wav_S, words = spoken(text, word)
    return Utterance.of(text, wav_S * scale, words, "v")


def test_both_parts_are_whole_and_the_words_stand_where_they_sound():
    first, second = (
        pitched("What is three plus nine?", 0.2, 1.0),
        pitched("How much is two plus five?", 0.3, 0.5),
    )
    whole = splice(TEXT, first, second, 4)
    assert whole is not None
    assert [word.text for word in whole.words] == TEXT.split()
    assert whole.text == TEXT
    for k, word in enumerate(whole.words):
        assert np.isclose(word.end - word.start, 0.2 if k < 4 else 0.3)
        inside_S = whole.wav_S[round(word.start * SAMPLE_RATE) : round(word.end * SAMPLE_RATE)]
        quiet = np.sqrt(np.mean(inside_S**2)) / np.sqrt(np.mean(spoken("a")[0][3000:6000] ** 2))
        assert np.isclose(quiet, 1.0 if k < 4 else 0.5, atol=0.2)
    joint = round((whole.words[3].end + whole.words[4].start) / 2 * SAMPLE_RATE)
    assert np.abs(whole.wav_S[joint - 100 : joint + 100]).max() < 0.01


def test_parts_are_found_by_voice_and_by_words_as_spoken():
    parts: Parts[str] = Parts()
    parts.add("ann", "What is three plus nine?", "a1")
    parts.add("ann", "How much is two plus five?", "a2")
    parts.add("bob", "What is one plus five?", "b1")
    drawn = {parts.draw("ann", TEXT, random.Random(n)) for n in range(20)}
    assert drawn == {("a1", "a2", 4), ("a1", "a2", 3)}
    assert parts.draw("bob", TEXT, random.Random(0)) is None  # he never said "three"
    assert parts.draw("ann", "Stop.", random.Random(0)) is None
    parts.add("ann", TEXT, "a3")
    assert all(
        len({*found[:2]}) == 2 for n in range(50) if (found := parts.draw("ann", TEXT, random.Random(n)))
    )


def test_a_voice_says_a_question_in_more_ways_than_it_was_recorded(tmp_path):
    texts = [TEXT, "What is three plus nine?", "How much is two plus five?"]
    rows = clip_folder(tmp_path, [(f"plus-00{k}-0", "user", "af_sky", text) for k, text in enumerate(texts)])
    script = Script({f"plus-00{k}": Item(f"plus-00{k}", (text,), "Eight.") for k, text in enumerate(texts)})
    line = Line("plus-000", 0, TEXT)

    def said(spliced: float) -> list[Utterance]:
        cast = ClipCast(rows, script, "af_heart", disguised=0, spliced=spliced, least=1)
        return [cast.ask(cast.users()[0], line, random.Random(n)) for n in range(30)]

    assert len({one.wav_S.tobytes() for one in said(0.0)}) == 1
    assert len({one.wav_S.tobytes() for one in said(1.0)}) > 3
    assert {(one.text, one.voice) for one in said(1.0)} == {(TEXT, "af_sky")}


def test_no_room_for_a_cut():
    first = utterance("one two")
    assert splice("one three", first, Utterance.of("two three", np.zeros(300, np.float32)), 1) is None
