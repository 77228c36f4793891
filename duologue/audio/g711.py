"""Telephone sound: G.711 (8 bits a sample at 8 kHz) to and from samples at 24 kHz, in chunks."""

import numpy as np

RATIO = 3  # 24 kHz / 8 kHz
TAPS = 121  # of the resampling filter: 2.5 ms of delay
CUTOFF = 3600.0 / 24_000  # of the sample rate


class G711:
    """A decoder (`read`) and an encoder (`write`), each with its filter's state between chunks. Raises ValueError if
    `law` is neither "ulaw" nor "alaw"."""

    def __init__(self, law: str):
        if law not in ("ulaw", "alaw"):
            raise ValueError(f"no law of G.711: {law}")
        self._value_256 = _ulaw() if law == "ulaw" else _alaw()
        self._byte = np.argsort(self._value_256, kind="stable").astype(np.uint8)
        value = self._value_256[self._byte]
        self._between = (value[1:] + value[:-1]) / 2
        self._filter = np.kaiser(TAPS, 6.0) * np.sinc(2 * CUTOFF * (np.arange(TAPS) - TAPS // 2))
        self._filter /= self._filter.sum()
        self._read_S, self._written_S = np.zeros(TAPS - 1), np.zeros(TAPS - 1)

    def read(self, data: bytes) -> np.ndarray:
        """The samples at 24 kHz (float32 `[S]`), three for each byte."""
        stuffed_S = np.zeros(RATIO * len(data))
        stuffed_S[::RATIO] = RATIO / 32768 * self._value_256[np.frombuffer(data, np.uint8)]
        wav_S, self._read_S = self._filtered(self._read_S, stuffed_S)
        return wav_S.astype(np.float32)

    def write(self, wav_S: np.ndarray) -> bytes:
        """The bytes of samples at 24 kHz (a multiple of three)."""
        wav_S, self._written_S = self._filtered(self._written_S, wav_S)
        return self._byte[np.searchsorted(self._between, 32768 * wav_S[::RATIO])].tobytes()

    def _filtered(self, before_S: np.ndarray, wav_S: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        whole_S = np.concatenate([before_S, wav_S])
        return np.convolve(whole_S, self._filter, "valid"), whole_S[whole_S.size - TAPS + 1 :]


def _ulaw() -> np.ndarray:
    """The 16-bit value of each byte (ITU-T G.711, table 2)."""
    byte = ~np.arange(256) & 0xFF
    size = ((((byte & 15) << 3) + 132) << (byte >> 4 & 7)) - 132
    return np.where(byte & 128, -size, size).astype(np.float64)


def _alaw() -> np.ndarray:
    """The 16-bit value of each byte (ITU-T G.711, table 1)."""
    byte = np.arange(256) ^ 0x55
    exponent = byte >> 4 & 7
    size = (((byte & 15) << 4) + 8 + 256 * (exponent > 0)) << np.maximum(exponent - 1, 0)
    return np.where(byte & 128, size, -size).astype(np.float64)
