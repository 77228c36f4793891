"""A module in place of `sounddevice`: a microphone that hums, a speaker that keeps what it is given."""

import threading
import time
import types

import numpy as np


class PortAudioError(Exception):
    pass


class Machine:
    """The devices of a machine. `rates`: what they can do; `missing`: what PortAudio says when there are none."""

    def __init__(self, rates=(24_000,), missing: str = "", hum: float = 300.0):
        self.rates, self.missing, self.hum = rates, missing, hum
        self.played: list[np.ndarray] = []
        self.streams: list[Stream] = []
        self.module = types.ModuleType("sounddevice")
        self.module.__dict__.update(
            PortAudioError=PortAudioError,
            Stream=lambda **options: Stream(self, **options),
            check_input_settings=self._check,
            check_output_settings=self._check,
            play=self._play,
            query_devices=lambda **_: {"default_samplerate": float(rates[0])},
        )

    def _check(self, channels: int, samplerate: int) -> None:
        if self.missing or samplerate not in self.rates:
            raise PortAudioError(self.missing or "Invalid sample rate", -9997)

    def _play(self, wav_S: np.ndarray, samplerate: int, blocking: bool) -> None:
        if self.missing:
            raise PortAudioError(self.missing, -1)
        assert samplerate in self.rates
        assert blocking, "the program would end before the sound"
        self.played.append(wav_S)

    @property
    def played_S(self) -> np.ndarray:
        return np.concatenate(self.played) if self.played else np.zeros(1, np.float32)


class Stream:
    latency = (0.01, 0.02)

    def __init__(self, machine: Machine, samplerate, blocksize, channels, dtype, latency, callback):
        if machine.missing:
            raise PortAudioError(machine.missing, -1)
        assert (channels, dtype) == (1, "float32")
        self.machine, self.rate, self.block, self.callback = machine, samplerate, blocksize, callback
        self.going, self.closed = False, False
        self.thread = threading.Thread(target=self._run, daemon=True)
        machine.streams.append(self)

    def start(self) -> None:
        self.going = True
        self.thread.start()

    def stop(self) -> None:
        self.going = False
        self.thread.join()

    def close(self) -> None:
        self.closed = True

    def _run(self) -> None:
        sent, began = 0, time.monotonic()
        while self.going:
            at = (np.arange(self.block) + sent) / self.rate
            recorded = (0.3 * np.sin(2 * np.pi * self.machine.hum * at)).astype(np.float32)
            played = np.full((self.block, 1), np.nan, np.float32)
            self.callback(recorded[:, None], played, self.block, None, None)
            self.machine.played.append(played[:, 0])
            sent += self.block
            time.sleep(max(0.0, began + sent / self.rate - time.monotonic()))
