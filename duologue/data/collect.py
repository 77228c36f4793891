"""Long recordings to segments of speech for training without labels (paper, section 4.1).

    voice detector -> segments -> language -> music -> people at once

Transcription is `duologue data align` on the manifest of the segments (Whisper large-v3 in the paper).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np

from duologue.audio.files import WRITTEN_AS, read_mono, resample, write_audio
from duologue.audio.framing import SAMPLE_RATE
from duologue.data.diarize import Diarizer, Turn
from duologue.data.fingerprint import fingerprint
from duologue.data.manifest import Row
from duologue.errors import InputError
from duologue.types import StrPath

Span = tuple[float, float]
STEADY = 0.8  # similarity of spectra 100 ms apart above which it is music
HEARD = 16_000  # the rate of detectors and recognisers
SUFFIXES = (*WRITTEN_AS, ".mp3", ".aiff")


@dataclass(frozen=True)
class Limits:
    """What a segment may be. Seconds; shares of its length."""

    longest: float = 300.0
    shortest: float = 3.0
    gap: float = 2.0
    """A longer silence ends a segment."""
    language: str = "en"
    language_least: float = 0.8
    music_most: float = 0.5
    """Of the segment's seconds that sound like music."""
    overlap_most: float = 0.1
    """Of the segment in which two people or more talk."""


def find_recordings(places: Sequence[Path]) -> list[Row]:
    """A row {"id", "path"} for each sound file, by name. InputError if there is none, or a place is missing."""
    rows: list[Row] = []
    for place in places:
        if not place.exists():
            raise InputError(f"there is no file {place}")
        inside = sorted(place.rglob("*")) if place.is_dir() else [place]
        for path in inside:
            if path.suffix.lower() in SUFFIXES:
                name = path.relative_to(place) if place.is_dir() else Path(path.name)
                rows.append({"id": "-".join(name.with_suffix("").parts), "path": str(path)})
    if not rows:
        raise InputError(f"{' '.join(map(str, places))}: there is no recording here")
    return rows


def speech_spans(wav_S: np.ndarray) -> list[Span]:
    """Spans of speech in a sound at 24 kHz (Silero's detector, as shipped with faster-whisper)."""
    try:
        from faster_whisper.vad import VadOptions, get_speech_timestamps
    except ImportError:
        raise InputError("the voice detector needs faster-whisper: pip install 'duologue[data]'") from None
    options = VadOptions(min_silence_duration_ms=300, speech_pad_ms=100)
    found = get_speech_timestamps(resample(wav_S, SAMPLE_RATE, HEARD), options)
    return [(span["start"] / HEARD, span["end"] / HEARD) for span in found]


def segments(spans: Sequence[Span], limits: Limits) -> list[list[Span]]:
    """Spans of speech joined to segments: a silence longer than `gap` ends one, and so does the next span if with it
    the segment would be too long. A single span that is too long is cut; segments that are too short are left out."""
    pieces: list[Span] = []
    for start, end in spans:
        while end - start > limits.longest:
            pieces.append((start, start + limits.longest))
            start += limits.longest
        pieces.append((start, end))
    found: list[list[Span]] = []
    for span in pieces:
        last = found[-1] if found else None
        if last and span[0] - last[-1][1] <= limits.gap and span[1] - last[0][0] <= limits.longest:
            last.append(span)
        else:
            found.append([span])
    return [one for one in found if one[-1][1] - one[0][0] >= limits.shortest]


def music_share(wav_S: np.ndarray) -> float:
    """Share of the seconds of a sound at 24 kHz that sound like music, 0..1.

    Speech comes in syllables, about four a second, whose levels and spectra change by far; music is steadier
    (Scheirer & Slaney 1997: low-energy frames, spectral flux). A second is music if few of its frames are much quieter
    than its mean and its spectrum is mostly that of 100 ms before.
    """
    hop, size = SAMPLE_RATE // 50, 1024
    if len(wav_S) < SAMPLE_RATE:
        return 0.0
    frames_TN = np.lib.stride_tricks.sliding_window_view(wav_S, size)[::hop] * np.hanning(size)
    power_TF = np.abs(np.fft.rfft(frames_TN)[:, :171]) ** 2  # up to 4 kHz
    level_T = power_TF.sum(1) + 1e-9
    shape_TF = np.sqrt(power_TF / level_T[:, None])
    same_T = (shape_TF[5:] * shape_TF[:-5]).sum(1)  # 1: the same spectrum 100 ms later
    seconds, music = len(level_T) // 50, 0
    for second in range(seconds):
        part = slice(50 * second, 50 * second + 50)
        quiet = (level_T[part] < 0.3 * level_T[part].mean()).mean()
        heard = level_T[part].mean() > 1e-4 * level_T.max()
        music += bool(heard and quiet < 0.1 and same_T[part].mean() > STEADY)
    return music / max(1, seconds)


