"""The codec, Mimi (`codec/mimi.py`)."""

import math
from dataclasses import dataclass
from typing import Any

import mlx.core as mx
import mlx.nn as nn

from duologue.config import CodecConfig
from duologue.mlx.acoustic import AcousticEncoder, AcousticState
from duologue.mlx.conv import CausalConv1d, CausalConvTranspose1d, ConvState, ConvTransposeState
from duologue.mlx.frames import FrameDecoder, FramesState
from duologue.mlx.quantizer import SplitQuantizer
from duologue.mlx.seanet import Decoder, Encoder, SeanetState
from duologue.mlx.state import State
from duologue.mlx.transformer import Transformer, TransformerState
from duologue.mlx.whisper import WhisperEncoder, WhisperState


@dataclass
class EncoderState(State):
    encoder: SeanetState
    transformer: TransformerState
    downsample: ConvState


@dataclass
class TwoEncodersState(State):
    semantic: WhisperState
    acoustic: AcousticState


@dataclass
class DecoderState(State):
    upsample: ConvTransposeState
    transformer: TransformerState
    decoder: SeanetState | FramesState


@dataclass
class CodecState(State):
    """State of both directions for a batch of slots. Either half may be stepped without the other."""

    encode: EncoderState | TwoEncodersState
    decode: DecoderState


class Codec(nn.Module):
    """Waveform `[B, S]` to codes `[B, Q, T]` and back, offline or one frame at a time, in float32."""

    def __init__(self, config: CodecConfig):
        super().__init__()
        self.config = config
        dim, resample = config.seanet.dim, config.resample
        if config.whisper and config.acoustic:
            self.encoder: Any = WhisperEncoder(config.whisper, config.frame_size)
            self.acoustic_encoder = AcousticEncoder(config.acoustic, config.frame_size)
            latent_dim = config.whisper.dim + config.acoustic.width
            self.quantizer = SplitQuantizer(config.quantizer, dim, latent_dim, config.whisper.dim)
        else:
            self.encoder = Encoder(config.seanet)
            self.encoder_transformer = Transformer(config.transformer)
            self.downsample = CausalConv1d(dim, dim, 2 * resample, resample, bias=False, pad="edge")
            self.quantizer = SplitQuantizer(config.quantizer, dim)
        self.upsample = CausalConvTranspose1d(dim, dim, 2 * resample, resample, groups=dim, bias=False)
        self.decoder_transformer = Transformer(config.transformer)
        self.decoder: Any = (
            FrameDecoder(config.frames, dim, config.hop, config.sample_rate)
            if config.frames
            else Decoder(config.seanet)
        )

    # Offline

    def encode(self, wav_BS: mx.array) -> mx.array:
        """Codes `[B, Q, ceil(S / frame_size)]` of whole waveforms; the last frame is filled with zeros."""
        return self.quantizer.encode(self.to_latent(clean(wav_BS)), self.config.codebooks)

    def to_latent(self, wav_BS: mx.array) -> mx.array:
        """Latents before the quantiser, `[B, T, D]`."""
        frame = self.config.frame_size
        short = math.ceil(wav_BS.shape[-1] / frame) * frame - wav_BS.shape[-1]
        wav_BS = mx.pad(wav_BS, [(0, 0), (0, short)])
        if isinstance(self.encoder, WhisperEncoder):
            return mx.concatenate([self.encoder(wav_BS), self.acoustic_encoder(wav_BS)], -1)
        return self.downsample(self.encoder_transformer(self.encoder(wav_BS[..., None])))

    def decode(self, codes_BQT: mx.array) -> mx.array:
        """Waveforms `[B, T * frame_size]` of codes `[B, Q, T]`; the first Q codebooks are used."""
        z_BTD = self.upsample(self.quantizer.decode(codes_BQT))
        return self.decoder(self.decoder_transformer(z_BTD))[..., 0]

    # Streaming

    def init_state(self, batch: int) -> CodecState:
        """State of `batch` new slots."""
        n = self.config.resample
        if isinstance(self.encoder, WhisperEncoder):
            encode = TwoEncodersState(self.encoder.init_state(batch), self.acoustic_encoder.init_state(batch))
        else:
            encode = EncoderState(
                self.encoder.init_state(batch),
                self.encoder_transformer.init_state(batch, n),
                self.downsample.init_state(batch),
            )
        return CodecState(
            encode,
            DecoderState(
                self.upsample.init_state(batch),
                self.decoder_transformer.init_state(batch, n),
                self.decoder.init_state(batch),
            ),
        )

    def encode_step(self, state: CodecState, wav_BS: mx.array, exec_B: mx.array | None = None) -> mx.array:
        """Codes `[B, Q, 1]` of the next `frame_size` samples. Slots outside `exec_B` keep their state: ignore
        their codes."""
        state.encode.grow()
        return self.encode_frame(state, wav_BS, exec_B)

    def decode_step(self, state: CodecState, codes_BQT: mx.array, exec_B: mx.array | None = None) -> mx.array:
        """The `frame_size` samples `[B, S]` of codes `[B, Q, 1]`. Slots outside `exec_B` keep their state."""
        state.decode.grow()
        return self.decode_frame(state, codes_BQT, exec_B)

    def encode_frame(self, state: CodecState, wav_BS: mx.array, exec_B: mx.array | None = None) -> mx.array:
        """`encode_step` without growing the state: the part that is compiled."""
        if wav_BS.ndim != 2 or wav_BS.shape[-1] != self.config.frame_size:
            raise ValueError(f"one frame [B, {self.config.frame_size}] a step, got {wav_BS.shape}")
        inner, wav_BS = state.encode, clean(wav_BS)
        if isinstance(inner, TwoEncodersState):
            said_BTD = self.encoder.step(inner.semantic, wav_BS, exec_B)
            z_BTD = mx.concatenate([said_BTD, self.acoustic_encoder.step(inner.acoustic, wav_BS, exec_B)], -1)
        else:
            z_BTD = self.encoder.step(inner.encoder, wav_BS[..., None], exec_B)
            z_BTD = self.encoder_transformer.step(inner.transformer, z_BTD, exec_B)
            z_BTD = self.downsample.step(inner.downsample, z_BTD, exec_B)
        return self.quantizer.encode(z_BTD, self.config.codebooks)

    def decode_frame(
        self, state: CodecState, codes_BQT: mx.array, exec_B: mx.array | None = None
    ) -> mx.array:
        """`decode_step` without growing the state."""
        if codes_BQT.shape[-1] != 1:
            raise ValueError(f"one frame of codes [B, Q, 1] a step, got {codes_BQT.shape}")
        inner = state.decode
        z_BTD = self.upsample.step(inner.upsample, self.quantizer.decode(codes_BQT), exec_B)
        z_BTD = self.decoder_transformer.step(inner.transformer, z_BTD, exec_B)
        return self.decoder.step(inner.decoder, z_BTD, exec_B)[..., 0]


def clean(wav_BS: mx.array) -> mx.array:
    """The samples with NaN and infinities as silence and the rest clipped to [-1, 1]."""
    return mx.clip(mx.nan_to_num(wav_BS, nan=0.0, posinf=0.0, neginf=0.0), -1, 1)
