"""A source-filter vocoder: pulses at the pitch and noise, each through a filter that changes every `samples` samples.

A decoder then only has to learn a pitch and two spectral envelopes, which are smooth and slow. It does not have to
learn phases, which take a waveform network most of its training. (Harmonics and noise: Serra and Smith 1990; learned
controls: DDSP, arXiv 2001.04643.) It is causal: filters have minimum phase, and one fades into the next.
"""

import math
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from torch import Tensor, nn

from duologue.nn.initial import normal_
from duologue.nn.linear import Linear
from duologue.nn.state import State, keep

MIDDLE = 200.0  # Hz: pitch 0; each octave is 1
LOWEST, HIGHEST = -2.0, 1.5  # octaves
QUIET = -5.0  # natural logarithm of a filter's initial gain
LOWEST_GAIN, HIGHEST_GAIN = -100.0, 4.0  # inaudible; far too loud
NOISE = 2**16  # samples after which the noise repeats


@dataclass
class VoiceState(State):
    """Of each slot: the source's phase in turns and its pitch in Hz, the filters and sources of before, and the samples
    made so far."""

    phase_B: Tensor
    hertz_B: Tensor
    filters_BPF2: Tensor  # real and imaginary parts
    past_BPS: Tensor
    clock_B: Tensor

    def fresh(self, name: str) -> float:
        return MIDDLE if name == "hertz_B" else 0


