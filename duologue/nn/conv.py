"""Causal convolutions that give the same samples offline (`forward`) and frame by frame (`step`).

Offline they are convolutions over `[B, C, T]`. A step maps `[B, T, C]` to `[B, T, C]`: there a window of the input is a
contiguous row, and the few windows of a frame times the weights are one matrix product.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from duologue.nn.linear import Parts, Product
from duologue.nn.state import State, keep, per_slot


@dataclass
class ConvState(State):
    past_BTC: Tensor  # the inputs that the next window still needs
    started_B: Tensor  # bool: whether the slot has seen a first input


class CausalConv1d(nn.Conv1d):
    """Convolution over the present and the past only. `pad`: what precedes the first input, "zeros" or "edge" (the
    first input repeated). Input lengths must be multiples of the stride.
    """

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
        self.past = (kernel - 1) * dilation + 1 - stride
        self.pad = pad
        self.product = Product(self, _window_matrix)

    def forward(self, x_BCT: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        if self.past:
            first_BC1 = x_BCT[..., :1] if self.pad == "edge" else x_BCT.new_zeros(())
            x_BCT = torch.cat([first_BC1.expand(*x_BCT.shape[:-1], self.past), x_BCT], -1)
        return super().forward(x_BCT)

    def init_state(self, batch: int) -> ConvState:
        weight = self.weight
        return ConvState(
            weight.new_zeros(batch, self.past, self.in_channels),
            torch.zeros(batch, dtype=torch.bool, device=weight.device),
        )

    def step(self, state: ConvState, x_BTC: Tensor, exec_B: Tensor | None = None) -> Tensor:
        """The outputs that `x_BTC` completes: `T / stride` of them."""
        if self.past:
            past_BTC = state.past_BTC
            if self.pad == "edge":
                past_BTC = torch.where(per_slot(state.started_B, past_BTC), past_BTC, x_BTC[:, :1])
                keep(state.started_B, torch.ones_like(state.started_B), exec_B)
            x_BTC = torch.cat([past_BTC, x_BTC], 1)
            keep(state.past_BTC, x_BTC[:, -self.past :], exec_B)
        return self.product(self._windows(x_BTC))

    def _windows(self, x_BTC: Tensor) -> Tensor:
        """`[B, T, kernel * C]`: what each output sees."""
        (kernel,), (stride,), (dilation,) = self.kernel_size, self.stride, self.dilation
        if kernel == stride == 1:
            return x_BTC
        windows_BTCK = x_BTC.unfold(1, (kernel - 1) * dilation + 1, stride)
        if dilation > 1:
            windows_BTCK = windows_BTCK[..., ::dilation]
        return windows_BTCK.transpose(2, 3).flatten(2)


def _window_matrix(conv: nn.Conv1d) -> Parts:
    return conv.weight.transpose(1, 2).flatten(1), conv.bias


@dataclass
class ConvTransposeState(State):
    tail_BTC: Tensor  # what past inputs add to the next outputs, in blocks of `stride`


class CausalConvTranspose1d(nn.ConvTranspose1d):
    """Transposed convolution whose right overhang is trimmed (offline) or added to the next outputs (streamed).

    `groups` is 1, or the number of channels (each by itself).
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
        super().__init__(channels_in, channels_out, kernel, stride, groups=groups, bias=bias)
        if groups != 1 and not groups == channels_in == channels_out:
            raise ValueError(f"{groups} groups of {channels_in} channels")
        self.overhang = kernel - stride
        self.blocks = -(-kernel // stride)  # of `stride` outputs, that an input adds to
        self.product = Product(self, _block_matrix)

    def forward(self, x_BCT: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        y_BCT = super().forward(x_BCT)
        return y_BCT[..., : y_BCT.shape[-1] - self.overhang]

    def init_state(self, batch: int) -> ConvTransposeState:
        block = self.stride[0] * self.out_channels
        return ConvTransposeState(self.weight.new_zeros(batch, self.blocks - 1, block))

    def step(self, state: ConvTransposeState, x_BTC: Tensor, exec_B: Tensor | None = None) -> Tensor:
        """The `T * stride` outputs that are final."""
        (stride,), steps = self.stride, x_BTC.shape[1]
        y_BTNC = self._blocks(x_BTC)
        if self.blocks == 1:
            y_BTC = y_BTNC[:, :, 0]
        else:
            y_BTC = torch.cat([state.tail_BTC, torch.zeros_like(y_BTNC[:, :, 0])], 1)
            for i in range(self.blocks):
                y_BTC[:, i : i + steps] += y_BTNC[:, :, i]
            keep(state.tail_BTC, y_BTC[:, steps:], exec_B)
            y_BTC = y_BTC[:, :steps]
        return y_BTC.unflatten(-1, (stride, -1)).flatten(1, 2)

    def _blocks(self, x_BTC: Tensor) -> Tensor:
        """What each input adds to its own and later outputs, `[B, T, blocks, stride * C]`."""
        if self.groups == 1:
            y_BTN = self.product(x_BTC)
        else:
            matrix_NC, bias_N = _block_matrix(self)
            y_BTNC = x_BTC[:, :, None] * matrix_NC
            y_BTN = y_BTNC.flatten(2) if bias_N is None else y_BTNC.flatten(2) + bias_N
        return y_BTN.unflatten(-1, (self.blocks, -1))


def _block_matrix(conv: nn.ConvTranspose1d) -> Parts:
    """A row per output that an input adds to; the kernel is zero-padded to whole blocks. The bias must be added once
    per output, so it is in the first block, which every output has."""
    (kernel,), (stride,) = conv.kernel_size, conv.stride
    short = -kernel % stride
    weight_KOI = F.pad(conv.weight, (0, short)).permute(2, 1, 0)
    matrix = weight_KOI.flatten(0, 1) if conv.groups == 1 else weight_KOI[:, 0]
    if conv.bias is None:
        return matrix, None
    later = conv.bias.new_zeros((kernel + short - stride) * conv.out_channels)
    return matrix, torch.cat([conv.bias.repeat(stride), later])
