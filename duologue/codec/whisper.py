"""Whisper's encoder (arXiv 2212.04356), made causal so that it can run on a stream.

What differs from Whisper: windows, convolutions and attention see the past and the present frame only (attention the
last few seconds); loudness is not normalised by the loudest moment of a recording; and the sinusoidal position
embeddings have periods that divide `period` positions, so that they repeat without a discontinuity and a conversation
may last for hours. The input is not resampled from 24 kHz: windows of 600 samples have the same 40 Hz bins as Whisper's
400 at 16 kHz.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from duologue.audio.mel import hann, mel_filterbank
from duologue.config import TransformerConfig, WhisperConfig
from duologue.nn.conv import CausalConv1d, ConvState
from duologue.nn.mlp import gelu
from duologue.nn.spectrum import Filterbank, power_spectrum
from duologue.nn.state import State, keep
from duologue.nn.transformer import Transformer, TransformerState

WINDOW, HOP = 600, 240  # samples at 24 kHz: 25 and 10 ms
BINS = 201  # of 40 Hz, up to 8 kHz
LOUDER = WINDOW / 400  # ratio of the magnitudes of these windows to Whisper's
FLOOR = 1e-6  # power; Whisper's is 80 dB below the loudest moment
POSITION = 2 * HOP  # samples


@dataclass
class WhisperState(State):
    past_BS: Tensor  # samples that the next windows still need
    conv1: ConvState
    conv2: ConvState
    position_B: Tensor
    transformer: TransformerState
    stack: ConvState


class WhisperEncoder(nn.Module):
    """Waveforms `[B, S]` at 24 kHz to latents `[B, D, T]`, one a frame of `frame_size` samples.

    The positions of a frame (20 ms each) attend to each other.
    """

    def __init__(self, config: WhisperConfig, frame_size: int):
        super().__init__()
        if frame_size % POSITION:
            raise ValueError(f"frames of {frame_size} samples are no multiple of a position of {POSITION}")
        self.config = config
        each = frame_size // POSITION
        self.conv1 = CausalConv1d(config.mels, config.dim, 3)
        self.conv2 = CausalConv1d(config.dim, config.dim, 3, 2)
        self.transformer = Transformer(
            TransformerConfig(
                config.dim,
                config.heads,
                config.layers,
                config.feedforward,
                config.context,
                positions="none",
                bias=True,
                block=each,
            )
        )
        self.norm = nn.LayerNorm(config.dim, eps=1e-5)
        self.stack = CausalConv1d(config.dim, config.dim, each, each)
        self.filterbank = Filterbank(mel_filterbank(2 * BINS - 2, config.mels, 16_000))
        # From numpy, so that they have values even on the meta device.
        self.register_buffer("window", torch.from_numpy(window()), False)
        self.register_buffer("positions_PD", torch.from_numpy(positions(config.period, config.dim)), False)
        self.window: Tensor
        self.positions_PD: Tensor

    def forward(self, wav_BS: Tensor, start: int | None = None) -> Tensor:
        """`start` is the number of the first position; in training a random one unless given."""
        return self.stack(self.states(wav_BS, start).transpose(1, 2))

    def states(self, wav_BS: Tensor, start: int | None = None) -> Tensor:
        """Output of Whisper's layers, `[B, T, D]`, 50 a second."""
        if start is None:
            start = int(torch.randint(self.config.period, ())) if self.training else 0
        x_BTM = self.log_mel(F.pad(wav_BS, (WINDOW - HOP, 0)))
        x_BDT = F.gelu(self.conv2(F.gelu(self.conv1(x_BTM.transpose(1, 2)))))
        at_T = torch.arange(start, start + x_BDT.shape[-1], device=wav_BS.device) % self.config.period
        x_BTD = self.transformer(x_BDT.transpose(1, 2) + self.positions_PD[at_T])
        return self.norm(x_BTD)

    def init_state(self, batch: int) -> WhisperState:
        new = self.window.new_zeros
        return WhisperState(
            new(batch, WINDOW - HOP),
            self.conv1.init_state(batch),
            self.conv2.init_state(batch),
            new(batch, dtype=torch.int64),
            self.transformer.init_state(batch, self.stack.stride[0]),
            self.stack.init_state(batch),
        )

    def step(self, state: WhisperState, wav_BS: Tensor, exec_B: Tensor | None = None) -> Tensor:
        """The next frame's samples `[B, frame_size]` to its latents `[B, 1, D]`."""
        wav_BS = torch.cat([state.past_BS, wav_BS], -1)
        keep(state.past_BS, wav_BS[:, -(WINDOW - HOP) :], exec_B)
        x_BTD = gelu(self.conv1.step(state.conv1, self.log_mel(wav_BS), exec_B))
        x_BTD = gelu(self.conv2.step(state.conv2, x_BTD, exec_B))
        at_BT = state.position_B[:, None] + torch.arange(x_BTD.shape[1], device=wav_BS.device)
        keep(state.position_B, state.position_B + x_BTD.shape[1], exec_B)
        x_BTD = x_BTD + self.positions_PD[at_BT % self.config.period]
        x_BTD = self.norm(self.transformer.step(state.transformer, x_BTD, exec_B))
        return self.stack.step(state.stack, x_BTD, exec_B)

    def log_mel(self, wav_BS: Tensor) -> Tensor:
        """Whisper's log-mel spectrum `[B, T, M]` of every whole window of 25 ms, 100 a second."""
        power_BTF = power_spectrum(wav_BS.unfold(-1, WINDOW, HOP) * self.window, BINS)
        return self.filterbank(power_BTF).clamp(min=FLOOR).log10() / 4 + 1


def window() -> np.ndarray:
    """The window function `[WINDOW]`, scaled to the magnitudes of Whisper's."""
    return hann(WINDOW) / np.float32(LOUDER)


def positions(period: int, dim: int) -> np.ndarray:
    """Whisper's sinusoids, `[period, dim]`, each rounded to the nearest frequency with a whole number of waves per
    period."""
    half = dim // 2
    radians_D = np.exp(-math.log(10_000) / (half - 1) * np.arange(half))
    waves_D = np.round(radians_D * period / (2 * np.pi))
    turns_PD = np.arange(period)[:, None] * waves_D / period
    angle_PD = 2 * np.pi * (turns_PD % 1)
    return np.concatenate([np.sin(angle_PD), np.cos(angle_PD)], 1).astype(np.float32)
