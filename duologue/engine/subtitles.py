"""Timed words as text: segments to read, SubRip (.srt) and WebVTT (.vtt)."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from duologue.types import Word

GAP_SECONDS = 0.8  # seconds between words that end a segment
LONGEST_SECONDS = 6.0  # seconds of a segment
WIDEST = 84  # characters: two lines
SENTENCE_ENDS = (".", "!", "?")


@dataclass(frozen=True)
class Segment:
    """Words that are shown together; times in seconds."""

    words: tuple[Word, ...]

    @property
    def text(self) -> str:
        return " ".join(word.text for word in self.words)

    @property
    def start(self) -> float:
        return self.words[0].start

    @property
    def end(self) -> float:
        return self.words[-1].end


class Segmenter:
    """Groups words incrementally: a segment ends with a sentence, before a pause or another speaker, or when it is
    long."""

    def __init__(self) -> None:
        self._words: list[Word] = []

    def push(self, word: Word) -> list[Segment]:
        """The segments that this word completes."""
        done = self.finish() if self._words and self._apart(word) else []
        self._words.append(word)
        return done + (self.finish() if word.text.endswith(SENTENCE_ENDS) else [])

    def finish(self) -> list[Segment]:
        """The last, incomplete segment."""
        words, self._words = self._words, []
        return [Segment(tuple(words))] if words else []

    def _apart(self, word: Word) -> bool:
        wide = sum(len(w.text) + 1 for w in self._words) + len(word.text) > WIDEST
        long = word.end - self._words[0].start > LONGEST_SECONDS
        last = self._words[-1]
        return wide or long or word.speaker != last.speaker or word.start - last.end > GAP_SECONDS


def segments(words: Iterable[Word]) -> list[Segment]:
    segmenter = Segmenter()
    return [segment for word in words for segment in segmenter.push(word)] + segmenter.finish()


def srt(words: Sequence[Word]) -> str:
    """SubRip: numbered, with a comma in the times."""
    blocks = (
        f"{i}\n{_clock(s.start, ',')} --> {_clock(s.end, ',')}\n{s.text}\n"
        for i, s in enumerate(segments(words), start=1)
    )
    return "\n".join(blocks)


def vtt(words: Sequence[Word]) -> str:
    """WebVTT. Markup characters are escaped."""
    blocks = (
        f"{_clock(s.start, '.')} --> {_clock(s.end, '.')}\n{_escaped(s.text)}\n" for s in segments(words)
    )
    return "\n".join(["WEBVTT\n", *blocks])


def as_json(words: Iterable[Word]) -> list[dict[str, Any]]:
    """Words as the published json has them."""
    return [{"word": w.text, "start": round(w.start, 2), "end": round(w.end, 2)} for w in words]


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _clock(seconds: float, point: str) -> str:
    milliseconds = round(1000 * seconds)
    minutes, rest = divmod(milliseconds, 60_000)
    return f"{minutes // 60:02}:{minutes % 60:02}:{rest // 1000:02}{point}{rest % 1000:03}"
