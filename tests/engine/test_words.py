import pytest

from duologue.engine.words import Words
from duologue.tokenizer import Tokenizer
from duologue.weights.model import ASSETS

PAD = 3


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer(ASSETS / "tiny" / "tokenizer.model")


def byte(tokenizer: Tokenizer, value: int) -> int:
    return next(i for i in range(tokenizer.size) if tokenizer.piece(i) == f"<0x{value:02X}>")


def collected(tokenizer: Tokenizer, tokens: list[int], loud: set[int] = frozenset()) -> Words:
    words = Words(tokenizer)
    for frame, token in enumerate(tokens):
        words.push(frame, token, 0.1 if frame in loud else 0.0)
    return words


def test_a_word_lasts_as_long_as_the_voice(tokenizer):
    hello = tokenizer.encode("hello")
    words = collected(tokenizer, [PAD, *hello, *[PAD] * 5], loud={1 + len(hello), 2 + len(hello)}).words
    assert [word.word for word in words] == ["hello"]
    assert (words[0].start, words[0].end) == pytest.approx((0.08, 0.08 * (3 + len(hello))))


def test_no_word_holds_white_space(tokenizer):
    newline = byte(tokenizer, 0x0A)
    one, two = tokenizer.encode("one"), tokenizer.encode("two")
    tokens = [newline, *one, newline, newline, *two, newline, byte(tokenizer, ord("x"))]
    assert [word.word for word in collected(tokenizer, tokens).words] == ["one", "two", "x"]


def test_a_character_of_several_bytes_is_whole_in_its_word(tokenizer):
    tokens = tokenizer.encode("a 🎉b")
    spread = [token for each in tokens for token in (each, PAD)]
    words = collected(tokenizer, spread)
    assert [word.word for word in words.words] == ["a", "🎉b"]
    assert "\N{REPLACEMENT CHARACTER}" not in words.text
