"""SEANet: the convolutions of Mimi (`codec/seanet.py`), channels last."""

from dataclasses import dataclass

import mlx.core as mx
import mlx.nn as nn

from duologue.config import SeanetConfig
from duologue.mlx.conv import CausalConv1d, CausalConvTranspose1d, ConvState, ConvTransposeState
from duologue.mlx.layers import elu
from duologue.mlx.state import State


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

    def __call__(self, x_BTC: mx.array) -> mx.array:
        return x_BTC + self.conv2(elu(self.conv1(elu(x_BTC))))

    def init_state(self, batch: int) -> BlockState:
        return BlockState(self.conv1.init_state(batch))

    def step(self, state: BlockState, x_BTC: mx.array, exec_B: mx.array | None = None) -> mx.array:
        return x_BTC + self.conv2(elu(self.conv1.step(state.conv1, elu(x_BTC), exec_B)))


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
        self.blocks = [ResidualBlock(config, channels, i) for i in range(config.residual_layers)]
        self.down = CausalConv1d(channels, 2 * channels, 2 * ratio, ratio)

    def __call__(self, x_BTC: mx.array) -> mx.array:
        for block in self.blocks:
            x_BTC = block(x_BTC)
        return self.down(elu(x_BTC))

    def init_state(self, batch: int) -> EncoderStageState:
        return EncoderStageState(
            [block.init_state(batch) for block in self.blocks], self.down.init_state(batch)
        )

    def step(self, state: EncoderStageState, x_BTC: mx.array, exec_B: mx.array | None = None) -> mx.array:
        for block, block_state in zip(self.blocks, state.blocks, strict=True):
            x_BTC = block.step(block_state, x_BTC, exec_B)
        return self.down.step(state.down, elu(x_BTC), exec_B)


class DecoderStage(nn.Module):
    """A transposed convolution that halves the channels, then residual blocks."""

    def __init__(self, config: SeanetConfig, channels: int, ratio: int):
        super().__init__()
        self.up = CausalConvTranspose1d(channels, channels // 2, 2 * ratio, ratio)
        self.blocks = [ResidualBlock(config, channels // 2, i) for i in range(config.residual_layers)]

    def __call__(self, x_BTC: mx.array) -> mx.array:
        x_BTC = self.up(elu(x_BTC))
        for block in self.blocks:
            x_BTC = block(x_BTC)
        return x_BTC

    def init_state(self, batch: int) -> DecoderStageState:
        return DecoderStageState(
            self.up.init_state(batch), [block.init_state(batch) for block in self.blocks]
        )

    def step(self, state: DecoderStageState, x_BTC: mx.array, exec_B: mx.array | None = None) -> mx.array:
        x_BTC = self.up.step(state.up, elu(x_BTC), exec_B)
        for block, block_state in zip(self.blocks, state.blocks, strict=True):
            x_BTC = block.step(block_state, x_BTC, exec_B)
        return x_BTC


class Seanet(nn.Module):
    """Stem convolution, stages, head convolution. Lengths must be multiples of the product of the strides."""

    stem: CausalConv1d
    stages: list
    head: CausalConv1d

    def __call__(self, x_BTC: mx.array) -> mx.array:
        x_BTC = self.stem(x_BTC)
        for stage in self.stages:
            x_BTC = stage(x_BTC)
        return self.head(elu(x_BTC))

    def init_state(self, batch: int) -> SeanetState:
        stages = [stage.init_state(batch) for stage in self.stages]
        return SeanetState(self.stem.init_state(batch), stages, self.head.init_state(batch))

    def step(self, state: SeanetState, x_BTC: mx.array, exec_B: mx.array | None = None) -> mx.array:
        x_BTC = self.stem.step(state.stem, x_BTC, exec_B)
        for stage, stage_state in zip(self.stages, state.stages, strict=True):
            x_BTC = stage.step(stage_state, x_BTC, exec_B)
        return self.head.step(state.head, elu(x_BTC), exec_B)


class Encoder(Seanet):
    """Waveform `[B, S, 1]` to latents `[B, S / hop, D]`."""

    def __init__(self, config: SeanetConfig):
        super().__init__()
        widths = [config.filters * 2**i for i in range(len(config.ratios) + 1)]
        ratios = reversed(config.ratios)
        self.stem = CausalConv1d(1, widths[0], config.kernel)
        self.stages = [EncoderStage(config, w, r) for w, r in zip(widths, ratios, strict=False)]
        self.head = CausalConv1d(widths[-1], config.dim, config.last_kernel)


class Decoder(Seanet):
    """Latents `[B, T, D]` to waveform `[B, T * hop, 1]`."""

    def __init__(self, config: SeanetConfig):
        super().__init__()
        widths = [config.filters * 2**i for i in range(len(config.ratios), -1, -1)]
        self.stem = CausalConv1d(config.dim, widths[0], config.kernel)
        self.stages = [DecoderStage(config, w, r) for w, r in zip(widths, config.ratios, strict=False)]
        self.head = CausalConv1d(widths[-1], 1, config.last_kernel)
