"""Causal convolutions that give the same samples offline (`forward`) and frame by frame (`step`)."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .state import State, keep, per_slot


@dataclass
class ConvState(State):
    past_BCT: Tensor  # the inputs that the next window still needs
    started_B: Tensor  # bool: whether the slot has seen a first input


class CausalConv1d(nn.Conv1d):
    """Convolution that sees the present and the past only.

    `pad` says what stands before the first input: "zeros", or "edge" (the first input repeated).
    Input lengths must be multiples of the stride.
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

    def forward(self, x_BCT: Tensor) -> Tensor:
        mode = "replicate" if self.pad == "edge" else "constant"
        return super().forward(F.pad(x_BCT, (self.past, 0), mode) if self.past else x_BCT)

    def init_state(self, batch: int) -> ConvState:
        weight = self.weight
        return ConvState(
            weight.new_zeros(batch, self.in_channels, self.past),
            torch.zeros(batch, dtype=torch.bool, device=weight.device),
        )

    def step(self, state: ConvState, x_BCT: Tensor, exec_B: Tensor | None = None) -> Tensor:
        """The outputs that `x_BCT` completes: `T / stride` of them."""
        if not self.past:
            return super().forward(x_BCT)
        past_BCT = state.past_BCT
        if self.pad == "edge":
            past_BCT = torch.where(per_slot(state.started_B, past_BCT), past_BCT, x_BCT[..., :1])
            keep(state.started_B, torch.ones_like(state.started_B), exec_B)
        x_BCT = torch.cat([past_BCT, x_BCT], -1)
        keep(state.past_BCT, x_BCT[..., -self.past :], exec_B)
        return super().forward(x_BCT)


@dataclass
class ConvTransposeState(State):
    tail_BCT: Tensor  # what past inputs add to the next outputs


class CausalConvTranspose1d(nn.ConvTranspose1d):
    """Transposed convolution whose right overhang is trimmed (offline) or added to the next outputs (streamed)."""

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
        self.overhang = kernel - stride

    def forward(self, x_BCT: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        y_BCT = super().forward(x_BCT)
        return y_BCT[..., : y_BCT.shape[-1] - self.overhang]

    def init_state(self, batch: int) -> ConvTransposeState:
        return ConvTransposeState(self.weight.new_zeros(batch, self.out_channels, self.overhang))

    def step(self, state: ConvTransposeState, x_BCT: Tensor, exec_B: Tensor | None = None) -> Tensor:
        """The `T * stride` outputs that nothing later can change."""
        y_BCT = super().forward(x_BCT)
        if not self.overhang:
            return y_BCT
        y_BCT[..., : self.overhang] += state.tail_BCT
        tail_BCT = y_BCT[..., -self.overhang :]
        if self.bias is not None:  # the bias belongs to an output once, not once a window
            tail_BCT = tail_BCT - self.bias[:, None]
        keep(state.tail_BCT, tail_BCT, exec_B)
        return y_BCT[..., : -self.overhang]
