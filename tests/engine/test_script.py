"""From text to entries, and from entries to a token a frame."""

import pytest

from duologue.engine.script import LONGEST_WORD, MonologueMachine, Script, WordMachine
from duologue.spoken_text import read_aloud
from tests.golden.speech_cases import TEXT_CARD, Letters

PAD, EPAD = 3, 0


def entries(*texts: str, **settings) -> list[tuple[str, int, int]]:
    """(word, number of tokens, padding)"""
    script = Script(Letters(), **settings)  # pyright: ignore[reportArgumentType]
    found = [entry for text in texts for entry in script.push(text)] + script.finish()
    return [(entry.text, len(entry.tokens), entry.padding) for entry in found]


def test_words_are_whole_at_white_space() -> None:
    expected = [("Hello,", 3, 3), ("it's", 3, 3), ("me", 2, 2)]
    assert entries("Hello, it’s me") == expected
    assert entries(*"Hello, it’s me") == expected
    assert entries("Hel", "lo, it’s m", "e ") == expected
    assert entries("a: b(c)–d", between=0) == [("a", 1, 0), ("bcd", 3, 0)]
    assert [word for word, _, _ in entries("10–15")] == ["10-15"]
    assert entries("a < b") == entries(*"a < b") == [("a", 1, 1), ("<", 1, 1), ("b", 1, 1)]
    assert entries("  ", "") == []


@pytest.mark.parametrize("mark", ['<break time="0.5s"/>', '<break time="0.5s">', '<break  time="0.5s" />'])
def test_breaks(mark: str) -> None:
    expected = [("one", 3, 3), ("", 0, 6), ("two", 3, 3)]
    assert entries(f"one {mark} two") == expected
    assert entries(f"one{mark}two") == expected
    assert entries(*f"one {mark} two") == expected
    assert entries('a <break time="9999s"/>')[1] == ("", 0, 750)  # a minute


def test_turns_alternate_between_two_speakers() -> None:
    script = Script(Letters(), speakers=True)  # pyright: ignore[reportArgumentType]
    found = script.push("one two")
    found += script.turn()
    found += script.turn()  # an empty turn: the first speaker goes on
    found += script.push("three ")
    found += script.turn() + script.push("four five")
    found += script.finish()
    assert [entry.tokens[0] for entry in found] == [
        1,
        4 + ord("t") % 19,
        4 + ord("t") % 19,
        2,
        4 + ord("f") % 19,
    ]


def test_it_waits_for_the_words_that_it_must_know() -> None:
    script = Script(Letters())  # pyright: ignore[reportArgumentType]
    machine = WordMachine(TEXT_CARD, ahead=2, initial_padding=0)
    assert not machine.ready
    machine.push(script.push("one two "))
    assert not machine.ready
    machine.push(script.push("three "))
    assert machine.ready
    machine.process(0, 0)
    assert machine.ready  # tokens of the first word are still to be written
    while machine.ready:
        machine.process(1, PAD)
    machine.push(script.push('<break time="1s"/> '))
    assert not machine.ready
    machine.finish()
    assert machine.ready


def test_a_conversationalist_begins_words_where_it_would_write_one() -> None:
    """And not before its voice is there but for the lead of the text: "ab" takes 2.2 frames, "cdefgh." 6.5."""
    script = Script(Letters(), between=0)  # pyright: ignore[reportArgumentType]
    machine = MonologueMachine(PAD, EPAD, lead=3, max_padding=3, initial_padding=1)
    machine.push(script.push("ab cdefgh. f ") + script.finish())
    a, b, c, d, e, f = (4 + ord(letter) % 19 for letter in "abcdef")
    choices = [9, PAD, 9, PAD, 9, 9, 9, 9, 9, 9, PAD, PAD, PAD]
    written = [machine.process(step, token) for step, token in enumerate(choices)]
    assert written == [PAD, PAD, EPAD, a, b, c, d, e, PAD, EPAD, f, PAD, PAD]
    assert machine.words == [("ab", 3), ("cdefgh.", 5), ("f", 10)]
    assert machine.end_step is None
    for step in range(13, 17):
        machine.process(step, PAD)
    assert machine.end_step == 14


def test_it_may_not_pad_for_ever_and_a_break_is_one() -> None:
    machine = MonologueMachine(PAD, EPAD, lead=3, max_padding=3, initial_padding=0)
    machine.push(Script(Letters(), between=0).push('a <break time="0.4s"/> b '))  # pyright: ignore[reportArgumentType]
    written = [machine.process(step, 9 if step == 4 else PAD) for step in range(20)]
    a, b = (4 + ord(letter) % 19 for letter in "ab")
    assert [(step, token) for step, token in enumerate(written) if token != PAD] == [
        (3, EPAD), (4, a), (14, EPAD), (15, b)
    ]  # fmt: skip


def test_what_is_read_out_or_left_out() -> None:
    text = "Well - it's $5, 😀 … no!"
    assert [entry.text for entry in Script(Letters()).push(f"{text} ")] == text.split()
    said = [entry.text for entry in Script(Letters(), aloud=True).push(f"{text} ")]
    assert said == ["Well", "it's", "five", "dollars,", "no!"]


def test_a_word_without_end_is_cut() -> None:
    script, said = Script(Letters()), []  # pyright: ignore[reportArgumentType]
    for _ in range(3 * LONGEST_WORD):
        said += script.push("x")
        assert len(script._rest) <= LONGEST_WORD
    assert sum(len(entry.text) for entry in said + script.finish()) == 3 * LONGEST_WORD


@pytest.mark.parametrize("text", ["$2.5 million, 5 km and 2 1/2", "10–15 % of 3"])
def test_a_number_is_read_with_what_it_counts_also_word_by_word(text: str) -> None:
    script = Script(Letters(), aloud=True)  # pyright: ignore[reportArgumentType]
    said = [entry.text for word in text.split() for entry in script.push(f"{word} ")]
    said += [entry.text for entry in script.finish()]
    assert " ".join(said) == read_aloud(text)