def overlap_share(turns: Sequence[Turn], start: float, end: float) -> float:
    """Share of a stretch in which two speakers or more have a turn."""
    edges = sorted({start, end, *(t for turn in turns for t in (turn.start, turn.end) if start < t < end)})
    both = 0.0
    for a, b in pairwise(edges):
        speakers = {turn.speaker for turn in turns if turn.start < b and turn.end > a}
        both += (b - a) * (len(speakers) > 1)
    return both / (end - start)


class WhisperLanguage:
    """The language of a sound at 24 kHz, by a Whisper model in CTranslate2's format: (code, probability)."""

    def __init__(self, folder: StrPath, device: str = "cpu"):
        try:
            from faster_whisper import WhisperModel
        except ImportError:
            raise InputError("the language needs faster-whisper: pip install 'duologue[data]'") from None
        if not (Path(folder) / "model.bin").is_file():
            raise InputError(f"{folder} is not a Whisper model for CTranslate2: it has no model.bin")
        self._model = WhisperModel(
            str(folder), device=device, compute_type="int8" if device == "cpu" else "float16"
        )

    def __call__(self, wav_S: np.ndarray) -> tuple[str, float]:
        language, probability, _ = self._model.detect_language(
            resample(wav_S[: 30 * SAMPLE_RATE], SAMPLE_RATE, HEARD)
        )
        return language, probability


class Collect:
    """Stage: writes the segments of a recording to FOLDER; the row gets "segments" (rows of a manifest of their own)
    and "dropped" (how many for which reason)."""

    def __init__(
        self,
        folder: StrPath,
        limits: Limits | None = None,
        language: Callable[[np.ndarray], tuple[str, float]] | None = None,
        diarizer: Diarizer | None = None,
        detect: Callable[[np.ndarray], list[Span]] = speech_spans,
    ):
        self.folder, self.limits = Path(folder), limits or Limits()
        self.language, self.diarizer, self.detect = language, diarizer, detect

    def __call__(self, rows: list[Row]) -> list[Row]:
        self.folder.mkdir(parents=True, exist_ok=True)
        return [self._one(row) for row in rows]

    def _one(self, row: Row) -> Row:
        wav_S = read_mono(row["path"])
        turns = self.diarizer(wav_S) if self.diarizer else []
        found: list[Row] = []
        dropped: dict[str, int] = {}
        for spans in segments(self.detect(wav_S), self.limits):
            start, end = spans[0][0], spans[-1][1]
            piece_S = wav_S[round(start * SAMPLE_RATE) : round(end * SAMPLE_RATE)]
            about: Row = {"speech": round(sum(b - a for a, b in spans) / (end - start), 3)}
            if reason := self._unfit(piece_S, turns, (start, end), about):
                dropped[reason] = dropped.get(reason, 0) + 1
                continue
            name = f"{row['id']}-{round(1000 * start):09d}"
            path = self.folder / f"{name}.flac"
            write_audio(path, piece_S)
            place = {"path": str(path), "duration": round(len(piece_S) / SAMPLE_RATE, 3), "id": name}
            found.append(place | {"from": row["path"], "start": round(start, 3)} | about)
        return row | {"segments": found, "dropped": dropped, "made_of": fingerprint(Path(row["path"]))}

    def _unfit(self, piece_S: np.ndarray, turns: list[Turn], span: Span, about: Row) -> str | None:
        """Why a segment is dropped, or None; measurements are stored in `about`."""
        limits = self.limits
        about["music"] = round(music_share(piece_S), 3)
        if about["music"] > limits.music_most:
            return "music"
        if self.diarizer:
            about["overlap"] = round(overlap_share(turns, *span), 3)
            if about["overlap"] > limits.overlap_most:
                return "overlap"
        if self.language:
            name, probability = self.language(piece_S)
            about |= {"language": name, "language_score": round(probability, 3)}
            if name != limits.language or probability < limits.language_least:
                return "language"
        return None
