"""The acoustic encoder (`codec/acoustic.py`), channels last."""

from dataclasses import dataclass

import mlx.core as mx
import mlx.nn as nn

from duologue.codec.acoustic import BINS, FLOOR, HOP, LOW_BINS, MELS, WINDOW, mel_filters, windows
from duologue.config import AcousticConfig
from duologue.mlx.conv import CausalConv1d, ConvState
from duologue.mlx.frames import FrameBlock, FrameBlockState
from duologue.mlx.spectrum import Filterbank, power_spectrum, unfold
from duologue.mlx.state import State, keep


@dataclass
class AcousticState(State):
    past_BS: mx.array
    blocks: list[FrameBlockState]
    stack: ConvState


class AcousticEncoder(nn.Module):
    """Waveforms `[B, S]` at 24 kHz to latents `[B, T, D]`, one a frame of `frame_size` samples."""

    def __init__(self, config: AcousticConfig, frame_size: int):
        super().__init__()
        each = frame_size // HOP
        self.inp = nn.Linear(LOW_BINS + 2 * MELS, config.width)
        self.blocks = [
            FrameBlock(config.width, config.hidden, config.kernel, config.blocks)
            for _ in range(config.blocks)
        ]
        self.norm = nn.LayerNorm(config.width)
        self.stack = CausalConv1d(config.width, config.width, each, each)
        self.filterbank = Filterbank(mel_filters())
        self._windows = mx.array(windows())

    def __call__(self, wav_BS: mx.array) -> mx.array:
        x_BTC = self.inp(self.spectra(mx.pad(wav_BS, [(0, 0), (WINDOW - HOP, 0)])))
        for block in self.blocks:
            x_BTC = block(x_BTC)
        return self.stack(self.norm(x_BTC))

    def init_state(self, batch: int) -> AcousticState:
        past_BS = mx.zeros((batch, WINDOW - HOP))
        blocks = [block.init_state(batch) for block in self.blocks]
        return AcousticState(past_BS, blocks, self.stack.init_state(batch))

    def step(self, state: AcousticState, wav_BS: mx.array, exec_B: mx.array | None = None) -> mx.array:
        """The next frame's samples `[B, frame_size]` to its latents `[B, 1, D]`."""
        wav_BS = mx.concatenate([state.past_BS, wav_BS], -1)
        state.past_BS = keep(state.past_BS, wav_BS[:, -(WINDOW - HOP) :], exec_B)
        x_BTC = self.inp(self.spectra(wav_BS))
        for block, block_state in zip(self.blocks, state.blocks, strict=True):
            x_BTC = block.step(block_state, x_BTC, exec_B)
        return self.stack.step(state.stack, self.norm(x_BTC), exec_B)

    def spectra(self, wav_BS: mx.array) -> mx.array:
        """Logarithms `[B, T, C]` of every whole window: low bins and mels of 85 ms, and mels of its last 21 ms."""
        seen_BTWS = unfold(wav_BS, WINDOW, HOP)[:, :, None] * self._windows
        magnitude_BTWF = mx.sqrt(power_spectrum(seen_BTWS, BINS))
        mels_BTM = self.filterbank(magnitude_BTWF).flatten(2)
        found = mx.concatenate([magnitude_BTWF[:, :, 0, :LOW_BINS], mels_BTM], -1)
        return mx.log(found + FLOOR) / 4 + 1
