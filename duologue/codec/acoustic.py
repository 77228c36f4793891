"""The acoustic encoder: pitch, loudness and timbre, from spectra of the sound.

It complements an encoder that carries the words (`codec.whisper`), whose states hold little of the voice.
"""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from duologue.audio.mel import hann, mel_filterbank
from duologue.codec.frames import FrameBlock, FrameBlockState
from duologue.config import AcousticConfig
from duologue.nn.conv import CausalConv1d, ConvState
from duologue.nn.linear import Linear
from duologue.nn.spectrum import Filterbank, power_spectrum
from duologue.nn.stack import Stack
from duologue.nn.state import State, keep

WINDOW, HOP = 2048, 240  # samples at 24 kHz: long enough to resolve harmonics, 100 spectra a second
BINS = WINDOW // 2 + 1
LOW_BINS = 128  # of 11.7 Hz, up to 1.5 kHz: where the pitch is read
MELS = 80
FLOOR = 1e-3  # magnitude


@dataclass
class AcousticState(State):
    past_BS: Tensor
    blocks: list[FrameBlockState]
    stack: ConvState


class AcousticEncoder(nn.Module):
    """Waveforms `[B, S]` at 24 kHz to latents `[B, D, T]`, one a frame of `frame_size` samples."""

    def __init__(self, config: AcousticConfig, frame_size: int):
        super().__init__()
        each = frame_size // HOP
        self.inp = Linear(LOW_BINS + 2 * MELS, config.width)
        self.blocks = Stack(
            FrameBlock(config.width, config.hidden, config.kernel, config.blocks)
            for _ in range(config.blocks)
        )
        self.norm = nn.LayerNorm(config.width)
        self.stack = CausalConv1d(config.width, config.width, each, each)
        self.filterbank = Filterbank(mel_filters())
        # From numpy, so that they have values even on the meta device.
        self.register_buffer("windows", torch.from_numpy(windows()), False)
        self.windows: Tensor

    def forward(self, wav_BS: Tensor) -> Tensor:
        x_BTC = self.inp(self.spectra(F.pad(wav_BS, (WINDOW - HOP, 0))))
        for block in self.blocks:
            x_BTC = block(x_BTC)
        return self.stack(self.norm(x_BTC).transpose(1, 2))

    def init_state(self, batch: int) -> AcousticState:
        past_BS = self.windows.new_zeros(batch, WINDOW - HOP)
        blocks = [block.init_state(batch) for block in self.blocks]
        return AcousticState(past_BS, blocks, self.stack.init_state(batch))

    def step(self, state: AcousticState, wav_BS: Tensor, exec_B: Tensor | None = None) -> Tensor:
        """The next frame's samples `[B, frame_size]` to its latents `[B, 1, D]`."""
        wav_BS = torch.cat([state.past_BS, wav_BS], -1)
        keep(state.past_BS, wav_BS[:, -(WINDOW - HOP) :], exec_B)
        x_BTC = self.inp(self.spectra(wav_BS))
        for block, block_state in zip(self.blocks, state.blocks, strict=True):
            x_BTC = block.step(block_state, x_BTC, exec_B)
        return self.stack.step(state.stack, self.norm(x_BTC), exec_B)

    def spectra(self, wav_BS: Tensor) -> Tensor:
        """Logarithms `[B, T, C]` of every whole window: low bins and mels of 85 ms, and mels of its last 21 ms."""
        seen_BTWS = wav_BS.unfold(-1, WINDOW, HOP)[:, :, None] * self.windows
        magnitude_BTWF = power_spectrum(seen_BTWS, BINS).sqrt()
        mels_BTM = self.filterbank(magnitude_BTWF).flatten(2)
        found = torch.cat([magnitude_BTWF[:, :, 0, :LOW_BINS], mels_BTM], -1)
        return (found + FLOOR).log() / 4 + 1


def windows() -> np.ndarray:
    """The long window, and the short one at its end; each of unit power, `[2, WINDOW]`."""
    both = np.stack([hann(WINDOW), np.pad(hann(WINDOW // 4), (WINDOW * 3 // 4, 0))])
    return both / np.sqrt(np.square(both).sum(1, keepdims=True))


def mel_filters() -> np.ndarray:
    """Means of the magnitudes of bands, `[BINS, MELS]`."""
    filters_FM = mel_filterbank(WINDOW, MELS, 24_000)
    return filters_FM / filters_FM.sum(0).clip(1e-9)
