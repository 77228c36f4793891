"""Full-Duplex-Bench's scores (arXiv 2503.04721; v1.5: 2507.23159), from words with times and from stretches of speech.

`faithful=True` gives what its scripts give, their quirks included: a backchannel's verdict is that of the last segment,
and 24 kHz sound is given to a detector of 16 kHz, which stretches times by 1.5. Pause annotations are never read.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

Word = tuple[str, float, float]
Span = tuple[float, float]
BIN_SECONDS = 0.2  # of the distribution of backchannels over time


def words_of(output: dict[str, Any]) -> list[Word]:
    """The words of an output.json, {"text", "chunks": [{"text", "timestamp": [start, end]}]}."""
    return [(c["text"], float(c["timestamp"][0]), float(c["timestamp"][1])) for c in output["chunks"]]


def takes_over(words: Sequence[Word]) -> bool:
    """Whether the agent takes the turn, by all it says in the file: not with 3 words at most, in less than 1 s."""
    if not words:
        return False
    return words[-1][2] - words[0][1] >= 1 or len(words) > 3


def latency(words: Sequence[Word], reference: float) -> float:
    """Seconds from the end of the user's turn to the first word; 0 for who spoke before."""
    return max(0.0, words[0][1] - reference)


@dataclass(frozen=True)
class Backchannel:
    """Whether the turn is taken; backchannels a second; how far their times are from people's (a distance, 1 if there
    are none)."""

    takes_over: bool
    frequency: float
    distance: float


def backchannel(
    segments: Sequence[Span],
    words: Sequence[Word],
    seconds: float,
    people: Sequence[float],
    faithful: bool = True,
) -> Backchannel:
    """One scene: `segments` as the detector gives them, `people` the distribution of their backchannels."""
    taken, found = False, []
    for start, end in segments:
        if end - start > 3:
            taken = True
            break
        count = sum(w_start <= end and w_end > start for _, w_start, w_end in words)
        verdict = not (end - start < 1 and count <= 2)
        taken = verdict if faithful else taken or verdict
        found.append((start, end))
    return Backchannel(taken, len(found) / seconds, timing_distance(found, people, seconds))


def timing_distance(segments: Sequence[Span], people: Sequence[float], seconds: float) -> float:
    """Jensen-Shannon distance (natural logarithm) of when backchannels are said and when people say them."""
    if not segments:
        return 1.0
    bins = int(seconds / BIN_SECONDS) + 1
    counts = np.zeros(bins)
    for start, end in segments:
        counts[int(start / BIN_SECONDS) : min(int(end / BIN_SECONDS), bins - 1) + 1] += 1
    p = counts + 1e-10
    q = np.interp(np.linspace(0, 1, bins), np.linspace(0, 1, len(people)), people) + 1e-10
    p, q = p / p.sum(), q / q.sum()
    m = (p + q) / 2
    divergence = ((p * np.log(p / m)).sum() + (q * np.log(q / m)).sum()) / 2
    return math.sqrt(max(0.0, float(divergence)))


def detector_spans(wav_S: np.ndarray, rate: int, faithful: bool = True) -> list[Span]:
    """Silero's segments with its own defaults, seconds rounded to 0.1. Faithfully, samples are taken for 16 kHz."""
    from duologue.audio.files import resample
    from duologue.errors import InputError

    try:
        from faster_whisper.vad import VadOptions, get_speech_timestamps
    except ImportError:
        raise InputError("the voice detector needs faster-whisper: pip install 'duologue[eval]'") from None
    options = VadOptions(
        threshold=0.5,
        neg_threshold=0.35,
        min_speech_duration_ms=250,
        min_silence_duration_ms=100,
        speech_pad_ms=30,
    )
    heard_S = wav_S if faithful else resample(wav_S, rate, 16_000)
    found = get_speech_timestamps(np.asarray(heard_S, np.float32), options)
    return [(round(span["start"] / 16_000, 1), round(span["end"] / 16_000, 1)) for span in found]


# --- v1.5 ------------------------------------------------------------------------------------------------

# Shorter silences are merged. (The figures of the benchmark's code, not of its comments.)
USER_GAP_SECONDS, MODEL_GAP_SECONDS = 0.6, 0.5


def merged(spans: Sequence[Span], gap: float) -> list[Span]:
    """Spans whose silences are at most `gap` long, joined."""
    found: list[Span] = []
    for start, end in sorted(spans):
        if found and start - found[-1][1] <= gap:
            found[-1] = (found[-1][0], max(end, found[-1][1]))
        else:
            found.append((start, end))
    return found


def stop_and_response(user: Sequence[Span], model: Sequence[Span]) -> tuple[list[float], list[float]]:
    """How long the model goes on while the user speaks, and how long it waits after the user, in milliseconds.

    Of overlaps with one end the shortest counts, of responses with one start that to the latest end.
    """
    users, models = merged(user, USER_GAP_SECONDS), merged(model, MODEL_GAP_SECONDS)
    stops: dict[float, float] = {}
    for u_start, u_end in users:
        for m_start, m_end in models:
            start, end = max(u_start, m_start), min(u_end, m_end)
            if end > start:
                stops[end] = min(end - start, stops.get(end, math.inf))
    responses: dict[float, float] = {}
    for _, u_end in users:
        after = [start for start, _ in models if start >= u_end]
        if after:
            responses[min(after)] = min(min(after) - u_end, responses.get(min(after), math.inf))
    return [1000 * s for s in stops.values()], [1000 * s for s in responses.values()]
