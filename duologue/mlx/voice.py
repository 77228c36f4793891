"""The source-filter vocoder (`codec/voice.py`).

Metal has no float64: the phase is an integer in units of 2**-32 turns, which accumulates without error.
"""

import math
from dataclasses import dataclass

import mlx.core as mx
import mlx.nn as nn

from duologue.codec.voice import HIGHEST, HIGHEST_GAIN, LOWEST, LOWEST_GAIN, MIDDLE, NOISE, fold, noise
from duologue.mlx.state import State, keep

TURN = 2.0**32


@dataclass
class VoiceState(State):
    """Of each slot: the source's phase (uint32) and its pitch in Hz, the filters and sources of before, and the samples
    made since the noise last repeated."""

    phase_B: mx.array
    hertz_B: mx.array
    filters_BPF: mx.array
    past_BPS: mx.array
    clock_B: mx.array

    def fresh(self, name: str) -> float:
        return MIDDLE if name == "hertz_B" else 0


class SourceFilter(nn.Module):
    """Features `[B, T, D]`, one per `samples` samples, to waveform `[B, T * samples]`."""

    def __init__(self, dim: int, samples: int, taps: int, sample_rate: int):
        super().__init__()
        self.samples, self.taps, self.sample_rate = samples, taps, sample_rate
        self.bins = taps // 2 + 1
        self.size = 2 ** math.ceil(math.log2(samples + 2 * taps - 2))
        self.linear = nn.Linear(dim, 1 + 2 * self.bins)
        self._noise, self._fold = mx.array(noise()), mx.array(fold(taps))

    def __call__(self, x_BTD: mx.array) -> mx.array:
        return self.step(self.init_state(len(x_BTD)), x_BTD)

    def init_state(self, batch: int) -> VoiceState:
        return VoiceState(
            mx.zeros(batch, mx.uint32),
            mx.full(batch, MIDDLE),
            mx.zeros((batch, 2, self.size // 2 + 1), mx.complex64),
            mx.zeros((batch, 2, self.taps - 1)),
            mx.zeros(batch, mx.int32),
        )

    def step(self, state: VoiceState, x_BTD: mx.array, exec_B: mx.array | None = None) -> mx.array:
        batch, count, _ = x_BTD.shape
        y_BTN = self.linear(x_BTD)
        gains_BTPF = y_BTN[..., 1:].reshape(batch, count, 2, self.bins)
        filters_BTPF = self._filters(mx.clip(gains_BTPF, LOWEST_GAIN, HIGHEST_GAIN))
        pulse_BS = self._pulses(state, y_BTN[..., 0], exec_B)
        source_BPS = mx.stack([pulse_BS, self._noises(state, count * self.samples, exec_B)], 1)
        seen_BPS = mx.concatenate([state.past_BPS, source_BPS], -1)
        at_TS = self.samples * mx.arange(count)[:, None] + mx.arange(self.taps - 1 + self.samples)
        spectrum_BTPF = mx.fft.rfft(mx.take(seen_BPS, at_TS, -1), self.size).swapaxes(1, 2)
        before_BTPF = mx.concatenate([state.filters_BPF[:, None], filters_BTPF[:, :-1]], 1)
        heard = slice(self.taps - 1, self.taps - 1 + self.samples)
        old_BTS, new_BTS = (
            mx.fft.irfft((filters * spectrum_BTPF).sum(2), self.size)[..., heard]
            for filters in (before_BTPF, filters_BTPF)
        )
        share_S = mx.arange(1, self.samples + 1) / self.samples
        state.filters_BPF = keep(state.filters_BPF, filters_BTPF[:, -1], exec_B)
        state.past_BPS = keep(state.past_BPS, seen_BPS[..., -(self.taps - 1) :], exec_B)
        return (old_BTS + share_S * (new_BTS - old_BTS)).reshape(batch, -1)

    def _pulses(self, state: VoiceState, pitch_BT: mx.array, exec_B: mx.array | None) -> mx.array:
        """All harmonics below half the sample rate, in phase, of unit power; the pitch is interpolated."""
        hertz_BT = MIDDLE * 2 ** mx.clip(pitch_BT, LOWEST, HIGHEST)
        before_BT = mx.concatenate([state.hertz_B[:, None], hertz_BT[:, :-1]], 1)
        n_S = mx.arange(1, self.samples + 1).astype(mx.float32)
        change_BT1 = (hertz_BT - before_BT)[..., None] / self.samples
        turns_BTS = (before_BT[..., None] * n_S + change_BT1 * (n_S * (n_S + 1) / 2)) / self.sample_rate
        ends_BT = turns_BTS[..., -1]
        # Integer overflow drops whole turns.
        ends_BT = ((ends_BT - mx.floor(ends_BT)) * TURN).astype(mx.uint32)
        ends_BT = state.phase_B[:, None] + mx.cumsum(ends_BT, 1)
        starts_BT = mx.concatenate([state.phase_B[:, None], ends_BT[:, :-1]], 1)
        phase_BTS = (starts_BT.astype(mx.float32) / TURN)[..., None] + turns_BTS
        phase_BTS = math.pi * (phase_BTS - mx.round(phase_BTS))
        count_BTS = mx.floor(self.sample_rate / 2 / (before_BT[..., None] + change_BT1 * n_S))
        below_BTS = mx.sin(phase_BTS)
        near = mx.abs(below_BTS) < 1e-4
        pulse_BTS = mx.sin((2 * count_BTS + 1) * phase_BTS) / (2 * mx.where(near, 1.0, below_BTS)) - 0.5
        pulse_BTS = mx.where(near, count_BTS, pulse_BTS) * mx.sqrt(2 / count_BTS)
        state.phase_B = keep(state.phase_B, ends_BT[:, -1], exec_B)
        state.hertz_B = keep(state.hertz_B, hertz_BT[:, -1], exec_B)
        return pulse_BTS.reshape(len(pulse_BTS), -1)

    def _noises(self, state: VoiceState, count: int, exec_B: mx.array | None) -> mx.array:
        at_BS = (state.clock_B[:, None] + mx.arange(count)) % NOISE
        state.clock_B = keep(state.clock_B, (state.clock_B + count) % NOISE, exec_B)
        return self._noise[at_BS]

    def _filters(self, gains_BTPF: mx.array) -> mx.array:
        """Of minimum phase (folded cepstrum), as spectra of `size`."""
        cepstrum = mx.fft.irfft(gains_BTPF.astype(mx.complex64), self.taps) * self._fold
        impulse = mx.fft.irfft(mx.exp(mx.fft.rfft(cepstrum)), self.taps)
        return mx.fft.rfft(impulse, self.size)
