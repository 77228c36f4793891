"""Speech recognition as papers measure it: word errors on LibriSpeech and long recordings, errors of word times."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

from duologue.data.strict_json import read_json, read_lines
from duologue.engine.transcribe import Transcript
from duologue.errors import InputError
from duologue.eval.codec import AUDIO, clip_text
from duologue.eval.result import Result
from duologue.eval.speech import plain_words, word_error_rate
from duologue.types import Word

NEAR = (
    1.0  # seconds: a word that was written further from its time was matched to another of the same spelling
)


@dataclass(frozen=True)
class Utterance:
    """A recording, what is said in it, and when, where that is known."""

    path: Path
    text: str
    words: tuple[Word, ...] = ()


def read_utterances(root: Path) -> list[Utterance]:
    """LibriSpeech (SPEAKER/CHAPTER/SPEAKER-CHAPTER.trans.txt of `ID TEXT`, ID.flac), or recordings of any length with
    their text in a .txt, or a .json of {"text"} and {"words": [[word, start, end], ...]}, beside each.

    InputError if there is none, or a recording is missing.
    """
    if not root.is_dir():
        raise InputError(f"there is no folder {root}")
    found = []
    for listing in sorted(root.rglob("*.trans.txt")):
        for number, line in read_lines(listing):
            name, _, text = line.partition(" ")
            path = listing.parent / f"{name}.flac"
            if not text.strip() or not path.exists():
                raise InputError(f"{listing}, line {number}: expected `ID TEXT` and {path.name} beside it")
            found.append(Utterance(path, text))
    if not found:
        for path in sorted(p for p in root.rglob("*") if p.suffix.lower() in AUDIO):
            if text := clip_text(path):
                found.append(Utterance(path, text, _times(path.with_suffix(".json"))))
    if not found:
        raise InputError(
            f"{root} holds neither LibriSpeech's *.trans.txt nor recordings with a text beside them"
        )
    return found


def _times(path: Path) -> tuple[Word, ...]:
    if not path.exists():
        return ()
    try:
        rows = read_json(path).get("words", [])
        return tuple(Word(str(text), float(start), float(end)) for text, start, end in rows)
    except (ValueError, TypeError, AttributeError):
        raise InputError(f'{path}: expected {{"words": [[word, start, end], ...]}}') from None


def word_time_errors(truth: Sequence[Word], heard: Sequence[Word]) -> list[float]:
    """Seconds between the starts of the words that both have, in order."""
    try:
        import jiwer
    except ImportError:
        raise InputError("counting words needs jiwer: pip install 'duologue[eval]'") from None
    sides = [[(w, plain) for w in words if (plain := plain_words(w.text))] for words in (truth, heard)]
    if not all(sides):
        return []
    # One token a word, whatever it reads as: "4:30" stays one.
    said, written = (" ".join(plain.replace(" ", "_") for _, plain in side) for side in sides)
    chunks = jiwer.process_words(said, written).alignments[0]
    pairs = [
        (sides[0][chunk.ref_start_idx + k][0], sides[1][chunk.hyp_start_idx + k][0])
        for chunk in chunks
        if chunk.type == "equal"
        for k in range(chunk.ref_end_idx - chunk.ref_start_idx)
    ]
    return [error for a, b in pairs if (error := abs(a.start - b.start)) < NEAR]


def score_recognition(
    utterances: Sequence[Utterance], transcripts: Sequence[Transcript], result: Result
) -> None:
    """Adds the word error rate over all words (plain words on both sides), and where times are known their error."""
    heard, errors = [], []
    for utterance, transcript in zip(utterances, transcripts, strict=True):
        heard.append(transcript.text)
        errors += word_time_errors(utterance.words, transcript.words) if utterance.words else []
    rate = word_error_rate([utterance.text for utterance in utterances], heard)
    result.add("word errors", 100 * rate, "%", len(utterances), 5.7)
    result.add("seconds heard", sum(t.seconds for t in transcripts), "s", len(utterances))
    if errors:
        result.add("error of a word's start", fmean(errors), "s", len(errors))
