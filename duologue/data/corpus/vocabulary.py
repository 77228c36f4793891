"""The text vocabulary of a corpus: SentencePiece unigram, digits apart, bytes for the unknown (paper, section 3.2)."""

from collections.abc import Iterator
from pathlib import Path

from duologue.data.corpus.mixture import Mixer, Source
from duologue.errors import InputError
from duologue.files import atomic_write, check_writable


def train_vocabulary(
    sources: list[Source], out: Path, size: int = 32000, characters: int = 200_000_000
) -> None:
    """Write OUT.model of `size` pieces, learnt from the mixture's first `characters`: unk 0, bos 1, eos 2, pad 3.

    InputError if there is too little text for so many pieces.
    """
    import sentencepiece

    with atomic_write(check_writable(out)) as temporary, temporary.open("wb") as file:
        try:
            sentencepiece.SentencePieceTrainer.train(
                sentence_iterator=_lines(sources, characters), model_writer=file, vocab_size=size,
                model_type="unigram", byte_fallback=True, split_digits=True, unk_id=0, bos_id=1, eos_id=2, pad_id=3,
                normalization_rule_name="identity", character_coverage=0.9995, minloglevel=2,
                max_sentence_length=1 << 16, input_sentence_size=2_000_000, shuffle_input_sentence=True,
            )  # fmt: skip
        except RuntimeError as error:
            reason = str(error).rpartition("] ")[2].strip()
            raise InputError(f"no vocabulary of {size} pieces from these documents: {reason}") from None


def _lines(sources: list[Source], characters: int) -> Iterator[str]:
    """Lines of documents, each document once at most."""
    mixer, taken = Mixer(sources), 0
    while taken < characters and not mixer.epochs and (found := mixer.next()):
        which, document = found
        mixer.took(which, len(document.text))
        taken += len(document.text)
        yield from document.text.splitlines()
