"""Third stage of a codec: the decoder only. Codes do not change.

Everything after the codes is trained (output projections, upsampling, transformer, decoder). SEANet with hinge, feature
and mel losses behind the balancer (section 3.3.4 of the Moshi paper); without the reconstruction losses (their weights
0) it is the setting of the released Mimi. The frame decoder, whose vocoder defines its own phases, is trained from mel
spectra and the pitch only.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import soxr
import torch
from torch import Tensor, nn

from duologue.codec import Codec
from duologue.codec.discriminator import Discriminator, DiscriminatorConfig
from duologue.data.segments import load_blocks
from duologue.train.codec_joint import decode_window, latent_window
from duologue.train.losses import (
    BalancerConfig,
    CodecLossConfig,
    MelConfig,
    MultiScaleMel,
    adversarial_losses,
    balance,
    discriminator_loss,
    init_balancer,
    reconstruction_losses,
)
from duologue.train.optim import Ema, OptimConfig, Optimizer
from duologue.train.parallel import World, parallelize, to_device
from duologue.train.pitch import pitch_of
from duologue.train.stage import NumberedData, Stage
from duologue.types import StrPath

TRAINED = r"^codec\.(decoder|upsample|quantizer\.\w+\.out_proj)"


@dataclass(frozen=True)
class DecoderConfig:
    lr: float = 3e-4
    discriminator_lr: float = 3e-4
    steps: int = 10_000
    losses: CodecLossConfig = field(default_factory=CodecLossConfig)
    discriminator: DiscriminatorConfig = field(default_factory=lambda: DiscriminatorConfig(filters=12))
    mel: MelConfig = field(default_factory=MelConfig)
    warmup: int = 200
    spectra_first: int = 1500  # steps before the discriminators start: noise is too easy to detect
    pitch: float = 10.0  # weight of the pitch distance in octaves, for the frame decoder


def by_spectra(config: DecoderConfig) -> DecoderConfig:
    """For the frame decoder: no losses that depend on phases, which are its own; spectra that resolve harmonics."""
    return replace(
        config,
        discriminator_lr=1e-3,  # at 3e-4 it could still not tell them apart after 300 steps
        losses=CodecLossConfig(adversarial=1.0, feature=2.0, waveform=0.0, mel=2.0),
        discriminator=DiscriminatorConfig((2048, 1024, 512), 16, (1, 2), mels=96),
        mel=MelConfig(n_mels=100, first=9, floor=1e-3, plain=True),
        spectra_first=0,  # it has learnt from spectra in the stage before
    )


class CodeBatches(NumberedData):
    """Endless crops of codes and the audio they stand for; batch i depends on the seed, the rank and i alone.

    A batch: "codes" int64 [B, Q, C + T], "wav" float32 [B, T * frame_size]: the C frames before are context. For the
    frame decoder, "pitch" (octaves) and "voiced" float32 [B, (C + T) * frame_size / samples].
    """

    def __init__(
        self, codec: Codec, folder: StrPath, batch: int, frames: int, agent_share: float, seed: int = 0, rank: int = 0,
        context: int = 25,
    ):  # fmt: skip
        rows = [(block, i) for block in load_blocks(Path(folder)) for i in range(len(block.meta))]
        agent = [row for row in rows if "agent" in row[0].meta[row[1]]["kind"]]
        speech = [row for row in rows if "agent" not in row[0].meta[row[1]]["kind"]]
        if (
            agent and agent_share
        ):  # encoding takes its time: as much other speech as its share of crops asks for
            speech = speech[: math.ceil(len(agent) * (1 - agent_share) / agent_share)]
        self.wav_NS = np.stack([np.array(block.wav[i]) for block, i in agent + speech])
        self.agent, self.speech = range(len(agent)), range(len(agent), len(self.wav_NS))
        self.hop, self.rate = codec.config.frame_size, codec.config.sample_rate
        self.codes_NQT = encode_all(codec, self.wav_NS)
        by = codec.config.frames
        self.pitches = [pitch_track(wav_S, self.rate, by.samples) for wav_S in self.wav_NS] if by else []
        self.batch, self.frames, self.context, self.agent_share = batch, frames, context, agent_share
        self.seed, self.rank = seed, rank

    def make(self, index: int) -> dict[str, Tensor]:
        rng = np.random.default_rng([self.seed, self.rank, index])
        codes, wavs, pitches = [], [], []
        while len(wavs) < self.batch:
            chosen = rng.random() < self.agent_share
            pool = self.agent if self.agent and (chosen or not self.speech) else self.speech
            i = pool[rng.integers(len(pool))]
            start = int(rng.integers(self.context, self.codes_NQT.shape[-1] - self.frames))
            wav_S = self.wav_NS[i, start * self.hop : (start + self.frames) * self.hop]
            if np.abs(wav_S.astype(np.int32)).mean() < 60 and rng.random() < 0.9:
                continue  # silence teaches little
            codes.append(self.codes_NQT[i, :, start - self.context : start + self.frames])
            wavs.append(wav_S)
            if self.pitches:
                each = self.pitches[i].shape[1] // self.codes_NQT.shape[-1]
                pitches.append(
                    self.pitches[i][:, (start - self.context) * each : (start + self.frames) * each]
                )
        wav_BS = torch.from_numpy(np.stack(wavs).astype(np.float32) / 32768)
        batch = {"codes": torch.from_numpy(np.stack(codes).astype(np.int64)), "wav": wav_BS}
        if pitches:
            batch |= dict(zip(("pitch", "voiced"), torch.from_numpy(np.stack(pitches, 1)), strict=True))
        return batch


def pitch_track(wav_S: np.ndarray, sample_rate: int, hop: int) -> np.ndarray:
    """Of an int16 waveform, [2, T]: octaves, and 1 where there is a voice."""
    half = soxr.resample(wav_S.astype(np.float32) / 32768, 2, 1)
    return np.stack(pitch_of(half, sample_rate // 2, hop // 2)).astype(np.float32)


def encode_all(codec: Codec, wav_NS: np.ndarray) -> np.ndarray:
    """Codes int16 [N, Q, T] of many int16 waveforms of one length."""
    rows, batch = [], 4 if codec.device.type == "cpu" else 32
    for i in range(0, len(wav_NS), batch):
        wav_BS = torch.from_numpy(wav_NS[i : i + batch].astype(np.float32) / 32768)
        rows.append(codec.encode(wav_BS.to(codec.device)).cpu().numpy().astype(np.int16))
    return np.concatenate(rows)


class DecoderStage(Stage):
    """Trains the decoding half of `codec`; batches from `CodeBatches`."""

    def __init__(
        self,
        codec: Codec,
        config: DecoderConfig,
        valid: Iterable[dict[str, Tensor]] = (),
        world: World | None = None,
    ):
        self.codec, self.discriminator = codec, Discriminator(config.discriminator)
        world = world or World()
        parts = nn.ModuleDict({"codec": codec, "discriminator": self.discriminator})
        module = parallelize(parts, world)

        def optim(lr: float) -> OptimConfig:
            return OptimConfig(
                lr, (0.5, 0.9), weight_decay=0.0, clip=0.0, schedule="cosine", warmup=config.warmup,
                steps=config.steps, floor=0.1,
            )  # fmt: skip

        optimizers = {
            "decoder": Optimizer(module, optim(config.lr), select=TRAINED),
            "discriminator": Optimizer(module, optim(config.discriminator_lr), select=r"^discriminator"),
        }
        super().__init__(module, optimizers, world, Ema(module, 0.999, TRAINED))
        self.config, self.valid = config, to_device(list(valid), world.device)
        self.mel = MultiScaleMel(config.mel).to(world.device)
        self.weights = config.losses.weights()
        self.balancer = init_balancer(self.weights)

    def train_step(self, batches: Sequence[Any], step: int) -> dict[str, float]:
        (batch,) = batches
        # Codes are fixed: nothing before them may change, nor the codebooks' averages.
        self.codec.quantizer.eval()
        frames = batch["wav"].shape[-1] // self.codec.config.frame_size
        with self.world.autocast():
            z_BDT = self.codec.quantizer.decode(batch["codes"])
            wav_hat_BS, pitch_loss = self._decode(z_BDT, batch, frames)
        wav_hat_BS = wav_hat_BS.float()
        judged, result = "adversarial" in self.weights and step >= self.config.spectra_first, {}
        if judged:
            result = self.update("discriminator", lambda b: self._judge(wav_hat_BS, b["wav"]), batches, step)
        self.module.zero_grad(set_to_none=True)
        losses = reconstruction_losses(self.config.losses, self.mel, wav_hat_BS, batch["wav"])
        if judged:
            with self.world.autocast():
                losses |= adversarial_losses(self.config.losses, self.discriminator, wav_hat_BS, batch["wav"])
        losses = {name: loss for name, loss in losses.items() if name in self.weights}
        gradient_BS, norms = balance(BalancerConfig(), self.balancer, self.weights, losses, wav_hat_BS)
        if pitch_loss is None:
            wav_hat_BS.backward(gradient_BS)
        else:
            torch.autograd.backward([wav_hat_BS, self.config.pitch * pitch_loss], [gradient_BS, None])
            losses["pitch"] = pitch_loss
        result |= {f"decoder_{k}": v for k, v in self.optimizers["decoder"].step(step).items()}
        result |= {name: float(loss.detach()) for name, loss in losses.items()}
        result |= {f"{name}_norm": norm for name, norm in norms.items()}
        return result | {"data_seconds": batch["wav"].numel() / self.codec.config.sample_rate}

    def _decode(
        self, z_BDT: Tensor, batch: dict[str, Tensor], frames: int, context: int = 4
    ) -> tuple[Tensor, Tensor | None]:
        """Samples of the last `frames`; for the frame decoder at the original's pitch, and the distance of its own
        pitch."""
        start = z_BDT.shape[-1] - frames
        if self.codec.config.frames is None:
            return decode_window(self.codec, z_BDT, start, frames, context), None
        first = max(0, start - context)
        x_BTC = self.codec.decoder.features(latent_window(self.codec, z_BDT, first, z_BDT.shape[-1] - first))
        pitch_BT, voiced_BT = (batch[name][:, -x_BTC.shape[1] :] for name in ("pitch", "voiced"))
        voice = self.codec.decoder.voice
        wav_BS = voice(x_BTC, pitch_BT)[:, (start - first) * self.codec.config.frame_size :]
        far_BT = (voice.controls(x_BTC)[0] - pitch_BT).abs()
        weight_BT = voiced_BT + 0.02  # in unvoiced frames the pitch is interpolated and inaudible
        return wav_BS, (far_BT * weight_BT).sum() / weight_BT.sum()

    def _judge(self, wav_hat_BS: Tensor, wav_BS: Tensor) -> tuple[Tensor, float]:
        return discriminator_loss(self.discriminator, wav_hat_BS, wav_BS), 1.0

    def state_dict(self) -> dict[str, Any]:
        return super().state_dict() | {"balancer": self.balancer}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict(state)
        for name, value in self.balancer.items():
            value.copy_(state["balancer"][name])

    def evaluate(self) -> dict[str, float]:
        mels = [
            float(self.mel(self.codec.decode(b["codes"])[:, -b["wav"].shape[-1] :], b["wav"]))
            for b in self.valid
        ]
        return {"mel": sum(mels) / len(mels)} if mels else {}

    def samples(self) -> dict[str, tuple[Tensor, int]]:
        rate = self.codec.config.sample_rate
        return {
            f"decoded-{i}": (self.codec.decode(b["codes"])[0].cpu(), rate)
            for i, b in enumerate(self.valid[:2])
        }
