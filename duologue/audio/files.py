"""Reading any recording, and writing one.

Any input (rate, channels, length, NaN, infinite or overdriven samples) becomes clean float32 in [-1, 1] at the
requested rate; anything that is not a complete recording is an InputError. `open_audio` reads block by block, so that
memory does not grow with the length of a recording.
"""

import math
import os
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
import soxr

from duologue.audio.containers import Part, parts_of
from duologue.audio.decoders import MOST_CHANNELS, Decoder, open_decoder
from duologue.audio.framing import SAMPLE_RATE, pad_to_frames
from duologue.errors import InputError
from duologue.files import atomic_write, check_writable
from duologue.types import StrPath

# libsndfile's format of each suffix.
WRITTEN_AS = {
    ".wav": ("WAV", "PCM_16"),
    ".flac": ("FLAC", "PCM_16"),
    ".ogg": ("OGG", "VORBIS"),
    ".opus": ("OGG", "OPUS"),
    ".mp3": ("MP3", "MPEG_LAYER_III"),
}
LOWEST_RATE, HIGHEST_RATE = 1_000, 1_000_000
BLOCK = 1 << 16
MOST_IN_MEMORY = 1 << 31  # bytes of samples, limit of `read_audio`


@dataclass(frozen=True)
class Recording:
    """An open sound file: its channels, and its length in seconds according to its header (None: unknown)."""

    name: str
    rate: int
    channels: int
    seconds: float | None
    parts: list[Decoder]

    def blocks(self) -> Iterator[np.ndarray]:
        """The whole file in blocks, float32 [C, S] in [-1, 1] at `rate`; S varies. Raises InputError if it turns out to
        be damaged, truncated or empty."""
        samples = 0
        for part in self.parts:
            for block_SC in resampled(map(clean, part.blocks()), part.rate, self.rate):
                samples += len(block_SC)
                yield np.ascontiguousarray(clean(block_SC).T)
        if samples == 0:
            raise InputError(f"{self.name} has no samples")

    def frames(self, size: int) -> Iterator[np.ndarray]:
        """As `blocks`, in frames [C, size], the last one filled up with silence."""
        rest_CS = np.zeros((self.channels, 0), np.float32)
        for block_CS in self.blocks():
            rest_CS = np.concatenate([rest_CS, block_CS], axis=1)
            whole = rest_CS.shape[1] // size * size
            for at in range(0, whole, size):
                yield rest_CS[:, at : at + size]
            rest_CS = rest_CS[:, whole:]
        if rest_CS.shape[1]:
            yield pad_to_frames(rest_CS, size)

    def mono(self) -> np.ndarray:
        """The whole file, channels averaged: float32 [S]. Raises InputError as `read_audio` does."""
        return np.concatenate(list(_bounded(map(mono, self.blocks()), self.name)))


def open_audio(path: StrPath, rate: int = SAMPLE_RATE) -> Recording:
    """The recording at `path`, to be read at `rate`. Raises InputError if the file is missing, empty, not audio, or
    shorter than its header says."""
    path = Path(path)
    _check_readable(path)
    return open_part(Part.whole(path), rate)


def open_part(whole: Part, rate: int = SAMPLE_RATE) -> Recording:
    """As `open_audio`, for a recording in a byte range of another file."""
    parts = [open_decoder(part) for part in parts_of(whole)]
    channels, name = parts[0].channels, whole.name
    for part in parts:
        if not LOWEST_RATE <= part.rate <= HIGHEST_RATE:
            raise InputError(
                f"{name} has a sample rate of {part.rate} Hz: it must be {LOWEST_RATE} to {HIGHEST_RATE} Hz"
            )
        if part.channels != channels:
            raise InputError(f"{name} changes from {channels} to {part.channels} channels on the way")
    if channels > MOST_CHANNELS:
        raise InputError(f"{name} has {channels} channels: it may have {MOST_CHANNELS}")
    lengths = [part.samples / part.rate for part in parts if part.samples is not None]
    return Recording(name, rate, channels, sum(lengths) if len(lengths) == len(parts) else None, parts)


def read_audio(path: StrPath, rate: int = SAMPLE_RATE) -> np.ndarray:
    """The recording at `path` as float32 [C, S] in [-1, 1], resampled to `rate`; S >= 1.

    Raises InputError if the file is missing, empty, cut short, not audio, or too long to be in memory (2 GiB).
    """
    return np.concatenate(list(_bounded(open_audio(path, rate).blocks(), str(path))), axis=1)


def read_mono(path: StrPath, rate: int = SAMPLE_RATE) -> np.ndarray:
    """As `read_audio`, the channels averaged: float32 [S]."""
    return open_audio(path, rate).mono()


