"""Where a channel is heard: an energy detector on 10 ms, with the field's rule that 0.2 s of silence ends a stretch."""

import numpy as np

FLOOR = -45.0  # dB, of 10 ms: below is silence
GAP = 0.2  # seconds: shorter silences are part of the speech around them (section 5.6 of the Moshi paper)
LEAST = 0.05  # seconds: shorter sounds are clicks

Span = tuple[float, float]


def spans(wav_S: np.ndarray) -> list[Span]:
    """Stretches (start, end) in seconds in which a sound at 24 kHz is heard."""
    loud = np.flatnonzero(level_db(wav_S) > FLOOR)
    if not loud.size:
        return []
    breaks = np.flatnonzero(np.diff(loud) > GAP * 100)
    first, last = loud[np.r_[0, breaks + 1]], loud[np.r_[breaks, loud.size - 1]] + 1
    found = [(int(a) / 100, int(b) / 100) for a, b in zip(first, last, strict=True)]
    return [span for span in found if span[1] - span[0] >= LEAST]


def loud(frame_S: np.ndarray) -> bool:
    """Whether something is heard in a frame, for longer than a click."""
    return int((level_db(frame_S) > FLOOR).sum()) >= 3


def within(found: list[Span], start: float, end: float) -> list[Span]:
    """The parts of stretches that lie between two moments."""
    return [(max(a, start), min(b, end)) for a, b in found if a < end and b > start]
