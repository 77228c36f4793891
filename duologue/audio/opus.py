"""Opus on the wire: an Ogg stream in chunks, in both directions. Needs the extra `serve`."""

from typing import Any

import numpy as np

from duologue.audio.framing import SAMPLE_RATE
from duologue.errors import InputError

PIECE = 512  # bytes decoded at a time, so that a message is refused before all of it is in memory


def _sphn() -> Any:
    try:
        import sphn
    except ImportError:
        raise InputError("Opus on the wire needs the extra: pip install 'duologue[serve]'") from None
    return sphn


class OpusReader:
    """Decodes an Ogg Opus stream in chunks that are cut anywhere."""

    def __init__(self, rate: int = SAMPLE_RATE):
        self._reader = _sphn().OpusStreamReader(rate)
        self._rate = rate

    def push(self, data: bytes, most: float = 60.0) -> np.ndarray:
        """The samples (float32 `[S]`) that `data` completes. Raises InputError if it is not Ogg Opus, or more than
        `most` seconds: a few bytes of Opus can hold minutes of silence."""
        parts: list[np.ndarray] = []
        samples = 0
        for start in range(0, len(data), PIECE):
            try:
                parts.append(self._reader.append_bytes(data[start : start + PIECE]))
            except BaseException as error:
                if isinstance(error, Exception) or type(error).__name__ == "PanicException":
                    raise InputError("the sound is no Ogg Opus stream") from None
                raise
            samples += parts[-1].size
            if samples > most * self._rate:
                raise InputError(f"a message holds more than {most:.0f} s of sound")
        return np.concatenate(parts) if parts else np.zeros(0, np.float32)


class OpusWriter:
    """Encodes frames into one Ogg Opus stream, with its headers before the first."""

    def __init__(self, rate: int = SAMPLE_RATE):
        self._writer = _sphn().OpusStreamWriter(rate)

    def push(self, frame_S: np.ndarray) -> bytes:
        """The bytes of a frame (float32 `[1920]`)."""
        return self._writer.append_pcm(np.ascontiguousarray(frame_S, np.float32))