class SourceFilter(nn.Module):
    """Features `[B, T, D]`, one per `samples` samples, to waveform `[B, T * samples]`.

    P is the two parts, pulses and noise; F the bins of their filters, which have `taps` samples.
    """

    def __init__(self, dim: int, samples: int, taps: int, sample_rate: int):
        super().__init__()
        self.samples, self.taps, self.sample_rate = samples, taps, sample_rate
        self.bins = taps // 2 + 1
        self.size = 2 ** math.ceil(
            math.log2(samples + 2 * taps - 2)
        )  # of transforms without circular wrap-around
        self.linear = Linear(dim, 1 + 2 * self.bins)
        normal_(self.linear.weight, 0.1 / dim**0.5)
        nn.init.zeros_(self.linear.bias)
        nn.init.constant_(self.linear.bias[1:], QUIET)
        # From numpy, so that they have values even on the meta device.
        self.register_buffer("noise", torch.from_numpy(noise()), persistent=False)
        self.register_buffer("fold", torch.from_numpy(fold(taps)), persistent=False)
        self.noise: Tensor
        self.fold: Tensor

    def controls(self, x_BTD: Tensor) -> tuple[Tensor, Tensor]:
        """Pitch `[B, T]` in octaves from 200 Hz, and the logarithms of the filters' gains `[B, T, P, F]`."""
        y = self.linear(x_BTD).float()  # the transforms do not support bfloat16
        return y[..., 0], y[..., 1:].unflatten(-1, (2, self.bins)).clamp(LOWEST_GAIN, HIGHEST_GAIN)

    def forward(self, x_BTD: Tensor, pitch_BT: Tensor | None = None) -> Tensor:
        """`pitch_BT` replaces the pitch of the features: in training, the original's."""
        found_BT, gains_BTPF = self.controls(x_BTD)
        pitch_BT = found_BT if pitch_BT is None else pitch_BT
        return self._render(self.init_state(len(x_BTD)), pitch_BT.detach(), gains_BTPF, None)

    def init_state(self, batch: int) -> VoiceState:
        new = self.linear.weight.new_zeros
        return VoiceState(
            new(batch, dtype=torch.float64),
            new(batch) + MIDDLE,
            new(batch, 2, self.size // 2 + 1, 2),
            new(batch, 2, self.taps - 1),
            new(batch, dtype=torch.int64),
        )

    def step(self, state: VoiceState, x_BTD: Tensor, exec_B: Tensor | None = None) -> Tensor:
        return self._render(state, *self.controls(x_BTD), exec_B)

    def _render(
        self, state: VoiceState, pitch_BT: Tensor, gains_BTPF: Tensor, exec_B: Tensor | None
    ) -> Tensor:
        source_BPS = torch.stack(
            [self._pulses(state, pitch_BT, exec_B), self._noises(state, pitch_BT, exec_B)], 1
        )
        seen_BPS = torch.cat([state.past_BPS, source_BPS], -1)
        windows_BTPS = seen_BPS.unfold(-1, self.taps - 1 + self.samples, self.samples).transpose(1, 2)
        spectrum_BTPF2 = parts(torch.fft.rfft(windows_BTPS, self.size))
        filters_BTPF2 = self._filters(gains_BTPF)
        before_BTPF2 = torch.cat([state.filters_BPF2[:, None], filters_BTPF2[:, :-1]], 1)
        both = torch.stack([before_BTPF2, filters_BTPF2])
        whole = torch.fft.irfft(summed_products(both, spectrum_BTPF2), self.size)
        old_BTS, new_BTS = whole[..., self.taps - 1 : self.taps - 1 + self.samples]
        keep(state.filters_BPF2, filters_BTPF2[:, -1].detach(), exec_B)
        keep(state.past_BPS, seen_BPS[..., -(self.taps - 1) :], exec_B)
        return torch.lerp(old_BTS, new_BTS, ramps(self.samples, old_BTS.device)[2]).flatten(1)

    def _pulses(self, state: VoiceState, pitch_BT: Tensor, exec_B: Tensor | None) -> Tensor:
        """All harmonics below half the sample rate, in phase, of unit power; the pitch is interpolated."""
        # Not `2 **`: its rounding depends on the position in the tensor, so on the other slots of the batch.
        hertz_BT = MIDDLE * (math.log(2) * pitch_BT.clamp(LOWEST, HIGHEST)).exp()
        before_BT = torch.cat([state.hertz_B[:, None], hertz_BT[:, :-1]], 1)
        before_BT1, change_BT1 = before_BT[..., None], (hertz_BT - before_BT)[..., None] / self.samples
        n_S, sum_S, _ = ramps(self.samples, pitch_BT.device)
        turns_BTS = (before_BT1 * n_S + change_BT1 * sum_S) / self.sample_rate
        ends_BT = state.phase_B[:, None] + turns_BTS[..., -1].double().cumsum(1)
        starts_BT = torch.cat([state.phase_B[:, None], ends_BT[:, :-1]], 1)
        phase_BTS = (starts_BT % 1).to(turns_BTS.dtype)[..., None] + turns_BTS
        phase_BTS = math.pi * (phase_BTS - phase_BTS.round())
        count_BTS = (self.sample_rate / 2 / (before_BT1 + change_BT1 * n_S)).floor()
        below_BTS = phase_BTS.sin()
        near = below_BTS.abs() < 1e-4
        below_BTS = 2 * below_BTS.masked_fill(near, 1)
        pulse_BTS = ((2 * count_BTS + 1) * phase_BTS).sin() / below_BTS - 0.5
        pulse_BTS = torch.where(near, count_BTS, pulse_BTS) * (2 / count_BTS).sqrt()
        keep(state.phase_B, ends_BT[:, -1] % 1, exec_B)
        keep(state.hertz_B, hertz_BT[:, -1], exec_B)
        return pulse_BTS.flatten(1)

    def _noises(self, state: VoiceState, pitch_BT: Tensor, exec_B: Tensor | None) -> Tensor:
        count = pitch_BT.shape[1] * self.samples
        at_BS = (state.clock_B[:, None] + torch.arange(count, device=pitch_BT.device)) % NOISE
        keep(state.clock_B, state.clock_B + count, exec_B)
        return self.noise[at_BS]

    def _filters(self, gains_BTPF: Tensor) -> Tensor:
        """Of minimum phase (folded cepstrum), as spectra of `size`, `[B, T, P, F, 2]`."""
        cepstrum = torch.fft.irfft(gains_BTPF, self.taps) * self.fold
        real, angle = parts(torch.fft.rfft(cepstrum)).unbind(-1)
        gain = real.exp()
        impulse = torch.fft.irfft(torch.complex(gain * angle.cos(), gain * angle.sin()), self.taps)
        return parts(torch.fft.rfft(impulse, self.size))


# Complex numbers as pairs of real ones: ONNX has no others.


def parts(x: Tensor) -> Tensor:
    """Real and imaginary parts of complex numbers `[...]`, `[..., 2]`."""
    return torch.view_as_real(x)


def summed_products(a_BTPF2: Tensor, b_BTPF2: Tensor) -> Tensor:
    """The sums over P of products, as complex numbers `[..., F]`."""
    a, b = a_BTPF2.unbind(-1), b_BTPF2.unbind(-1)
    real, imaginary = a[0] * b[0] - a[1] * b[1], a[0] * b[1] + a[1] * b[0]
    return torch.complex(real.sum(-2), imaginary.sum(-2))


def fold(taps: int) -> np.ndarray:
    """Weights that make a cepstrum causal."""
    weights = np.zeros(taps, np.float32)
    weights[[0, taps // 2]] = 1
    weights[1 : taps // 2] = 2
    return weights


@cache
def ramps(samples: int, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """For each of `samples` samples: its number from 1, the sum of the numbers up to it, its number / `samples`."""
    with torch.inference_mode(False):  # they are used in training
        n_S = torch.arange(1, samples + 1, device=device, dtype=torch.float32)
        return n_S, n_S * (n_S + 1) / 2, n_S / samples


def noise() -> np.ndarray:
    """White noise of unit power, the same in every slot: a hash of the sample's number."""
    x = np.arange(NOISE, dtype=np.uint32) + np.uint32(0x9E3779B9)
    for shift, factor in ((16, 0x7FEB352D), (15, 0x846CA68B)):
        x = (x ^ (x >> np.uint32(shift))) * np.uint32(factor)
    x ^= x >> np.uint32(16)
    return (x / 2**32 * 2 - 1).astype(np.float32) * np.float32(3**0.5)
