import pytest

from duologue.errors import InputError
from duologue.lm.tokenizer import TextStream, Tokenizer
from duologue.weights.model import ASSETS

PATH = ASSETS / "tiny" / "tokenizer.model"
TEXTS = ["hello there", "What is 2 + 2?", "naïve — «Grüße»", "日本語 and 🎉", "a  b", "", "don't"]


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer(PATH)


def streamed(tokenizer: Tokenizer, ids: list[int]) -> list[str]:
    stream = TextStream(tokenizer)
    return [stream.push(token) for token in ids]


@pytest.mark.parametrize("text", TEXTS)
def test_piece_by_piece_gives_the_whole_text(tokenizer: Tokenizer, text: str) -> None:
    ids = tokenizer.encode(text)
    assert all(0 <= token < tokenizer.size for token in ids)
    assert "".join(streamed(tokenizer, ids)).strip() == tokenizer.decode(ids)
    assert tokenizer.decode(ids) == " ".join(text.split())


def test_words_begin_with_a_space(tokenizer: Tokenizer) -> None:
    pieces = streamed(tokenizer, tokenizer.encode("hello there"))
    assert sum(piece.startswith(" ") for piece in pieces) == 2


def test_a_character_of_several_tokens_appears_once_it_is_whole(tokenizer: Tokenizer) -> None:
    ids = tokenizer.encode("🎉")
    assert [tokenizer.is_byte(token) for token in ids[-4:]] == [True] * 4
    assert streamed(tokenizer, ids)[-4:] == ["", "", "", "🎉"]


def test_a_character_that_stays_unfinished_is_dropped(tokenizer: Tokenizer) -> None:
    """It hurts no word that follows."""
    half = tokenizer.encode("🎉")[-4:-2]
    assert "".join(streamed(tokenizer, [*half, *tokenizer.encode("hello")])) == " hello"
    assert streamed(tokenizer, [half[0]] * 9) == [""] * 9
    assert "".join(streamed(tokenizer, [half[0], *tokenizer.encode("🎉")[-4:]])) == "🎉"


def test_padding_is_no_text(tokenizer: Tokenizer) -> None:
    """Unknown, begin, end and padding, and ids that the vocabulary does not have."""
    assert streamed(tokenizer, [0, 1, 2, 3, tokenizer.size, 10**6]) == [""] * 6
    assert tokenizer.decode([*tokenizer.encode("hello"), tokenizer.size + 5]) == "hello"


def test_padding_within_a_character_does_not_spoil_it(tokenizer: Tokenizer) -> None:
    ids = tokenizer.encode("🎉")[-4:]
    assert "".join(streamed(tokenizer, [*ids[:2], 3, 0, *ids[2:]])) == "🎉"


def test_what_is_no_vocabulary(tmp_path) -> None:
    with pytest.raises(InputError, match="there is no file"):
        Tokenizer(tmp_path / "absent.model")
    for content in (b"", b"no model", PATH.read_bytes()[:1000]):
        (tmp_path / "bad.model").write_bytes(content)
        with pytest.raises(InputError, match="damaged or not a SentencePiece model") as error:
            Tokenizer(tmp_path / "bad.model")
        assert "\n" not in str(error.value)


def test_a_token_that_asks_for_something_is_no_text() -> None:
    token = Tokenizer(PATH).encode("yes")[-1]
    tokenizer = Tokenizer(PATH, silent=token)
    assert Tokenizer(PATH).decode([token])
    assert tokenizer.decode([token]) == ""
    assert TextStream(tokenizer).push(token) == ""


def test_words_that_are_remembered_are_spelt_as_ever(tokenizer: Tokenizer, monkeypatch) -> None:
    monkeypatch.setattr("duologue.lm.tokenizer.WORDS", 2)
    for word in ("hello", "yes", "hello", "no", "sea", "hello"):
        ids = tokenizer.encode_word(word)
        assert ids == tokenizer.encode(word)
        ids.append(-1)  # what is handed out is the caller's
