"""The frame decoder: all its layers run at 100 Hz, and a source-filter vocoder makes 240 samples of each output.

No layer runs at the rate of samples, so on a CPU it learns and runs several times faster than SEANet's transposed
convolutions. The blocks are those of ConvNeXt vocoders (Vocos, arXiv 2306.00814). They predict the pitch and filters of
`codec.voice`, not a waveform.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from duologue.codec.voice import SourceFilter, VoiceState
from duologue.config import FramesConfig
from duologue.nn.linear import Linear, WeightCache
from duologue.nn.mlp import gelu
from duologue.nn.norm import LayerScale
from duologue.nn.stack import Stack
from duologue.nn.state import State, keep


@dataclass
class FrameBlockState(State):
    past_BTC: Tensor


@dataclass
class FramesState(State):
    blocks: list[FrameBlockState]
    voice: VoiceState


class FrameBlock(nn.Module):
    """A causal depthwise convolution and a two-layer perceptron beside an identity."""

    def __init__(self, width: int, hidden: int, kernel: int, blocks: int):
        super().__init__()
        self.past = kernel - 1
        self.near = nn.Conv1d(width, width, kernel, groups=width)
        self.near_KC = WeightCache(self.near, _upright)
        self.norm = nn.LayerNorm(width)
        self.linear_in = Linear(width, hidden)
        self.linear_out = Linear(hidden, width)
        self.scale = LayerScale(width, 1 / blocks)

    def forward(self, x_BTC: Tensor) -> Tensor:
        seen_BTC = F.pad(x_BTC, (0, 0, self.past, 0))
        near_BTC = self.near(seen_BTC.transpose(1, 2)).transpose(1, 2)
        return x_BTC + self.scale(self._mix(near_BTC))

    def init_state(self, batch: int) -> FrameBlockState:
        return FrameBlockState(self.near.weight.new_zeros(batch, self.past, len(self.near.weight)))

    def step(self, state: FrameBlockState, x_BTC: Tensor, exec_B: Tensor | None = None) -> Tensor:
        seen_BTC = torch.cat([state.past_BTC, x_BTC], 1)
        keep(state.past_BTC, seen_BTC[:, -self.past :], exec_B)
        return torch.addcmul(x_BTC, self.scale.scale, self._mix(self._near(seen_BTC)))

    def _near(self, seen_BTC: Tensor) -> Tensor:
        """The convolution for the few positions of a frame: each window, viewed in place, times the weights. (The
        kernel for many positions transposes its input first, which takes several times as long.)"""
        window_BTKC = seen_BTC.unfold(1, self.past + 1, 1).transpose(2, 3)
        traced = torch.is_grad_enabled() or torch.compiler.is_compiling()
        weight_KC = _upright(self.near) if traced else self.near_KC.get()
        assert self.near.bias is not None
        return (window_BTKC * weight_KC).sum(2).add_(self.near.bias)

    def _mix(self, near_BTC: Tensor) -> Tensor:
        return self.linear_out(gelu(self.linear_in(self.norm(near_BTC))))


def _upright(conv: nn.Conv1d) -> Tensor:
    return conv.weight[:, 0].T.contiguous()


class FrameDecoder(nn.Module):
    """Latents `[B, D, T]` to waveform `[B, 1, T * hop]`; a step `[B, T, D]` to `[B, T * hop, 1]` (as SEANet's)."""

    def __init__(self, config: FramesConfig, dim: int, hop: int, sample_rate: int):
        super().__init__()
        self.steps = hop // config.samples
        self.spread = Linear(dim, self.steps * config.width)
        self.blocks = Stack(
            FrameBlock(config.width, config.hidden, config.kernel, config.blocks)
            for _ in range(config.blocks)
        )
        self.norm = nn.LayerNorm(config.width)
        self.voice = SourceFilter(config.width, config.samples, config.taps, sample_rate)

    def forward(self, z_BDT: Tensor) -> Tensor:
        return self.voice(self.features(z_BDT))[:, None]

    def features(self, z_BDT: Tensor) -> Tensor:
        """Features for `voice`, `[B, T', C]`: a row per `samples` samples."""
        x_BTC = self._spread(z_BDT.transpose(1, 2))
        for block in self.blocks:
            x_BTC = block(x_BTC)
        return self.norm(x_BTC)

    def init_state(self, batch: int) -> FramesState:
        return FramesState([block.init_state(batch) for block in self.blocks], self.voice.init_state(batch))

    def step(self, state: FramesState, z_BTD: Tensor, exec_B: Tensor | None = None) -> Tensor:
        x_BTC = self._spread(z_BTD)
        for block, block_state in zip(self.blocks, state.blocks, strict=True):
            x_BTC = block.step(block_state, x_BTC, exec_B)
        return self.voice.step(state.voice, self.norm(x_BTC), exec_B)[..., None]

    def _spread(self, z_BTD: Tensor) -> Tensor:
        return self.spread(z_BTD).unflatten(-1, (self.steps, -1)).flatten(1, 2)
