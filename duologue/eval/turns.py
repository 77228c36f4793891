"""Turn-taking statistics of two-channel conversations (Moshi paper, section 5.6; after dGSLM).

Inter-pausal units (IPU): speech of one side, silences below 0.2 s included. Pause: silence between units of one side;
gap: between units of different sides; overlap: both speak. All in seconds a minute, units of both sides added up, so
that IPU + pause + gap - overlap is the minute, up to the silence before the first and after the last unit.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from duologue.audio.activity import GAP_SECONDS, Span, spans
from duologue.audio.files import read_audio
from duologue.audio.framing import SAMPLE_RATE
from duologue.data.manifest import read_transcript
from duologue.errors import InputError
from duologue.eval.codec import AUDIO
from duologue.eval.result import Result
from duologue.eval.speech import plain_words
from duologue.types import AGENT


@dataclass(frozen=True)
class Turns:
    """Seconds a minute."""

    ipu: float
    pause: float
    gap: float
    overlap: float

    @property
    def total(self) -> float:
        return self.ipu + self.pause + self.gap - self.overlap


def units(speech: Sequence[Span], gap: float = GAP_SECONDS) -> list[Span]:
    """Stretches of speech of one side, those closer than `gap` merged."""
    merged: list[Span] = []
    for start, end in sorted(speech):
        if merged and start - merged[-1][1] < gap:
            merged[-1] = (merged[-1][0], max(merged[-1][1], end))
        else:
            merged.append((start, end))
    return merged


def turn_statistics(one: Sequence[Span], other: Sequence[Span], seconds: float) -> Turns:
    """Statistics of the speech of two sides in a recording of `seconds`."""
    sides = [units(one), units(other)]
    ipu = sum(end - start for side in sides for start, end in side)
    overlap = sum(
        max(0.0, min(a_end, b_end) - max(a_start, b_start))
        for a_start, a_end in sides[0] for b_start, b_end in sides[1]
    )  # fmt: skip
    silence = {True: 0.0, False: 0.0}  # by whether the same side goes on
    reached, last = None, 0  # the furthest end so far, and whose it is
    for start, end, side in sorted((s, e, k) for k, one_side in enumerate(sides) for s, e in one_side):
        if reached is not None and start > reached:
            silence[side == last] += start - reached
        if reached is None or end > reached:
            reached, last = end, side
    minute = 60 / seconds
    return Turns(ipu * minute, silence[True] * minute, silence[False] * minute, overlap * minute)


def stereo_recordings(folder: Path) -> Iterator[tuple[Path, np.ndarray]]:
    """Recordings of two channels below a folder, float32 `[2, S]` at 24 kHz. InputError if there are none."""
    paths = (
        sorted(path for path in folder.rglob("*") if path.suffix.lower() in AUDIO) if folder.is_dir() else []
    )
    if not paths:
        raise InputError(f"{folder} holds no recording ({', '.join(AUDIO)})")
    for path in paths:
        wav_CS = read_audio(path)
        if len(wav_CS) != 2:
            raise InputError(f"{path} has {len(wav_CS)} channels: a conversation has two (agent, user)")
        yield path, wav_CS


def confirmed_words(text: str, heard: str) -> int:
    """How many words of a text stand in the same order in what a listener writes down."""
    truth, written = plain_words(text), plain_words(heard)
    if not truth or not written:
        return 0
    try:
        import jiwer
    except ImportError:
        raise InputError("counting words needs jiwer: pip install 'duologue[eval]'") from None
    return int(jiwer.process_words(truth, written).hits)


MOSHI = {"IPU": 44.7, "pause": 9.1, "gap": 7.5, "overlap": 2.2}  # table 9, temperature 0.9


def score_recordings(folder: Path, asr: Callable[[np.ndarray], str] | None = None) -> Result:
    """Means over stereo recordings, each weighted by its length.

    With `asr`, also the words of the agent's text (the transcript beside a recording) that a listener confirms.
    """
    result = Result("turns", folder.name)
    confirmed = 0
    found: list[tuple[float, Turns]] = []
    for path, wav_CS in stereo_recordings(folder):
        if asr is not None:
            confirmed += confirmed_words(
                " ".join(w.text for w in read_transcript(path).of(AGENT)), asr(wav_CS[0])
            )
        seconds = wav_CS.shape[1] / SAMPLE_RATE
        found.append((seconds, turn_statistics(spans(wav_CS[0]), spans(wav_CS[1]), seconds)))
    total = sum(seconds for seconds, _ in found)
    for name, published in MOSHI.items():
        value = sum(seconds * getattr(turns, name.lower()) for seconds, turns in found) / total
        result.add(name, value, "s a minute", len(found), published)
    if asr is not None:
        result.add("confirmed words", 60 * confirmed / total, "a minute", len(found))
    return result
