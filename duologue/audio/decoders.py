"""Decoding a part of a sound file block by block: libsndfile for what it reads, and FFmpeg (PyAV) for the rest."""

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
import soundfile

from duologue.audio.containers import Part
from duologue.errors import InputError

BLOCK = 1 << 16  # samples of all channels together, decoded at a time
MOST_CHANNELS = 64
UNKNOWN = 1 << 60  # frames: libsndfile's value for an unknown length
# Of libsndfile's formats those whose length can be checked.
SNDFILE = {"WAV", "WAVEX", "RF64", "W64", "AIFF", "AU", "CAF", "NIST", "FLAC", "OGG", "MP3"}
# Of FFmpeg's, those that cannot refer to other files, as a playlist can.
FFMPEG = (
    "mov,matroska,webm,aac,ogg,asf,flac,mp3,amr,ac3,eac3,ape,tta,wv,caf,wav,w64,aiff,au,loas,flv,avi,mpegts"
)
LENGTH_IS_KNOWN = {"mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm", "asf", "ogg", "flac", "wav"}
READ = "wav, flac, ogg, opus, mp3, aiff, au, caf, w64, NIST"
EXTRA = "m4a, aac, webm, wma and others need PyAV: pip install 'duologue[formats]'"


@dataclass(frozen=True)
class Decoder:
    """One part of a file, opened: `blocks` are float32 [S, C] at `rate`. `samples` is how many its header promises
    (None: it does not)."""

    part: Part
    rate: int
    channels: int
    samples: int | None
    ffmpeg: bool = False

    def blocks(self) -> Iterator[np.ndarray]:
        """All of it. Raises InputError if it is damaged, or holds less than its header promises."""
        read = 0
        for block_SC in (_ffmpeg_blocks if self.ffmpeg else _sndfile_blocks)(self.part):
            if block_SC.shape[1] != self.channels:
                raise InputError(f"{self.part.name} changes its number of channels on the way")
            read += len(block_SC)
            yield block_SC
        # FFmpeg's lengths are rounded, and include the encoder's priming samples.
        slack = self.rate // 10 if self.ffmpeg else 0
        if self.samples is not None and read + slack < self.samples:
            raise InputError(
                f"{self.part.name} is cut short: its header promises {self.samples / self.rate:.1f} s, "
                f"{read / self.rate:.1f} s are there"
            )


def open_decoder(part: Part) -> Decoder:
    """Opened by libsndfile, or else by FFmpeg where it is installed. Raises InputError if neither reads it."""
    try:
        with _sndfile(part) as file:
            if file.format not in SNDFILE:
                raise InputError(
                    f"{part.name} is {file.format}, which we do not read: convert it to wav or flac"
                )
            known = file.frames < UNKNOWN and not (file.format == "MP3" and not _mp3_says(part))
            return Decoder(part, file.samplerate, file.channels, file.frames if known else None)
    except (soundfile.LibsndfileError, TypeError):  # TypeError: headerless, going by the suffix
        pass
    try:
        import av
    except ImportError:
        raise InputError(f"{part.name} is damaged or not audio we can read ({READ}; {EXTRA})") from None
    with _errors(part), closing(_container(part)) as container:
        if not container.streams.audio:
            raise InputError(f"{part.name} has no sound in it")
        stream = container.streams.audio[0]
        samples = None
        if container.format.name in LENGTH_IS_KNOWN and (container.duration or 0) > 0:
            samples = int(Fraction(container.duration, av.time_base) * stream.rate)
        return Decoder(part, stream.rate, stream.codec_context.channels, samples, ffmpeg=True)


def _sndfile(part: Part) -> soundfile.SoundFile:
    return soundfile.SoundFile(part.path if part.plain else part.open())


def _sndfile_blocks(part: Part) -> Iterator[np.ndarray]:
    try:
        with _sndfile(part) as file:
            size = max(1, BLOCK // file.channels)
            while len(block_SC := file.read(size, dtype="float32", always_2d=True)):
                yield block_SC
    except soundfile.LibsndfileError:
        raise InputError(f"{part.name} is damaged or cut short") from None


def _mp3_says(part: Part) -> bool:
    """Whether an mp3 states its length; otherwise libsndfile guesses."""
    with part.open() as file:
        head = file.read(10)
        if head[:3] == b"ID3":
            a, b, c, d = head[6:10]
            file.seek(10 + (a << 21 | b << 14 | c << 7 | d))
        head = file.read(4096)
        return b"Xing" in head or b"Info" in head


def _ffmpeg_blocks(part: Part) -> Iterator[np.ndarray]:
    from av.audio.resampler import AudioResampler

    with _errors(part), closing(_container(part)) as container:
        stream = container.streams.audio[0]
        as_float = AudioResampler(format="fltp", rate=stream.rate)
        for frame in container.decode(stream):
            for converted in as_float.resample(frame):
                yield converted.to_ndarray().T
        for converted in as_float.resample(None):
            yield converted.to_ndarray().T


def _container(part: Part) -> Any:
    import av

    source = str(part.path) if part.plain else part.open()
    return av.open(
        source, options={"format_whitelist": FFMPEG, "protocol_whitelist": "file"}, metadata_errors="replace"
    )


class _errors:
    """Turn FFmpeg's errors into InputError."""

    def __init__(self, part: Part):
        self._name = part.name

    def __enter__(self) -> None: ...

    def __exit__(self, _, error: BaseException | None, __) -> None:
        from av.error import FFmpegError

        if isinstance(error, FFmpegError):
            raise InputError(f"{self._name} is damaged or not audio we can read") from None
