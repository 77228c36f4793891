import pytest

from duologue.engine.words import FRAME_SECONDS, UserWords, Words, transcript
from duologue.lm.monologue import user_text_row
from duologue.lm.tokenizer import Tokenizer
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
    assert [word.text for word in words] == ["hello"]
    assert (words[0].start, words[0].end) == pytest.approx((0.08, 0.08 * (3 + len(hello))))


def test_no_word_holds_white_space(tokenizer):
    newline = byte(tokenizer, 0x0A)
    one, two = tokenizer.encode("one"), tokenizer.encode("two")
    tokens = [newline, *one, newline, newline, *two, newline, byte(tokenizer, ord("x"))]
    assert [word.text for word in collected(tokenizer, tokens).words] == ["one", "two", "x"]


def test_a_character_of_several_bytes_is_whole_in_its_word(tokenizer):
    tokens = tokenizer.encode("a 🎉b")
    spread = [token for each in tokens for token in (each, PAD)]
    words = collected(tokenizer, spread)
    assert [word.text for word in words.words] == ["a", "🎉b"]
    assert "\N{REPLACEMENT CHARACTER}" not in words.text


def written_down(tokenizer: Tokenizer, said: list[tuple[str, float, float]]) -> UserWords:
    """As a model that makes no mistakes writes down (word, start, end)."""
    row = user_text_row([(tokenizer.encode(word), end) for word, _, end in said], 60)
    words = UserWords(tokenizer)
    for frame in range(1, 60):
        now = (frame - 1) * FRAME_SECONDS  # of the user's frame that was heard last
        voiced = any(start < now + FRAME_SECONDS and now < end for _, start, end in said)
        words.push(frame, row[frame], 0.1 if voiced else 0.001)
    return words


def test_the_users_words_lie_where_they_were_spoken(tokenizer):
    """A word's tokens come after its end; it begins with the voice, or where the word before ended."""
    said = [("hello", 0.5, 0.9), ("to", 0.9, 1.1), ("you", 2.05, 2.4), ("now", 3.0, 3.5)]
    words = written_down(tokenizer, said).words
    assert [word.text for word in words] == [word for word, _, _ in said]
    for word, (_, start, end) in zip(words, said, strict=True):
        late = (
            FRAME_SECONDS * (len(tokenizer.encode("hello")) - 1) if word.text == "to" else 0.0
        )  # it waited its turn
        assert end <= word.end + 1e-9 <= end + FRAME_SECONDS + late + 1e-6
        assert abs(word.start - start) < FRAME_SECONDS + 1e-6
        assert word.start < word.end


def test_a_word_in_a_voice_that_was_not_loud_is_not_endless(tokenizer):
    words = UserWords(tokenizer)
    for frame, token in enumerate([*[PAD] * 40, *tokenizer.encode("hello"), PAD]):
        words.push(frame, token, 0.001)
    assert words.words[0].end - words.words[0].start == pytest.approx(1.0)


def test_a_transcript_has_the_user_only_if_the_model_writes_down(tokenizer):
    hello, silent, deaf = (
        written_down(tokenizer, [("hello", 0.5, 0.9)]),
        UserWords(tokenizer),
        UserWords(tokenizer),
    )
    silent.push(1, PAD, 0.0)
    deaf.push(1, -1, 0.0)
    agent = collected(tokenizer, [PAD, *tokenizer.encode("one")])
    assert transcript(agent, hello)["user"] == {
        "text": "hello", "words": [{"word": "hello", "start": 0.48, "end": 0.96}],
    }  # fmt: skip
    assert transcript(agent, silent)["user"] == {"text": "", "words": []}
    assert set(transcript(agent, deaf)) == {"text", "words"}


def test_a_word_of_the_users_that_is_written_in_two_frames_is_one_word(tokenizer):
    words = UserWords(tokenizer)
    first, second = (tokenizer.encode(word)[0] for word in ("the", "sea"))
    for frame, token in enumerate([first, 3, first, second, second, 3, 3, second, -1]):
        words.push(frame, token, 0.1)
    piece = [tokenizer.piece(token) for token in (first, second, second)]
    assert words.text == "".join(piece)
