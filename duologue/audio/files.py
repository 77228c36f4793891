"""Reading any recording, and writing one.

Whatever comes in (any rate, channels, length, stray NaN, infinite or overdriven samples) leaves `read_audio` as clean
float32 in [-1, 1] at the rate asked for; what is no recording at all is an InputError.
"""

import math
import os
import struct
from pathlib import Path

import numpy as np
import soundfile
import soxr

from duologue.audio.framing import SAMPLE_RATE
from duologue.errors import InputError
from duologue.files import atomic_write, check_writable
from duologue.types import StrPath

# What each suffix is written as, in libsndfile's terms.
WRITTEN_AS = {
    ".wav": ("WAV", "PCM_16"),
    ".flac": ("FLAC", "PCM_16"),
    ".ogg": ("OGG", "VORBIS"),
    ".opus": ("OGG", "OPUS"),
}
LOWEST_RATE, HIGHEST_RATE = 1_000, 1_000_000
BLOCK = 1 << 16
HEADER_SLACK = 64  # bytes: some recorders count their header in
UNKNOWN_LENGTH = 0x7FFF_F000  # and above: the length was not known when the header was written


def read_audio(path: StrPath, rate: int = SAMPLE_RATE) -> np.ndarray:
    """The recording at `path` as float32 [C, S] in [-1, 1], resampled to `rate`; S >= 1.

    Raises InputError if the file is missing, empty, cut short or not audio.
    """
    wav_SC, file_rate = _read(Path(path))
    wav_SC = resample(clean(wav_SC), file_rate, rate)
    return np.ascontiguousarray(clean(wav_SC).T)


def read_mono(path: StrPath, rate: int = SAMPLE_RATE) -> np.ndarray:
    """As `read_audio`, the channels averaged: float32 [S]."""
    return read_audio(path, rate).mean(axis=0, dtype=np.float32)


def write_audio(path: StrPath, wav_XS: np.ndarray, rate: int = SAMPLE_RATE) -> None:
    """Writes float [S] or [C, S] in [-1, 1] as 16-bit wav or flac, Ogg Vorbis or Ogg Opus, by the suffix of `path`.

    The file is there whole or not at all. Samples outside [-1, 1] are clipped, those that are no number silenced.
    Raises InputError if the suffix is unknown or the file cannot be written.
    """
    container, encoding = check_audio_path(path)
    wav_SC = clean(np.atleast_2d(wav_XS).T)
    with atomic_write(path) as temporary:
        try:
            with soundfile.SoundFile(
                temporary, "w", rate, wav_SC.shape[1], encoding, format=container
            ) as file:
                for start in range(0, len(wav_SC), BLOCK):  # libvorbis overflows its stack on one long write
                    file.write(wav_SC[start : start + BLOCK])
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


def _read(path: Path) -> tuple[np.ndarray, int]:
    """All samples of a file, float32 [S, C], and its rate."""
    if not path.exists():
        raise InputError(f"there is no file {path}")
    if not path.is_file():
        raise InputError(f"{path} is not a file")
    if not os.access(path, os.R_OK):
        raise InputError(f"no permission to read {path}")
    if path.stat().st_size == 0:
        raise InputError(f"{path} is empty")
    try:
        with soundfile.SoundFile(path) as file:
            wav_SC, rate = file.read(dtype="float32", always_2d=True), file.samplerate
    except (soundfile.LibsndfileError, TypeError) as error:  # TypeError: headerless, going by the suffix
        raise InputError(f"{path} is damaged or not audio we can read (wav, flac, ogg, opus, mp3)") from error
    if missing := _missing_bytes(path):
        raise InputError(f"{path} is cut short: its header promises {missing} bytes more")
    if len(wav_SC) == 0:
        raise InputError(f"{path} has no samples")
    if not LOWEST_RATE <= rate <= HIGHEST_RATE:
        raise InputError(
            f"{path} has a sample rate of {rate} Hz: it must be {LOWEST_RATE} to {HIGHEST_RATE} Hz"
        )
    return wav_SC, rate


def _missing_bytes(path: Path) -> int:
    """How far the sound of a wav or aiff file runs past the end of the file; libsndfile reads such a file in silence.

    A length that stands for "unknown", as a recorder writes to a pipe, misses nothing; nor does one off by a header.
    """
    with path.open("rb") as file:
        form, _, kind = struct.unpack("4s4s4s", file.read(12).ljust(12))
        if form not in (b"RIFF", b"FORM") or kind not in (b"WAVE", b"AIFF", b"AIFC"):
            return 0
        header = struct.Struct("<4sI" if form == b"RIFF" else ">4sI")
        while len(start := file.read(header.size)) == header.size:
            name, length = header.unpack(start)
            if name in (b"data", b"SSND"):
                missing = file.tell() + length - path.stat().st_size
                return missing if missing > HEADER_SLACK and length < UNKNOWN_LENGTH else 0
            file.seek(length + length % 2, os.SEEK_CUR)
    return 0


def _reason(error: Exception) -> str:
    """The part of an error's message that is not about paths and wrappers."""
    return str(error).rsplit(": ", 1)[-1].strip().rstrip(".")
