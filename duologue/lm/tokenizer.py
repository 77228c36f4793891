"""Text to token ids and back with SentencePiece, also incrementally."""

import codecs
from pathlib import Path

import sentencepiece

from duologue.errors import InputError

LARGEST = 2**26  # bytes of a vocabulary
WORDS = 2**16  # that are remembered
SPACE = "▁"  # how SentencePiece writes the space before a word


class Tokenizer:
    """A SentencePiece model. Raises InputError if the file is missing or is none. `silent`: a token that stands for no
    text, whatever the vocabulary says of it."""

    def __init__(self, path: Path, silent: int | None = None):
        self._silent = silent
        if not path.is_file():
            raise InputError(f"there is no file {path}")
        try:
            if path.stat().st_size > LARGEST:
                raise RuntimeError("it is too large")
            self._pieces = sentencepiece.SentencePieceProcessor(model_proto=path.read_bytes())
            if not self._pieces.vocab_size():
                raise RuntimeError("it is empty")
            for token in range(self._pieces.vocab_size()):
                self._pieces.id_to_piece(token)  # a piece may be no text
        except (RuntimeError, OSError, UnicodeDecodeError) as error:
            raise InputError(f"{path} is damaged or not a SentencePiece model") from error
        self._words: dict[str, list[int]] = {}

    @property
    def size(self) -> int:
        return self._pieces.vocab_size()

    def encode(self, text: str) -> list[int]:
        """Ids of a text, without markers of its beginning or end."""
        return self._pieces.encode(text)

    def encode_word(self, word: str) -> list[int]:
        """As `encode`, of words that come again and again: they are remembered."""
        if word not in self._words:
            if len(self._words) >= WORDS:
                self._words.clear()
            self._words[word] = self.encode(word)
        return list(self._words[word])

    def decode(self, ids: list[int]) -> str:
        return self._pieces.decode([i for i in ids if i < self.size and i != self._silent])

    def piece(self, token: int) -> str:
        """The text of one token as it follows others: a word's first piece begins with a space. Bytes of a character
        that is spelt in several tokens come as `<0xNN>`; `TextStream` puts them together."""
        return self._pieces.id_to_piece(token).replace(SPACE, " ")

    def is_byte(self, token: int) -> bool:
        return token < self.size and self._pieces.is_byte(token)

    def is_control(self, token: int) -> bool:
        """Whether the token stands for no text (unknown, beginning, end, padding, a request for a reference)."""
        if token >= self.size or token == self._silent:
            return True
        return self._pieces.is_control(token) or self._pieces.is_unknown(token)


class TextStream:
    """Decodes tokens to text incrementally; a character that is split into bytes appears once it is complete. Invalid
    bytes are dropped."""

    def __init__(self, tokenizer: Tokenizer):
        self._tokenizer = tokenizer
        self._bytes = codecs.getincrementaldecoder("utf-8")("ignore")

    def push(self, token: int) -> str:
        """The text that this token adds, with its leading space; empty for padding, which may also stand between the
        bytes of a character, and for unfinished characters."""
        if self._tokenizer.is_control(token):
            return ""
        piece = self._tokenizer.piece(token)
        if self._tokenizer.is_byte(token):
            return self._bytes.decode(bytes([int(piece[3:5], 16)]))
        self._bytes.reset()
        return piece
