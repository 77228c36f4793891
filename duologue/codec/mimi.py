"""The codec: 24 kHz speech to 12.5 frames of codes a second, and back (Mimi, section 3.3 of the Moshi paper)."""

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from duologue.codec.acoustic import AcousticEncoder, AcousticState
from duologue.codec.frames import FrameDecoder, FramesState
from duologue.codec.quantizer import SplitQuantizer
from duologue.codec.seanet import Decoder, Encoder, SeanetState
from duologue.codec.whisper import WhisperEncoder, WhisperState
from duologue.config import CodecConfig
from duologue.nn.attention import first_weight
from duologue.nn.conv import CausalConv1d, CausalConvTranspose1d, ConvState, ConvTransposeState
from duologue.nn.state import State, running, without_gradients
from duologue.nn.transformer import Transformer, TransformerState


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
    """Waveform to codes and back, offline or one 80 ms frame at a time; both give the same codes and samples.

    Waves are float32 mono `[B, S]` in [-1, 1] at `config.sample_rate`; codes are int64 `[B, Q, T]`, the semantic
    codebook first. Every slot of a batch is independent.
    """

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
        # Depthwise, as in the published weights.
        self.upsample = CausalConvTranspose1d(dim, dim, 2 * resample, resample, groups=dim, bias=False)
        self.decoder_transformer = Transformer(config.transformer)
        self.decoder: Any = (
            FrameDecoder(config.frames, dim, config.hop, config.sample_rate)
            if config.frames
            else Decoder(config.seanet)
        )

    # Offline

    def encode(self, wav_BS: Tensor, codebooks: int | None = None) -> Tensor:
        """Codes `[B, Q, ceil(S / frame_size)]` of whole waveforms; the last frame is filled with zeros. With
        `codebooks`, the first ones alone."""
        codebooks = codebooks or self.config.codebooks
        with torch.no_grad():
            wav_BS = self._whole_frames(clean(wav_BS))
            if isinstance(self.encoder, WhisperEncoder) and codebooks <= self.config.quantizer.semantic:
                return self.quantizer.semantic.encode(self.encoder(wav_BS), codebooks)
            return self.quantizer.encode(self.to_latent(wav_BS), codebooks)

    def decode(self, codes_BQT: Tensor) -> Tensor:
        """Waveforms `[B, T * frame_size]` of codes `[B, Q, T]`; the first Q codebooks are used."""
        with torch.no_grad():
            return self.to_wave(self.quantizer.decode(codes_BQT))

    def to_latent(self, wav_BS: Tensor) -> Tensor:
        """Latents before the quantiser, `[B, D, T]`; differentiable."""
        wav_BS = self._whole_frames(wav_BS)
        if isinstance(self.encoder, WhisperEncoder):
            return torch.cat([self.encoder(wav_BS), self.acoustic_encoder(wav_BS)], 1)
        z_BDT = self.encoder(wav_BS[:, None])
        z_BDT = self.encoder_transformer(z_BDT.transpose(1, 2)).transpose(1, 2)
        return self.downsample(z_BDT)

    def _whole_frames(self, wav_BS: Tensor) -> Tensor:
        return F.pad(wav_BS, (0, -wav_BS.shape[-1] % self.config.frame_size))

    def to_wave(self, z_BDT: Tensor) -> Tensor:
        """Waveforms `[B, T * frame_size]` of latents after the quantiser; differentiable."""
        z_BDT = self.upsample(z_BDT)
        z_BDT = self.decoder_transformer(z_BDT.transpose(1, 2)).transpose(1, 2)
        return self.decoder(z_BDT)[:, 0]

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

    def encode_step(self, state: CodecState, wav_BS: Tensor, exec_B: Tensor | None = None) -> Tensor:
        """Codes `[B, Q, 1]` of the next `frame_size` samples. Slots outside `exec_B` keep their state: ignore
        their codes."""
        self._check_frame(wav_BS)
        with without_gradients():
            inner, exec_B, wav_BS = state.encode, running(exec_B), clean(wav_BS)
            if isinstance(inner, TwoEncodersState):
                said_BTD = self.encoder.step(inner.semantic, wav_BS, exec_B)
                z_BTD = torch.cat([said_BTD, self.acoustic_encoder.step(inner.acoustic, wav_BS, exec_B)], -1)
            else:
                z_BTD = self.encoder.step(inner.encoder, wav_BS[..., None], exec_B)
                z_BTD = self.encoder_transformer.step(inner.transformer, z_BTD, exec_B)
                z_BTD = self.downsample.step(inner.downsample, z_BTD, exec_B)
            codes_BQT = self.quantizer.encode(z_BTD.transpose(1, 2), self.config.codebooks)
        return codes_BQT.clone()  # no inference tensor

    def decode_step(self, state: CodecState, codes_BQT: Tensor, exec_B: Tensor | None = None) -> Tensor:
        """The `frame_size` samples `[B, S]` of codes `[B, Q, 1]`. Slots outside `exec_B` keep their state."""
        if codes_BQT.shape[-1] != 1:
            raise ValueError(f"one frame of codes [B, Q, 1] a step, got {tuple(codes_BQT.shape)}")
        with without_gradients():
            inner, exec_B = state.decode, running(exec_B)
            z_BTD = self.quantizer.decode(codes_BQT).transpose(1, 2)
            z_BTD = self.upsample.step(inner.upsample, z_BTD, exec_B)
            z_BTD = self.decoder_transformer.step(inner.transformer, z_BTD, exec_B)
            wav_BS = self.decoder.step(inner.decoder, z_BTD, exec_B)[..., 0]
        return wav_BS.clone()

    def _check_frame(self, wav_BS: Tensor) -> None:
        if wav_BS.dim() != 2 or wav_BS.shape[-1] != self.config.frame_size:
            raise ValueError(f"one frame [B, {self.config.frame_size}] a step, got {tuple(wav_BS.shape)}")

    @property
    def device(self) -> torch.device:
        return first_weight(self).device


def clean(wav_BS: Tensor) -> Tensor:
    """The samples with NaN and infinities as silence and the rest clipped to [-1, 1]: one bad sample would persist in
    the attention's keys and values."""
    return torch.nan_to_num(wav_BS, nan=0.0, posinf=0.0, neginf=0.0).clamp(-1, 1)
