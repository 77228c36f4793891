"""The decoder whose layers all run at 100 Hz (`codec/frames.py`), channels last."""

from dataclasses import dataclass

import mlx.core as mx
import mlx.nn as nn

from duologue.config import FramesConfig
from duologue.mlx.layers import LayerScale, gelu
from duologue.mlx.state import State, keep
from duologue.mlx.voice import SourceFilter, VoiceState


@dataclass
class FrameBlockState(State):
    past_BTC: mx.array


@dataclass
class FramesState(State):
    blocks: list[FrameBlockState]
    voice: VoiceState


class FrameBlock(nn.Module):
    """A causal depthwise convolution and a two-layer perceptron beside an identity."""

    def __init__(self, width: int, hidden: int, kernel: int, blocks: int):
        super().__init__()
        self.width, self.past = width, kernel - 1
        self.near = nn.Conv1d(width, width, kernel, groups=width)
        self.norm = nn.LayerNorm(width)
        self.linear_in = nn.Linear(width, hidden)
        self.linear_out = nn.Linear(hidden, width)
        self.scale = LayerScale(width, 1 / blocks)

    def __call__(self, x_BTC: mx.array) -> mx.array:
        return self._mix(x_BTC, mx.pad(x_BTC, [(0, 0), (self.past, 0), (0, 0)]))

    def init_state(self, batch: int) -> FrameBlockState:
        return FrameBlockState(mx.zeros((batch, self.past, self.width)))

    def step(self, state: FrameBlockState, x_BTC: mx.array, exec_B: mx.array | None = None) -> mx.array:
        seen_BTC = mx.concatenate([state.past_BTC, x_BTC], 1)
        state.past_BTC = keep(state.past_BTC, seen_BTC[:, -self.past :], exec_B)
        return self._mix(x_BTC, seen_BTC)

    def _mix(self, x_BTC: mx.array, seen_BTC: mx.array) -> mx.array:
        hidden_BTH = gelu(self.linear_in(self.norm(self.near(seen_BTC))))
        return x_BTC + self.scale(self.linear_out(hidden_BTH))


class FrameDecoder(nn.Module):
    """Latents `[B, T, D]` to waveform `[B, T * hop, 1]` (as SEANet's)."""

    def __init__(self, config: FramesConfig, dim: int, hop: int, sample_rate: int):
        super().__init__()
        self.steps = hop // config.samples
        self.spread = nn.Linear(dim, self.steps * config.width)
        self.blocks = [
            FrameBlock(config.width, config.hidden, config.kernel, config.blocks)
            for _ in range(config.blocks)
        ]
        self.norm = nn.LayerNorm(config.width)
        self.voice = SourceFilter(config.width, config.samples, config.taps, sample_rate)

    def __call__(self, z_BTD: mx.array) -> mx.array:
        x_BTC = self._spread(z_BTD)
        for block in self.blocks:
            x_BTC = block(x_BTC)
        return self.voice(self.norm(x_BTC))[..., None]

    def init_state(self, batch: int) -> FramesState:
        return FramesState([block.init_state(batch) for block in self.blocks], self.voice.init_state(batch))

    def step(self, state: FramesState, z_BTD: mx.array, exec_B: mx.array | None = None) -> mx.array:
        x_BTC = self._spread(z_BTD)
        for block, block_state in zip(self.blocks, state.blocks, strict=True):
            x_BTC = block.step(block_state, x_BTC, exec_B)
        return self.voice.step(state.voice, self.norm(x_BTC), exec_B)[..., None]

    def _spread(self, z_BTD: mx.array) -> mx.array:
        """The positions of each latent, one after the other."""
        x_BTN = self.spread(z_BTD)
        return x_BTN.reshape(len(x_BTN), x_BTN.shape[1] * self.steps, -1)
