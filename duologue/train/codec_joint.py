"""Second stage of a codec: all codebooks are trained; the acoustic ones learn what the semantic one leaves out.

The objectives of the first stage remain. A linear map predicts a mel spectrogram from the decoder's transformer: this
uses every frame of every sequence, at the cost of the first stage. The convolutional decoder, several times more
expensive, is trained last, on fixed codes.
"""

import math
from dataclasses import dataclass
from itertools import chain

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from duologue.codec import Codec
from duologue.codec.quantizer import Quantized
from duologue.train.codec_semantic import SemanticConfig, SemanticStage
from duologue.train.losses import mel_filterbank
from duologue.train.stage import Loss


@dataclass(frozen=True)
class JointConfig(SemanticConfig):
    lr: float = 5e-4
    continuous_steps: int = 0
    bypass: float = 0.1
    mel_weight: float = 4.0
    others: float = 0.25
    """Weight of other voices' sound; only the agent's voice will be decoded in use."""
    spectrum_first: int = 150  # steps in which the untrained head has no gradient into the encoder


class MelHead(nn.Module):
    """Log mel spectrogram [B, M, T'] of quantised latents, by way of a codec's upsampling and transformer."""

    def __init__(self, codec: Codec, mels: int = 100, size: int = 1024, hop: int = 240, floor: float = 1e-3):
        super().__init__()
        config = codec.config
        self.size, self.hop, self.floor = size, hop, floor
        self.steps = (
            config.frame_size // config.resample // hop
        )  # of the spectrogram, in one of the transformer
        self.norm = nn.LayerNorm(config.seanet.dim)
        self.out = nn.Linear(config.seanet.dim, self.steps * mels)
        nn.init.constant_(
            self.out.bias, 0.7 * math.log(floor)
        )  # near the mean, or it takes hundreds of steps
        filters_FM = mel_filterbank(size, mels, config.sample_rate)
        filters_FM = filters_FM / filters_FM.sum(0).clamp(min=1e-9)
        self.register_buffer("filters_FM", filters_FM, persistent=False)
        self.register_buffer("window", torch.hann_window(size), persistent=False)
        self.filters_FM: Tensor
        self.window: Tensor

    def forward(self, codec: Codec, z_BDT: Tensor) -> Tensor:
        up_BTD = codec.decoder_transformer(codec.upsample(z_BDT).transpose(1, 2))
        return self.out(self.norm(up_BTD)).unflatten(-1, (self.steps, -1)).flatten(1, 2)

    @torch.no_grad()
    def target(self, wav_BS: Tensor) -> Tensor:
        """Of waveforms [B, S]; each step ends with its window, so that the target needs no future sound."""
        with torch.autocast(wav_BS.device.type, enabled=False):
            past_BS = F.pad(wav_BS.float(), (self.size - self.hop, 0))
            spec_BFT = torch.stft(
                past_BS, self.size, self.hop, window=self.window, center=False, return_complex=True
            )
            mel_BTM = spec_BFT.abs().transpose(1, 2) @ self.filters_FM / self.window.square().sum().sqrt()
            return mel_BTM.clamp(min=self.floor).log()


class JointStage(SemanticStage):
    """Trains all of `codec` up to its convolutional decoder; batches from `codec_batches.CropBatches`.

    The encoder's layers at the full sample rate are frozen: they are most of its cost, and have little to learn.
    """

    config: JointConfig
    trained = (
        r"^(codec\.(encoder\.(head|stages\.[1-9])|encoder_transformer|downsample|quantizer|upsample|"
        r"decoder_transformer)|distill|reader|mel_head)"
    )

    def add_parts(self) -> None:
        self.module.mel_head = MelHead(self.module.codec)

    def loss(self, batch: dict[str, Tensor]) -> Loss:
        codec, config = self.module.codec, self.config
        z_BDT = codec.to_latent(batch["wav"])
        size = len(z_BDT)
        bypass_B = torch.rand(size, device=z_BDT.device) < config.bypass
        semantic = codec.quantizer.semantic.quantize(z_BDT, codec.config.quantizer.semantic, bypass_B)
        total, terms = self.semantic_loss(batch, semantic)
        early = self.module.training and self.step < config.spectrum_first
        acoustic = self._acoustic(codec, z_BDT.detach() if early else z_BDT, bypass_B)
        quantized_BDT = acoustic.z_BDT + (semantic.z_BDT.detach() if early else semantic.z_BDT)
        mel = self._mel(batch, quantized_BDT)
        total = total + config.mel_weight * mel + config.commit_weight * acoustic.commitment
        terms |= {"mel": mel, "acoustic_commitment": acoustic.commitment}
        return total * size, size, {name: (value * size, size) for name, value in terms.items()}

    def _mel(self, batch: dict[str, Tensor], z_BDT: Tensor) -> Tensor:
        """Mean distance of log mel spectrograms, over the sequences without augmentation."""
        head: MelHead = self.module.mel_head  # pyright: ignore[reportAssignmentType]
        faithful_B = (batch["wav"] == batch["clean"]).all(-1)
        if not faithful_B.any():
            return z_BDT.sum() * 0.0
        mel_BTM = head(self.module.codec, z_BDT[faithful_B])
        far_B = (mel_BTM - head.target(batch["clean"][faithful_B])).abs().mean((1, 2))
        weight_B = torch.where(batch["agent"][faithful_B], 1.0, self.config.others)
        return (far_B * weight_B).sum() / weight_B.sum()

    def _acoustic(self, codec: Codec, z_BDT: Tensor, bypass_B: Tensor) -> Quantized:
        """With a random number of codebooks, so that the first ones matter most (quantiser dropout)."""
        most = len(codec.quantizer.acoustic.codebooks)
        drop = self.module.training and torch.rand(()) < 0.5
        used = int(torch.randint(1, most + 1, ())) if drop else most
        return codec.quantizer.acoustic.quantize(z_BDT, used, bypass_B)

    def evaluate(self) -> dict[str, float]:
        """With `mel`, and `mel_bypass`, which is that of latents that were not quantised."""
        codec = self.module.codec
        mels, free = [], []
        for batch in chain.from_iterable(self.valid.values()):
            z_BDT, q = codec.to_latent(batch["clean"]), codec.quantizer
            heard = batch | {"wav": batch["clean"]}  # and all of them count alike, having no agent
            mels.append(float(self._mel(heard, q.decode(q.encode(z_BDT, codec.config.codebooks)))))
            parts = [part.out_proj(part.in_proj(z_BDT)) for part in (q.semantic, q.acoustic)]
            free.append(float(self._mel(heard, parts[0] + parts[1])))
        found = {"mel": sum(mels) / len(mels), "mel_bypass": sum(free) / len(free)} if mels else {}
        return super().evaluate() | found


def decode_window(codec: Codec, z_BDT: Tensor, start: int, frames: int, context: int = 5) -> Tensor:
    """Samples `[B, frames * frame_size]` from frame `start` on. The transformer sees all frames, the convolutions those
    of the window and `context` before it."""
    first = max(0, start - context)
    wav_BS = codec.decoder(latent_window(codec, z_BDT, first, start + frames - first))[:, 0]
    return wav_BS[:, (start - first) * codec.config.frame_size :]


def latent_window(codec: Codec, z_BDT: Tensor, start: int, frames: int) -> Tensor:
    """What the decoder gets of `frames` frames from `start` on, `[B, D, T']`; the transformer sees all before."""
    n = codec.config.resample
    up_BDT = codec.decoder_transformer(codec.upsample(z_BDT).transpose(1, 2)).transpose(1, 2)
    return up_BDT[..., start * n : (start + frames) * n]
