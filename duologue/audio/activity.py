"""Voice activity detection, with one loudness and one set of thresholds for the whole project. Two resolutions: frames
of 80 ms in a conversation (`rms_of`, compared with `LOUD` or `LOUD_USER`), and 10 ms of a whole recording (`level_db`):
`spans` by an absolute level, for evaluations, and `voiced_span` by a level relative to the loudest part, for clips of
unknown gain.
"""

import numpy as np

LOUD = 3e-3  # RMS above which a frame of the agent is voiced
LOUD_USER = 1e-2  # the same for the user: a microphone is never silent
HOP = 240  # samples at 24 kHz: 10 ms, the resolution of `level_db`
FLOOR_DB = -45.0  # level of 10 ms below which it is silence
GAP_SECONDS = 0.2  # shorter silences are part of the speech around them (section 5.6 of the Moshi paper)
LEAST_SECONDS = 0.05  # shorter sounds are clicks
CLIP_RANGE_DB = 35.0  # range below a clip's loudest 10 ms that counts as voice
CLIP_FLOOR_DB = -55.0

Span = tuple[float, float]


def rms_of(wav_S: np.ndarray) -> float:
    """Root mean square of a frame."""
    return float(np.sqrt(np.mean(wav_S**2)))


def level_db(wav_S: np.ndarray) -> np.ndarray:
    """Level in dB of each 10 ms of a sound at 24 kHz."""
    frames = np.pad(wav_S, (0, -len(wav_S) % HOP)).reshape(-1, HOP)
    return 10 * np.log10((frames.astype(np.float64) ** 2).mean(axis=1) + 1e-10)


def voiced(wav_S: np.ndarray) -> np.ndarray:
    """The voiced 10 ms of a clip: within 35 dB of its loudest, and above -55 dB."""
    level = level_db(wav_S)
    return level > max(level.max(initial=-100.0) - CLIP_RANGE_DB, CLIP_FLOOR_DB)


def voiced_span(wav_S: np.ndarray) -> Span:
    """Start and end in seconds of the voiced part of a clip; (0, 0) if there is none."""
    found = np.flatnonzero(voiced(wav_S))
    return (float(found[0]) / 100, float(found[-1] + 1) / 100) if found.size else (0.0, 0.0)


def spans(wav_S: np.ndarray) -> list[Span]:
    """Spans (start, end) in seconds in which a sound at 24 kHz is audible."""
    loud = np.flatnonzero(level_db(wav_S) > FLOOR_DB)
    if not loud.size:
        return []
    breaks = np.flatnonzero(np.diff(loud) > GAP_SECONDS * 100)
    first, last = loud[np.r_[0, breaks + 1]], loud[np.r_[breaks, loud.size - 1]] + 1
    found = [(int(a) / 100, int(b) / 100) for a, b in zip(first, last, strict=True)]
    return [span for span in found if span[1] - span[0] >= LEAST_SECONDS]


def loud(frame_S: np.ndarray) -> bool:
    """Whether a frame is audible for longer than a click."""
    return int((level_db(frame_S) > FLOOR_DB).sum()) >= 3


def within(found: list[Span], start: float, end: float) -> list[Span]:
    """The parts of spans between two times."""
    return [(max(a, start), min(b, end)) for a, b in found if a < end and b > start]
