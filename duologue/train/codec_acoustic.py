"""Second stage of a codec whose encoder started from Whisper's: the acoustic codebooks and the decoder learn the sound.

The semantic codebooks are fixed. A second encoder learns what they leave out of the agent's voice (pitch, loudness,
timbre), together with the decoder, from mel spectra and the pitch.
"""

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from duologue.codec import Codec
from duologue.data.segments import load_blocks
from duologue.train.codec_decoder import pitch_track
from duologue.train.losses import MelConfig, MultiScaleMel
from duologue.train.optim import Ema, OptimConfig, Optimizer
from duologue.train.parallel import World, parallelize, to_device
from duologue.train.stage import NumberedData, Stage
from duologue.types import StrPath

TRAINED = r"^codec\.(acoustic_encoder|quantizer\.acoustic|quantizer\.semantic\.out_proj|upsample|decoder)"


@dataclass(frozen=True)
class AcousticStageConfig:
    lr: float = 1e-3
    steps: int = 6000
    warmup: int = 200
    continuous_steps: int = 300  # before the codebooks start
    bypass: float = 0.1  # share of crops that pass unquantised
    commit_weight: float = 0.25
    pitch_weight: float = 1.0  # of the distance in octaves, beside the distance of log spectra
    skip: int = 2  # frames at the start of a crop, whose past is missing


class SoundBatches(NumberedData):
    """Endless crops of speech segments; batch i depends on the seed, the rank and i alone.

    A batch: "wav" float32 [B, T * frame_size], "semantic" float32 [B, D, T] (the latents of the semantic encoder, which
    is not trained), "pitch" (octaves) and "voiced" float32 [B, T * frame_size / samples].
    """

    def __init__(
        self, codec: Codec, folder: StrPath, batch: int, frames: int, agent_share: float, seed: int = 0, rank: int = 0
    ):  # fmt: skip
        rows = [(block, i) for block in load_blocks(Path(folder)) for i in range(len(block.meta))]
        agent = [row for row in rows if "agent" in row[0].meta[row[1]]["kind"]]
        others = [row for row in rows if "agent" not in row[0].meta[row[1]]["kind"]]
        if agent and agent_share:
            others = others[: math.ceil(len(agent) * (1 - agent_share) / agent_share)]
        self.wav_NS = np.stack([np.array(block.wav[i]) for block, i in agent + others])
        self.agent, self.others = range(len(agent)), range(len(agent), len(self.wav_NS))
        config = codec.config
        assert config.frames is not None
        self.hop, self.samples = config.frame_size, config.frames.samples
        self.semantic_NDT = semantic_latents(codec, self.wav_NS)
        self.pitch_N2T = np.stack([pitch_track(w, config.sample_rate, self.samples) for w in self.wav_NS])
        self.batch, self.frames, self.agent_share = batch, frames, agent_share
        self.seed, self.rank = seed, rank

    def make(self, index: int) -> dict[str, Tensor]:
        rng = np.random.default_rng([self.seed, self.rank, index])
        found: dict[str, list[np.ndarray]] = {name: [] for name in ("wav", "semantic", "pitch", "voiced")}
        each = self.hop // self.samples
        while len(found["wav"]) < self.batch:
            chosen = rng.random() < self.agent_share
            pool = self.agent if self.agent and (chosen or not self.others) else self.others
            i = pool[rng.integers(len(pool))]
            start = int(rng.integers(self.semantic_NDT.shape[-1] - self.frames))
            end = start + self.frames
            wav_S = self.wav_NS[i, start * self.hop : end * self.hop].astype(np.float32) / 32768
            if np.abs(wav_S).mean() < 2e-3 and rng.random() < 0.9:
                continue  # silence teaches little
            found["wav"].append(wav_S)
            found["semantic"].append(self.semantic_NDT[i, :, start:end].astype(np.float32))
            pitch, voiced = self.pitch_N2T[i, :, start * each : end * each]
            found["pitch"].append(pitch)
            found["voiced"].append(voiced)
        return {name: torch.from_numpy(np.stack(rows)) for name, rows in found.items()}


@torch.no_grad()
def semantic_latents(codec: Codec, wav_NS: np.ndarray) -> np.ndarray:
    """What the semantic encoder makes of int16 waveforms, float16 `[N, D, T]`."""
    rows, batch = [], 2 if codec.device.type == "cpu" else 32
    for i in range(0, len(wav_NS), batch):
        wav_BS = torch.from_numpy(wav_NS[i : i + batch].astype(np.float32) / 32768).to(codec.device)
        rows.append(codec.encoder(wav_BS, start=0).cpu().numpy().astype(np.float16))
    return np.concatenate(rows)


