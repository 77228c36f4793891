"""Whisper's encoder, made causal (`codec/whisper.py`), channels last."""

from dataclasses import dataclass

import mlx.core as mx
import mlx.nn as nn

from duologue.audio.mel import mel_filterbank
from duologue.codec.whisper import BINS, FLOOR, HOP, POSITION, WINDOW, positions, window
from duologue.config import TransformerConfig, WhisperConfig
from duologue.mlx.conv import CausalConv1d, ConvState
from duologue.mlx.layers import gelu
from duologue.mlx.spectrum import Filterbank, power_spectrum, unfold
from duologue.mlx.state import State, keep
from duologue.mlx.transformer import Transformer, TransformerState


@dataclass
class WhisperState(State):
    past_BS: mx.array  # samples that the next windows still need
    conv1: ConvState
    conv2: ConvState
    position_B: mx.array  # int32, within the period
    transformer: TransformerState
    stack: ConvState


class WhisperEncoder(nn.Module):
    """Waveforms `[B, S]` at 24 kHz to latents `[B, T, D]`, one a frame of `frame_size` samples."""

    def __init__(self, config: WhisperConfig, frame_size: int):
        super().__init__()
        if frame_size % POSITION:
            raise ValueError(f"frames of {frame_size} samples are no multiple of a position of {POSITION}")
        self.each = frame_size // POSITION
        self.period = config.period
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
                block=self.each,
            )
        )
        self.norm = nn.LayerNorm(config.dim, eps=1e-5)
        self.stack = CausalConv1d(config.dim, config.dim, self.each, self.each)
        self.filterbank = Filterbank(mel_filterbank(2 * BINS - 2, config.mels, 16_000))
        self._window = mx.array(window())
        self._positions_PD = mx.array(positions(config.period, config.dim))

    def __call__(self, wav_BS: mx.array) -> mx.array:
        x_BTC = self.log_mel(mx.pad(wav_BS, [(0, 0), (WINDOW - HOP, 0)]))
        x_BTD = gelu(self.conv2(gelu(self.conv1(x_BTC))))
        x_BTD = x_BTD + self._positions_PD[mx.arange(x_BTD.shape[1]) % self.period]
        return self.stack(self.norm(self.transformer(x_BTD)))

    def init_state(self, batch: int) -> WhisperState:
        return WhisperState(
            mx.zeros((batch, WINDOW - HOP)),
            self.conv1.init_state(batch),
            self.conv2.init_state(batch),
            mx.zeros(batch, mx.int32),
            self.transformer.init_state(batch, self.each),
            self.stack.init_state(batch),
        )

    def step(self, state: WhisperState, wav_BS: mx.array, exec_B: mx.array | None = None) -> mx.array:
        """The next frame's samples `[B, frame_size]` to its latents `[B, 1, D]`."""
        wav_BS = mx.concatenate([state.past_BS, wav_BS], -1)
        state.past_BS = keep(state.past_BS, wav_BS[:, -(WINDOW - HOP) :], exec_B)
        x_BTD = gelu(self.conv1.step(state.conv1, self.log_mel(wav_BS), exec_B))
        x_BTD = gelu(self.conv2.step(state.conv2, x_BTD, exec_B))
        at_BT = (state.position_B[:, None] + mx.arange(self.each)) % self.period
        state.position_B = keep(state.position_B, (state.position_B + self.each) % self.period, exec_B)
        x_BTD = self.transformer.step(state.transformer, x_BTD + self._positions_PD[at_BT], exec_B)
        return self.stack.step(state.stack, self.norm(x_BTD), exec_B)

    def log_mel(self, wav_BS: mx.array) -> mx.array:
        """Whisper's log-mel spectrum `[B, T, M]` of every whole window of 25 ms, 100 a second."""
        power_BTF = power_spectrum(unfold(wav_BS, WINDOW, HOP) * self._window, BINS)
        return mx.log10(mx.maximum(self.filterbank(power_BTF), FLOOR)) / 4 + 1
