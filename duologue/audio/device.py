"""Microphone and speaker, in frames of 24 kHz. Needs the extra `mic`, and PortAudio.

PortAudio's thread fills the recording queue and empties the playback queue; both are short, and old sound is dropped,
so that latency stays low.
"""

import threading
from collections import deque
from collections.abc import Callable
from typing import Any

import numpy as np
import soxr

from duologue.audio.framing import SAMPLE_RATE
from duologue.errors import InputError

PIECE_SECONDS = 0.02  # seconds that PortAudio asks for at a time
WAITING_SECONDS = 1.0  # seconds that may wait to be played


class NoDevice(InputError):
    """There is no PortAudio, no microphone or no speaker."""


class Playback:
    """Joins the agent's frames into an endless stream, with silence where no frame arrived in time.

    After a gap it first buffers `hold` extra samples, so that jitter does not cause the next one.
    """

    def __init__(self, hold: int = 0):
        self._hold = hold
        self._waiting: deque[np.ndarray] = deque()
        self._samples = 0
        self._going = False
        self._lock = threading.Lock()

    @property
    def waiting(self) -> int:
        """Samples in the playback queue."""
        return self._samples

    def push(self, wav_S: np.ndarray) -> None:
        """Add a frame, float32 `[S]`. At most a second is queued: the oldest is dropped."""
        with self._lock:
            self._waiting.append(wav_S)
            self._samples += wav_S.size
            while self._samples > WAITING_SECONDS * SAMPLE_RATE:
                self._samples -= self._waiting.popleft().size

    def pull(self, samples: int) -> np.ndarray:
        """The next `samples`, float32."""
        out_S, filled = np.zeros(samples, np.float32), 0
        with self._lock:
            self._going = self._going or self._samples >= samples + self._hold
            while self._going and filled < samples and self._waiting:
                part_S = self._waiting[0][: samples - filled]
                out_S[filled : filled + part_S.size] = part_S
                filled += part_S.size
                self._waiting[0] = self._waiting[0][part_S.size :]
                if not self._waiting[0].size:
                    self._waiting.popleft()
            self._samples -= filled
            self._going = self._going and filled == samples
        return out_S


class Devices:
    """The default microphone and speaker, from `with` to its end. `on_sound` gets what is recorded (float32 `[S]` at
    24 kHz), on PortAudio's thread: it must not block. `play` takes the agent's frames.

    Raises NoDevice if there is nothing to record or play with.
    """

    def __init__(self, on_sound: Callable[[np.ndarray], object], hold: int = 0):
        self._on_sound, self._playback = on_sound, Playback(hold)
        self._stream: Any = None

    @property
    def waiting(self) -> float:
        """Seconds in the playback queue."""
        return self._playback.waiting / SAMPLE_RATE

    @property
    def latency(self) -> float:
        """Latency of the devices in seconds, both ways, as they report it."""
        latency = getattr(self._stream, "latency", 0.0)
        return float(sum(latency)) if isinstance(latency, tuple) else float(latency)

    def play(self, wav_S: np.ndarray) -> None:
        """Queue a frame of the agent."""
        self._playback.push(wav_S)

    def __enter__(self) -> "Devices":
        sounddevice = _sounddevice()
        try:
            self._stream = self._open(sounddevice)
            self._stream.start()
        except (sounddevice.PortAudioError, ValueError) as error:
            raise NoDevice(f"no microphone and speaker can be used: {_reason(error)}") from None
        return self

    def __exit__(self, *_) -> None:
        self._stream.stop()
        self._stream.close()

    def _open(self, sounddevice) -> Any:
        """A stream at 24 kHz; where the device cannot do that, at its own rate."""
        try:
            sounddevice.check_input_settings(channels=1, samplerate=SAMPLE_RATE)
            sounddevice.check_output_settings(channels=1, samplerate=SAMPLE_RATE)
            rate = SAMPLE_RATE
        except sounddevice.PortAudioError:
            rate = int(sounddevice.query_devices(kind="output")["default_samplerate"])
        down, up = _resampler(rate, SAMPLE_RATE), _resampler(SAMPLE_RATE, rate)
        ahead = np.zeros(0, np.float32)  # queued already, except for the resampler's remainder

        def callback(recorded_SC, played_SC, samples, *_) -> None:
            nonlocal ahead
            self._on_sound(down(recorded_SC[:, 0].copy()))
            while ahead.size < samples:
                ahead = np.concatenate([ahead, up(self._playback.pull(round(PIECE_SECONDS * SAMPLE_RATE)))])
            played_SC[:, 0], ahead = ahead[:samples], ahead[samples:]

        return sounddevice.Stream(
            samplerate=rate,
            blocksize=round(PIECE_SECONDS * rate),
            channels=1,
            dtype="float32",
            latency="low",
            callback=callback,
        )


def _resampler(rate_in: int, rate_out: int) -> Callable[[np.ndarray], np.ndarray]:
    if rate_in == rate_out:
        return lambda wav_S: wav_S
    stream = soxr.ResampleStream(rate_in, rate_out, 1, dtype="float32", quality="LQ")
    return stream.resample_chunk


def _reason(error: Exception) -> str:
    """PortAudio's message, on one line."""
    return " ".join(str(error.args[0] if error.args else error).split())


def play_recording(wav_S: np.ndarray) -> None:
    """Plays float32 samples at 24 kHz to their end. Raises NoDevice if there is no speaker."""
    sounddevice = _sounddevice()
    try:
        sounddevice.play(wav_S, SAMPLE_RATE, blocking=True)
    except (sounddevice.PortAudioError, ValueError) as error:
        raise NoDevice(f"no speaker can be used: {_reason(error)}") from None


def _sounddevice() -> Any:
    try:
        import sounddevice
    except ImportError:
        raise NoDevice("microphone and speaker need the extra: pip install 'duologue[mic]'") from None
    except OSError:
        raise NoDevice("PortAudio is not installed (apt-get install libportaudio2)") from None
    return sounddevice