class AcousticStage(Stage):
    """Trains the acoustic half and the decoder of `codec`; batches from `SoundBatches`."""

    def __init__(
        self,
        codec: Codec,
        config: AcousticStageConfig,
        valid: Iterable[dict[str, Tensor]] = (),
        world: World | None = None,
    ):
        world = world or World()
        self.codec, self.config, self.valid = codec, config, to_device(list(valid), world.device)
        for name, weight in codec.named_parameters():
            weight.requires_grad_(bool(re.search(TRAINED, f"codec.{name}")))
        self.mel = MultiScaleMel(MelConfig(n_mels=100, first=9, floor=1e-3, plain=True)).to(world.device)
        optim = OptimConfig(
            config.lr, (0.8, 0.95), weight_decay=0.01, clip=1.0, schedule="cosine", warmup=config.warmup,
            steps=config.steps, floor=0.05,
        )  # fmt: skip
        module = parallelize(nn.ModuleDict({"codec": codec}), world)
        super().__init__(
            module, {"main": Optimizer(module, optim, select=TRAINED)}, world, Ema(module, 0.999, TRAINED)
        )
        self.step = 0

    def train_step(self, batches: Sequence[Any], step: int) -> dict[str, float]:
        self.step = step
        self.codec.encoder.eval()
        self.codec.quantizer.semantic.eval()  # its codebook must not move
        seconds = sum(b["wav"].numel() for b in batches) / self.codec.config.sample_rate
        return super().train_step(batches, step) | {"data_seconds": seconds}

    def loss(self, batch: dict[str, Tensor]) -> tuple[Tensor, float, dict[str, Any]]:
        size = len(batch["wav"])
        z_BDT, commitment = self._quantized(batch)
        mel, pitch = self._distances(batch, z_BDT)
        total = mel + self.config.pitch_weight * pitch + self.config.commit_weight * commitment
        terms = {"mel": mel, "pitch": pitch, "commitment": commitment}
        return total * size, size, {name: (value * size, size) for name, value in terms.items()}

    def _quantized(self, batch: dict[str, Tensor], free: bool = False) -> tuple[Tensor, Tensor]:
        """The decoder's input, and the commitment loss of the acoustic latents. In training with a random number of
        codebooks, so that the first ones carry most; `free`: unquantised."""
        quantizer = self.codec.quantizer
        z_BDT = torch.cat([batch["semantic"], self.codec.acoustic_encoder(batch["wav"])], 1)
        with torch.no_grad():
            codes_BQT = quantizer.semantic.encode(batch["semantic"], len(quantizer.semantic.codebooks))
        said_BDT = quantizer.semantic.decode(codes_BQT)
        acoustic, most = quantizer.acoustic, len(quantizer.acoustic.codebooks)
        if free or (self.codec.training and self.step < self.config.continuous_steps):
            return said_BDT + acoustic.out_proj(acoustic.in_proj(z_BDT)), z_BDT.new_zeros(())
        bypass_B = used_B = None
        if self.codec.training:
            bypass_B = torch.rand(len(z_BDT), device=z_BDT.device) < self.config.bypass
            used_B = torch.randint(1, most + 1, (len(z_BDT),), device=z_BDT.device)
            used_B = torch.where(torch.rand(len(z_BDT), device=z_BDT.device) < 0.5, most, used_B)
        quantized = acoustic.quantize(z_BDT, most, bypass_B, used_B)
        return said_BDT + quantized.z_BDT, quantized.commitment

    def _distances(self, batch: dict[str, Tensor], z_BDT: Tensor) -> tuple[Tensor, Tensor]:
        """Of log mel spectra, spoken at the original's pitch, and of the pitch, in octaves where there is a voice."""
        codec, skip = self.codec, self.config.skip
        up_BTD = codec.decoder_transformer(codec.upsample(z_BDT).transpose(1, 2))
        x_BTC = codec.decoder.features(up_BTD.transpose(1, 2))
        wav_hat_BS = codec.decoder.voice(x_BTC, batch["pitch"])[:, skip * codec.config.frame_size :]
        mel = self.mel(wav_hat_BS, batch["wav"][:, skip * codec.config.frame_size :])
        far_BT = (codec.decoder.voice.controls(x_BTC)[0] - batch["pitch"]).abs()
        weight_BT = batch["voiced"] + 0.02  # in unvoiced frames the pitch is interpolated and inaudible
        return mel, (far_BT * weight_BT).sum() / weight_BT.sum()

    def evaluate(self) -> dict[str, float]:
        """The same distances on held-out sentences, from the codes and from latents that were not quantised."""
        found: dict[str, list[float]] = {}
        for batch in self.valid:
            for label, free in (("", False), ("_free", True)):
                mel, pitch = self._distances(batch, self._quantized(batch, free)[0])
                found.setdefault("mel" + label, []).append(float(mel))
                found.setdefault("pitch" + label, []).append(float(pitch))
        return {name: sum(values) / len(values) for name, values in found.items()}

    def samples(self) -> dict[str, tuple[Tensor, int]]:
        rate = self.codec.config.sample_rate
        return {
            f"decoded-{i}": (self.codec.to_wave(self._quantized(batch)[0])[0].cpu(), rate)
            for i, batch in enumerate(self.valid[:2])
        }
