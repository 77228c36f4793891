"""Causal convolutions, channels last (`nn/conv.py`)."""

from dataclasses import dataclass

import mlx.core as mx
import mlx.nn as nn

from duologue.mlx.device import on_gpu
from duologue.mlx.state import State, keep, per_slot


@dataclass
class ConvState(State):
    past_BTC: mx.array  # the inputs that the next window still needs
    started_B: mx.array  # bool: whether the slot has seen a first input


class CausalConv1d(nn.Conv1d):
    """Convolution over the present and the past only. Weights are `[out, kernel, in]`."""

    def __init__(
        self,
        channels_in: int,
        channels_out: int,
        kernel: int,
        stride: int = 1,
        dilation: int = 1,
        bias: bool = True,
        pad: str = "zeros",
    ):
        super().__init__(channels_in, channels_out, kernel, stride, dilation=dilation, bias=bias)
        self.channels_in = channels_in
        self.past = (kernel - 1) * dilation + 1 - stride
        self.pad = pad

    def __call__(self, x_BTC: mx.array) -> mx.array:
        mode = "edge" if self.pad == "edge" else "constant"
        return self._windows(mx.pad(x_BTC, [(0, 0), (self.past, 0), (0, 0)], mode))

    def _windows(self, x_BTC: mx.array) -> mx.array:
        """The outputs of all whole windows. On a CPU as a matrix product, which takes half the time there."""
        if on_gpu():
            return super().__call__(x_BTC)
        (batch, steps, channels), (rows, kernel, _) = x_BTC.shape, self.weight.shape
        count = (steps - (kernel - 1) * self.dilation - 1) // self.stride + 1
        strides = [steps * channels, self.stride * channels, self.dilation * channels, 1]
        window_BTKC = mx.as_strided(mx.contiguous(x_BTC), [batch, count, kernel, channels], strides)
        y_BTC = window_BTKC.reshape(batch, count, -1) @ self.weight.reshape(rows, -1).T
        return y_BTC + self.bias if "bias" in self else y_BTC

    def init_state(self, batch: int) -> ConvState:
        return ConvState(mx.zeros((batch, self.past, self.channels_in)), mx.zeros(batch, mx.bool_))

    def step(self, state: ConvState, x_BTC: mx.array, exec_B: mx.array | None = None) -> mx.array:
        """The outputs that `x_BTC` completes: `T / stride` of them."""
        if not self.past:
            return self._windows(x_BTC)
        past_BTC = state.past_BTC
        if self.pad == "edge":
            past_BTC = mx.where(per_slot(state.started_B, past_BTC), past_BTC, x_BTC[:, :1])
            state.started_B = keep(state.started_B, mx.ones_like(state.started_B), exec_B)
        x_BTC = mx.concatenate([past_BTC, x_BTC], 1)
        state.past_BTC = keep(state.past_BTC, x_BTC[:, -self.past :], exec_B)
        return self._windows(x_BTC)


@dataclass
class ConvTransposeState(State):
    tail_BTC: mx.array  # what past inputs add to the next outputs


class CausalConvTranspose1d(nn.Module):
    """Transposed convolution whose right overhang is trimmed (offline) or added to the next outputs (streamed).

    One matrix product gives the window of every input, `kernel` outputs; windows `stride` apart are added up. Weights
    are `[in, kernel, out / groups]`; `groups` is 1 or all channels, the kernel a multiple of the stride.
    """

    def __init__(
        self,
        channels_in: int,
        channels_out: int,
        kernel: int,
        stride: int,
        groups: int = 1,
        bias: bool = True,
    ):
        super().__init__()
        if kernel % stride or groups not in (1, channels_in):
            raise ValueError(f"kernel {kernel}, stride {stride}, groups {groups}")
        self.weight = mx.zeros((channels_in, kernel, channels_out // groups))
        if bias:
            self.bias = mx.zeros(channels_out)
        self.stride, self.depthwise = stride, groups > 1
        self.channels_out = channels_out
        self.overhang = kernel - stride

    def _overlapped(self, x_BTC: mx.array) -> mx.array:
        """The sum of all windows, `[B, T * stride + overhang, C]`, without the bias."""
        batch, steps, channels = x_BTC.shape
        if self.depthwise:
            windows = x_BTC[:, :, None] * self.weight[..., 0].T
        else:
            windows = x_BTC @ self.weight.reshape(channels, -1)
        parts = 1 + self.overhang // self.stride
        windows = windows.reshape(batch, steps, parts, self.stride, self.channels_out)
        shifted = [
            mx.pad(windows[:, :, i], [(0, 0), (i, parts - 1 - i), (0, 0), (0, 0)]) for i in range(parts)
        ]
        return sum(shifted[1:], shifted[0]).reshape(batch, -1, self.channels_out)

    def _biased(self, y_BTC: mx.array) -> mx.array:
        return y_BTC + self.bias if "bias" in self else y_BTC

    def __call__(self, x_BTC: mx.array) -> mx.array:
        return self._biased(self._overlapped(x_BTC)[:, : x_BTC.shape[1] * self.stride])

    def init_state(self, batch: int) -> ConvTransposeState:
        return ConvTransposeState(mx.zeros((batch, self.overhang, self.channels_out)))

    def step(self, state: ConvTransposeState, x_BTC: mx.array, exec_B: mx.array | None = None) -> mx.array:
        """The `T * stride` outputs that are final."""
        y_BTC = self._overlapped(x_BTC)
        y_BTC = y_BTC + mx.pad(state.tail_BTC, [(0, 0), (0, y_BTC.shape[1] - self.overhang), (0, 0)])
        done = x_BTC.shape[1] * self.stride
        state.tail_BTC = keep(state.tail_BTC, y_BTC[:, done:], exec_B)
        return self._biased(y_BTC[:, :done])
