"""Recordings in requests and in responses."""

import asyncio
import io
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np
import soundfile
from starlette.types import Message, Receive

from duologue.audio.files import mono, open_audio
from duologue.audio.opus import OpusWriter
from duologue.errors import InputError
from duologue.serve.link import Pcm16

LARGEST = 64 << 20  # bytes of a recording
SLACK = 1 << 20  # bytes of a form besides its recording
LONGEST_SECONDS = 4 * 3600.0  # seconds of one

# libsndfile's format and the media type of each.
WHOLE = {"flac": ("FLAC", "PCM_16"), "mp3": ("MP3", "MPEG_LAYER_III")}
MEDIA = {
    "mp3": "audio/mpeg",
    "opus": "audio/ogg",
    "aac": "audio/aac",
    "flac": "audio/flac",
    "wav": "audio/wav",
    "pcm": "audio/pcm",
}


NEEDS_PYAV = {"aac"}


class TooBig(InputError):
    """A recording is larger than allowed."""


def limited(receive: Receive) -> Receive:
    """`receive` of a request that raises TooBig if the body is larger than a recording and its form fields."""
    size = 0

    async def within() -> Message:
        nonlocal size
        message = await receive()
        size += len(message.get("body", b""))
        if size > LARGEST + SLACK:
            raise TooBig(f"a recording is at most {LARGEST >> 20} MiB")
        return message

    return within


class Received:
    """A recording in a file that is removed with `close`. It was decoded once to its end: it is whole, and `seconds`
    long. No more than a block of it is in memory."""

    def __init__(self, path: Path, rate: int, seconds: float):
        self.seconds = seconds
        self._path, self._rate = path, rate

    async def blocks(self) -> AsyncIterator[np.ndarray]:
        """Its samples, float32 `[S]`."""
        blocks = open_audio(self._path, self._rate).blocks()
        while (block_CS := await asyncio.to_thread(next, blocks, None)) is not None:
            yield mono(block_CS)

    def close(self) -> None:
        self._path.unlink(missing_ok=True)


async def received_sound(stream: AsyncIterator[bytes], rate: int, decoding: asyncio.Semaphore) -> Received:
    """A recording of any container. Raises InputError for what is none, and TooBig."""
    with tempfile.NamedTemporaryFile(prefix="duologue-", delete=False) as file:
        path, size = Path(file.name), 0
        try:
            async for chunk in stream:
                size += len(chunk)
                if size > LARGEST:
                    raise TooBig(f"a recording is at most {LARGEST >> 20} MiB")
                file.write(chunk)
            file.flush()
            if not size:
                raise InputError("there is no recording")
            async with decoding:
                return Received(path, rate, await asyncio.to_thread(_seconds, path, rate))
        except BaseException as error:
            path.unlink(missing_ok=True)
            if isinstance(error, InputError):
                raise type(error)(str(error).replace(file.name, "the recording")) from None
            raise


def _seconds(path: Path, rate: int) -> float:
    samples = 0
    for block_CS in open_audio(path, rate).blocks():
        samples += block_CS.shape[1]
        if samples > LONGEST_SECONDS * rate:
            raise TooBig(f"a recording is at most {LONGEST_SECONDS / 3600:.0f} hours long")
    return samples / rate


class AacWriter:
    """Encodes mono sound to AAC in ADTS frames, as browsers and FFmpeg play it. Needs PyAV."""

    def __init__(self, rate: int):
        import av

        self._buffer = io.BytesIO()
        self._container = av.open(self._buffer, "w", format="adts")
        self._stream = self._container.add_stream("aac", rate=rate, layout="mono")
        self._new_frame, self._rate = av.AudioFrame.from_ndarray, rate

    def push(self, wav_S: np.ndarray) -> bytes:
        frame = self._new_frame(np.ascontiguousarray(wav_S[None], np.float32), "fltp", "mono")
        frame.sample_rate = self._rate
        self._container.mux(self._stream.encode(frame))
        return self._taken()

    def finish(self) -> bytes:
        self._container.mux(self._stream.encode(None))
        self._container.close()
        return self._taken()

    def _taken(self) -> bytes:
        data = self._buffer.getvalue()
        self._buffer.seek(0)
        self._buffer.truncate()
        return data


class Encoder:
    """Encodes speech incrementally: pcm and opus at once; aac, flac and mp3 in the blocks of their encoder."""

    def __init__(self, form: str, rate: int):
        self._form, self._rate = form, rate
        self._opus = OpusWriter(rate) if form == "opus" else None
        self._aac = AacWriter(rate) if form == "aac" else None
        self._buffer, self._sent = io.BytesIO(), 0
        self._file: soundfile.SoundFile | None = None
        if form in WHOLE:
            container, encoding = WHOLE[form]
            self._file = soundfile.SoundFile(
                cast(BinaryIO, self._buffer), "w", rate, 1, encoding, format=container
            )

    def push(self, wav_S: np.ndarray) -> bytes:
        """The bytes of a frame; perhaps none yet."""
        if self._opus is not None:
            return self._opus.push(wav_S)
        if self._aac is not None:
            return self._aac.push(wav_S)
        if self._file is None:
            return Pcm16.write(wav_S)
        self._file.write(wav_S)
        return self._rest() if self._form == "mp3" else b""

    def finish(self) -> bytes:
        """The last bytes."""
        if self._aac is not None:
            return self._aac.finish()
        if self._file is None:
            return b""
        self._file.close()
        return self._rest()

    def _rest(self) -> bytes:
        data = self._buffer.getbuffer()[self._sent :].tobytes()
        self._sent += len(data)
        return data