def mono(wav_CS: np.ndarray) -> np.ndarray:
    """The channels averaged, float32 [S]."""
    return wav_CS.mean(axis=0, dtype=np.float32)


def _bounded(blocks: Iterable[np.ndarray], name: str) -> Iterator[np.ndarray]:
    size = 0
    for block in blocks:
        size += block.nbytes
        if size > MOST_IN_MEMORY:
            raise InputError(f"{name} is too long to be read at once: cut it into pieces")
        yield block


def write_audio(path: StrPath, wav_XS: np.ndarray, rate: int = SAMPLE_RATE) -> None:
    """Writes float [S] or [C, S] in [-1, 1] as 16-bit wav or flac, Ogg Vorbis, Ogg Opus or mp3, by the suffix.

    The file is written atomically. Samples outside [-1, 1] are clipped; NaN and infinities become silence. Raises
    InputError if the suffix is unknown or the file cannot be written.
    """
    wav_CS = np.atleast_2d(wav_XS)
    with audio_writer(path, len(wav_CS), rate) as writer:
        writer.write(wav_CS)


class AudioWriter:
    """Writes a recording block by block."""

    def __init__(self, file: soundfile.SoundFile):
        self._file = file

    def write(self, wav_CS: np.ndarray) -> None:
        """The next samples, float [C, S]."""
        for start in range(0, wav_CS.shape[1], BLOCK):  # libvorbis overflows its stack on one long write
            self._file.write(clean(wav_CS[:, start : start + BLOCK].T))


@contextmanager
def audio_writer(path: StrPath, channels: int, rate: int = SAMPLE_RATE) -> Generator[AudioWriter]:
    """As `write_audio`, for a recording in blocks: the file gets its name when all is written."""
    container, encoding = check_audio_path(path)
    with atomic_write(path) as temporary:
        try:
            with soundfile.SoundFile(temporary, "w", rate, channels, encoding, format=container) as file:
                yield AudioWriter(file)
        except soundfile.LibsndfileError as error:
            raise InputError(f"cannot write {path}: {_reason(error)}") from error


def check_audio_path(path: StrPath) -> tuple[str, str]:
    """libsndfile's container and encoding for `path`; InputError if no recording can be written there."""
    suffix = Path(path).suffix.lower()
    if suffix not in WRITTEN_AS:
        raise InputError(f"cannot write {path}: the name must end in one of {', '.join(WRITTEN_AS)}")
    check_writable(path)
    return WRITTEN_AS[suffix]


def clean(wav: np.ndarray) -> np.ndarray:
    """`wav` as float32 within [-1, 1]; NaN and infinite samples become silence."""
    return np.where(np.isfinite(wav), wav, 0.0).clip(-1.0, 1.0).astype(np.float32)


def resample(wav_SX: np.ndarray, rate_in: int, rate_out: int) -> np.ndarray:
    """`wav_SX` (samples first) at `rate_out`: exactly ceil(S * rate_out / rate_in) samples."""
    if rate_in == rate_out:
        return wav_SX
    samples = math.ceil(wav_SX.shape[0] * rate_out / rate_in)
    out_SX = soxr.resample(wav_SX, rate_in, rate_out)[:samples]
    return np.pad(out_SX, [(0, samples - out_SX.shape[0])] + [(0, 0)] * (wav_SX.ndim - 1))


def resampled(blocks: Iterable[np.ndarray], rate_in: int, rate_out: int) -> Iterator[np.ndarray]:
    """As `resample`, for a recording in blocks [S, C]."""
    stream: soxr.ResampleStream | None = None
    read = made = channels = 0
    for block_SC in blocks:
        channels = block_SC.shape[1]
        if rate_in == rate_out:
            yield block_SC
            continue
        stream = stream or soxr.ResampleStream(rate_in, rate_out, channels, dtype="float32")
        read += len(block_SC)
        out_SC = stream.resample_chunk(block_SC)
        made += len(out_SC)
        yield out_SC
    if stream is not None:
        end_SC = stream.resample_chunk(np.zeros((0, channels), np.float32), last=True)
        missing = max(0, math.ceil(read * rate_out / rate_in) - made)
        yield np.pad(end_SC[:missing], [(0, max(0, missing - len(end_SC))), (0, 0)])


def _check_readable(path: Path) -> None:
    if not os.path.exists(path):
        raise InputError(f"there is no file {path}")
    if not os.path.isfile(path):
        raise InputError(f"{path} is not a file")
    if not os.access(path, os.R_OK):
        raise InputError(f"no permission to read {path}")
    if path.stat().st_size == 0:
        raise InputError(f"{path} is empty")


def _reason(error: Exception) -> str:
    """The part of an error's message that is not about paths and wrappers."""
    return str(error).rsplit(": ", 1)[-1].strip().rstrip(".")
