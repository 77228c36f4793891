"""Second stage of a codec: all learns together, so that the acoustic codebooks carry what the words leave out.

The first stage's objectives stay; the decoder joins with a mel and a waveform loss (no discriminator yet: the codes
are to be frozen after this stage, and sharper sound is the decoder's business, later).
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from duologue.codec import Codec
from duologue.codec.quantizer import Quantized
from duologue.train.codec_semantic import SemanticConfig, SemanticStage
from duologue.train.losses import MultiScaleMel
from duologue.train.stage import Loss


@dataclass(frozen=True)
class JointConfig(SemanticConfig):
    lr: float = 3e-4
    continuous_steps: int = 0
    bypass: float = 0.1
    mel_weight: float = 0.3
    wave_weight: float = 1.0
    decoder_first: int = 500  # steps in which a decoder that knows nothing yet leaves the encoder alone
    window: int = 24  # frames decoded of each sequence: sound is dear, context is cheap


class JointStage(SemanticStage):
    """Trains all of `codec`; batches from `codec_batches.CropBatches`."""

    config: JointConfig
    trained = r"^(codec|distill|reader)"

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.mel = MultiScaleMel()

    def loss(self, batch: dict[str, Tensor]) -> Loss:
        codec = self.module.codec
        z_BDT = codec.to_latent(batch["wav"])
        size, frames = z_BDT.shape[0], z_BDT.shape[-1]
        bypass_B = torch.rand(size, device=z_BDT.device) < self.config.bypass
        semantic = codec.quantizer.semantic.quantize(z_BDT, 1, bypass_B)
        total, terms = self.semantic_loss(batch, semantic)
        early = self.module.training and self.step < self.config.decoder_first
        acoustic = self._acoustic(codec, z_BDT.detach() if early else z_BDT, bypass_B)
        start = int(torch.randint(0, frames - self.config.window + 1, ()))
        z_BDT = acoustic.z_BDT + (semantic.z_BDT.detach() if early else semantic.z_BDT)
        wav_hat_BS = decode_window(codec, z_BDT, start, self.config.window)
        hop = codec.config.frame_size
        wav_BS = batch["clean"][:, start * hop : (start + self.config.window) * hop]
        mel, wave = self.mel(wav_hat_BS, wav_BS), F.l1_loss(wav_hat_BS, wav_BS)
        config = self.config
        total = (
            total
            + config.mel_weight * mel
            + config.wave_weight * wave
            + config.commit_weight * acoustic.commitment
        )
        terms |= {"mel": mel, "wave": wave, "acoustic_commitment": acoustic.commitment}
        return total * size, size, {name: (value * size, size) for name, value in terms.items()}

    def _acoustic(self, codec: Codec, z_BDT: Tensor, bypass_B: Tensor) -> Quantized:
        """With a random number of codebooks, so that the first ones matter most (quantiser dropout)."""
        most = codec.config.quantizer.codebooks - 1
        drop = torch.rand(()) < 0.5
        used = int(torch.randint(1, most + 1, ())) if drop else most
        return codec.quantizer.acoustic.quantize(z_BDT, used, bypass_B)

    def evaluate(self) -> dict[str, float]:
        codec = self.module.codec
        mels = []
        for batch in self.valid:
            wav_BS = batch["clean"]
            mels.append(float(self.mel(codec.decode(codec.encode(wav_BS)), wav_BS)))
        return super().evaluate() | {"mel": sum(mels) / len(mels)} if mels else {}

    def samples(self) -> dict[str, tuple[Tensor, int]]:
        codec = self.module.codec
        if not self.valid:
            return {}
        wav_BS = self.valid[0]["clean"][:2]
        return {
            f"decoded-{i}": (wav, 24_000) for i, wav in enumerate(codec.decode(codec.encode(wav_BS)).cpu())
        }


def decode_window(codec: Codec, z_BDT: Tensor, start: int, frames: int, context: int = 4) -> Tensor:
    """Samples `[B, frames * frame_size]` from frame `start` on. The transformer sees all frames, the convolutions those
    of the window and `context` before it."""
    n = codec.config.resample
    up_BDT = codec.upsample(z_BDT)
    up_BDT = codec.decoder_transformer(up_BDT.transpose(1, 2)).transpose(1, 2)
    first = max(0, start - context)
    wav_BS = codec.decoder(up_BDT[..., first * n : (start + frames) * n])[:, 0]
    return wav_BS[:, (start - first) * codec.config.frame_size :]
