"""SEANet: the convolutions of Mimi (section 3.3.1 of the Moshi paper), 24 kHz to 25 Hz and back.

Offline, ELU works in place where its input is not needed again: half of the time goes into memory traffic.
"""

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor, nn

from duologue.config import SeanetConfig
from duologue.nn.conv import CausalConv1d, CausalConvTranspose1d, ConvState, ConvTransposeState
from duologue.nn.stack import Stack
from duologue.nn.state import State


@dataclass
class BlockState(State):
    conv1: ConvState


class ResidualBlock(nn.Module):
    """A dilated and a pointwise convolution beside an identity."""

    def __init__(self, config: SeanetConfig, channels: int, index: int):
        super().__init__()
        hidden = channels // config.compress
        self.conv1 = CausalConv1d(
            channels, hidden, config.residual_kernel, dilation=config.dilation_base**index
        )
        self.conv2 = CausalConv1d(hidden, channels, 1)

    def forward(self, x_BCT: Tensor) -> Tensor:
        return self.conv2(F.elu_(self.conv1(F.elu(x_BCT)))).add_(x_BCT)

    def init_state(self, batch: int) -> BlockState:
        return BlockState(self.conv1.init_state(batch))

    def step(self, state: BlockState, x_BTC: Tensor, exec_B: Tensor | None = None) -> Tensor:
        hidden_BTC = self.conv1.step(state.conv1, F.elu(x_BTC), exec_B)
        return x_BTC + self.conv2.product(F.elu(hidden_BTC))


@dataclass
class EncoderStageState(State):
    blocks: list[BlockState]
    down: ConvState


@dataclass
class DecoderStageState(State):
    up: ConvTransposeState
    blocks: list[BlockState]


@dataclass
class SeanetState(State):
    stem: ConvState
    stages: list[EncoderStageState] | list[DecoderStageState]
    head: ConvState


class EncoderStage(nn.Module):
    """Residual blocks, then a strided convolution that doubles the channels."""

    def __init__(self, config: SeanetConfig, channels: int, ratio: int):
        super().__init__()
        self.blocks = Stack(ResidualBlock(config, channels, i) for i in range(config.residual_layers))
        self.down = CausalConv1d(channels, 2 * channels, 2 * ratio, ratio)

    def forward(self, x_BCT: Tensor) -> Tensor:
        for block in self.blocks:
            x_BCT = block(x_BCT)
        return self.down(F.elu_(x_BCT))

    def init_state(self, batch: int) -> EncoderStageState:
        return EncoderStageState(
            [block.init_state(batch) for block in self.blocks], self.down.init_state(batch)
        )

    def step(self, state: EncoderStageState, x_BTC: Tensor, exec_B: Tensor | None = None) -> Tensor:
        for block, block_state in zip(self.blocks, state.blocks, strict=True):
            x_BTC = block.step(block_state, x_BTC, exec_B)
        return self.down.step(state.down, F.elu(x_BTC), exec_B)


class DecoderStage(nn.Module):
    """A transposed convolution that halves the channels, then residual blocks."""

    def __init__(self, config: SeanetConfig, channels: int, ratio: int):
        super().__init__()
        self.up = CausalConvTranspose1d(channels, channels // 2, 2 * ratio, ratio)
        self.blocks = Stack(ResidualBlock(config, channels // 2, i) for i in range(config.residual_layers))

    def forward(self, x_BCT: Tensor) -> Tensor:
        x_BCT = self.up(F.elu_(x_BCT))
        for block in self.blocks:
            x_BCT = block(x_BCT)
        return x_BCT

    def init_state(self, batch: int) -> DecoderStageState:
        return DecoderStageState(
            self.up.init_state(batch), [block.init_state(batch) for block in self.blocks]
        )

    def step(self, state: DecoderStageState, x_BTC: Tensor, exec_B: Tensor | None = None) -> Tensor:
        x_BTC = self.up.step(state.up, F.elu(x_BTC), exec_B)
        for block, block_state in zip(self.blocks, state.blocks, strict=True):
            x_BTC = block.step(block_state, x_BTC, exec_B)
        return x_BTC


class Seanet(nn.Module):
    """Stem convolution, stages, head convolution. Lengths must be multiples of the product of the strides.

    Offline `[B, C, T]`, a step `[B, T, C]`: see `nn.conv`.
    """

    stem: CausalConv1d
    stages: Stack
    head: CausalConv1d

    def forward(self, x_BCT: Tensor) -> Tensor:
        x_BCT = self.stem(x_BCT)
        for stage in self.stages:
            x_BCT = stage(x_BCT)
        return self.head(F.elu_(x_BCT))

    def init_state(self, batch: int) -> SeanetState:
        stages = [stage.init_state(batch) for stage in self.stages]
        return SeanetState(self.stem.init_state(batch), stages, self.head.init_state(batch))

    def step(self, state: SeanetState, x_BTC: Tensor, exec_B: Tensor | None = None) -> Tensor:
        x_BTC = self.stem.step(state.stem, x_BTC, exec_B)
        for stage, stage_state in zip(self.stages, state.stages, strict=True):
            x_BTC = stage.step(stage_state, x_BTC, exec_B)
        return self.head.step(state.head, F.elu(x_BTC), exec_B)


class Encoder(Seanet):
    """Waveform `[B, 1, S]` to latents `[B, D, S / hop]`; a step `[B, S, 1]` to `[B, S / hop, D]`."""

    def __init__(self, config: SeanetConfig):
        super().__init__()
        widths = [config.filters * 2**i for i in range(len(config.ratios) + 1)]
        ratios = reversed(config.ratios)
        self.stem = CausalConv1d(1, widths[0], config.kernel)
        self.stages = Stack(EncoderStage(config, w, r) for w, r in zip(widths, ratios, strict=False))
        self.head = CausalConv1d(widths[-1], config.dim, config.last_kernel)


class Decoder(Seanet):
    """Latents `[B, D, T]` to waveform `[B, 1, T * hop]`; a step `[B, T, D]` to `[B, T * hop, 1]`."""

    def __init__(self, config: SeanetConfig):
        super().__init__()
        widths = [config.filters * 2**i for i in range(len(config.ratios), -1, -1)]
        self.stem = CausalConv1d(config.dim, widths[0], config.kernel)
        self.stages = Stack(DecoderStage(config, w, r) for w, r in zip(widths, config.ratios, strict=False))
        self.head = CausalConv1d(widths[-1], 1, config.last_kernel)
