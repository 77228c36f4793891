"""Convert chunks of any length into frames of exactly 1920 samples."""

import numpy as np

SAMPLE_RATE = 24_000
FRAME_SIZE = 1920
FRAME_RATE = SAMPLE_RATE / FRAME_SIZE
FRAME_SECONDS = FRAME_SIZE / SAMPLE_RATE


def frame_count(samples: int, frame_size: int = FRAME_SIZE) -> int:
    """How many frames hold `samples` samples, the last one filled up with silence."""
    return -(-samples // frame_size)


def pad_to_frames(wav_XS: np.ndarray, frame_size: int = FRAME_SIZE) -> np.ndarray:
    """`wav_XS` with silence at its end (the last axis) up to a whole number of frames."""
    samples = wav_XS.shape[-1]
    missing = frame_count(samples, frame_size) * frame_size - samples
    return np.pad(wav_XS, [(0, 0)] * (wav_XS.ndim - 1) + [(0, missing)])


class Framer:
    """Cuts a stream of chunks into frames; samples that do not fill a frame wait for the next chunk."""

    def __init__(self, frame_size: int = FRAME_SIZE):
        self.frame_size = frame_size
        self._waiting_S = np.zeros(0, np.float32)

    def push(self, chunk_S: np.ndarray) -> np.ndarray:
        """The frames that `chunk_S` completes: float32 [frames, frame_size], often none."""
        stream_S = np.concatenate([self._waiting_S, np.asarray(chunk_S, np.float32)])
        whole = stream_S.size // self.frame_size * self.frame_size
        self._waiting_S = stream_S[whole:].copy()
        return stream_S[:whole].reshape(-1, self.frame_size)

    def flush(self) -> np.ndarray:
        """The waiting samples padded with silence: float32 [0 or 1, frame_size]. Empties the framer."""
        rest_S, self._waiting_S = self._waiting_S, np.zeros(0, np.float32)
        return pad_to_frames(rest_S, self.frame_size).reshape(-1, self.frame_size)

    @property
    def waiting(self) -> int:
        """Number of waiting samples."""
        return self._waiting_S.size
