"""First stage of a codec: the encoder and codebook 0 learn *what is said*, before any sound is rebuilt.

The quantised output of codebook 0 predicts a speech model's states (section 3.3.3 of the Moshi paper; a Whisper encoder
instead of WavLM), and a small reader, discarded afterwards, must recognise the words from it (CTC). Without the
decoder, a small encoder spends its capacity on the words.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jiwer
import sentencepiece
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from duologue.codec import Codec
from duologue.codec.quantizer import Quantized
from duologue.train.losses import cosine_distance, ctc_greedy, ctc_loss
from duologue.train.optim import Ema, Group, OptimConfig, Optimizer
from duologue.train.parallel import World, parallelize, to_device
from duologue.train.stage import Loss, Stage


@dataclass(frozen=True)
class SemanticConfig:
    lr: float = 8e-4
    pretrained_lr: float = 2e-4  # of an encoder that began as Whisper's
    states_weight: float = 0.0  # of the distance of such an encoder's 50 Hz states to the teacher's
    states_first: int = 0  # steps in which only that distance trains the encoder, while new layers warm up
    steps: int = 10_000
    warmup: int = 200
    continuous_steps: int = (
        1500  # steps before the codebook starts, so that its first clusters are meaningful
    )
    bypass: float = 0.2  # share of sequences that pass unquantised
    distill_weight: float = 2.0
    ctc_weight: float = 1.0
    commit_weight: float = 0.25


class Reader(nn.Module):
    """Words from quantised frames: a small transformer that sees the whole utterance, and a CTC output."""

    def __init__(self, dim: int, vocabulary: int, width: int = 256, layers: int = 2):
        super().__init__()
        self.inp = nn.Linear(dim, width)
        self.near = nn.Conv1d(width, width, 5, padding=2)
        layer = nn.TransformerEncoderLayer(
            width, 4, 4 * width, 0.0, "gelu", batch_first=True, norm_first=True
        )
        self.layers = nn.TransformerEncoder(layer, layers, enable_nested_tensor=False)
        self.out = nn.Linear(width, vocabulary + 1)

    def forward(self, z_BDT: Tensor) -> Tensor:
        x_BDT = self.inp(z_BDT.transpose(1, 2)).transpose(1, 2)
        x_BTD = (x_BDT + F.gelu(self.near(x_BDT))).transpose(
            1, 2
        )  # the convolution tells the order of frames
        return self.out(self.layers(x_BTD))


class SemanticModule(nn.Module):
    def __init__(self, codec: Codec, vocabulary: int, teacher_dim: int = 512):
        super().__init__()
        dim = codec.config.seanet.dim
        self.codec = codec
        self.distill = nn.Linear(dim, teacher_dim)
        if codec.config.whisper:
            self.distill_states = nn.Linear(codec.config.whisper.dim, teacher_dim)
        self.reader = Reader(dim, vocabulary)
        # Some channels of the teacher are a hundred times larger than others and would dominate a cosine.
        self.register_buffer("teacher_mean", torch.zeros(teacher_dim))
        self.register_buffer("teacher_std", torch.ones(teacher_dim))
        self.teacher_mean: Tensor
        self.teacher_std: Tensor


class SemanticStage(Stage):
    """Trains `codec`'s encoder and semantic codebook; batches from `codec_batches.CropBatches`."""

    module: SemanticModule
    trained = r"^(codec\.(encoder|downsample|quantizer\.semantic)|distill|reader)"  # by name

    def __init__(
        self,
        codec: Codec,
        tokenizer: sentencepiece.SentencePieceProcessor,
        teacher_sample_TD: Tensor,
        config: SemanticConfig,
        valid: Mapping[str, Iterable[dict[str, Tensor]]] | None = None,
        world: World | None = None,
    ):
        module = SemanticModule(codec, tokenizer.vocab_size(), teacher_sample_TD.shape[-1])
        module.teacher_mean.copy_(teacher_sample_TD.mean(0))
        module.teacher_std.copy_(teacher_sample_TD.std(0).clamp(min=1e-3))
        self.module, world = module, world or World()
        self.add_parts()
        parallelize(module, world)
        for name, weight in module.named_parameters():
            weight.requires_grad_(
                bool(re.search(self.trained, name))
            )  # what is before the first is then free
        optim = OptimConfig(
            config.lr, (0.8, 0.99), weight_decay=0.0, clip=2.0, schedule="cosine", warmup=config.warmup,
            steps=config.steps, floor=0.05,
        )  # fmt: skip
        groups = [Group(r"transformer|reader\.layers", weight_decay=0.05)]
        if codec.config.whisper:
            pretrained = r"codec\.encoder\.(conv|transformer|norm)"
            groups = [Group(pretrained, config.pretrained_lr, weight_decay=0.05), *groups]
        super().__init__(
            module,
            {"main": Optimizer(module, optim, groups, self.trained)},
            world,
            Ema(module, 0.999, self.trained),
        )
        self.config, self.tokenizer = config, tokenizer
        self.valid = {n: to_device(list(batches), world.device) for n, batches in (valid or {}).items()}
        self.step = 0

    def add_parts(self) -> None:
        """Extra modules that a later stage trains."""

    def train_step(self, batches: Sequence[Any], step: int) -> dict[str, float]:
        self.step = step
        result = super().train_step(batches, step)
        return result | {"data_seconds": sum(b["wav"].numel() for b in batches) / 24_000}

    def loss(self, batch: dict[str, Tensor]) -> Loss:
        size = len(batch["wav"])
        z_BDT, states_BTD = self._latents(batch)
        total, terms = self.semantic_loss(batch, self._quantize(z_BDT))
        if states_BTD is not None:
            terms["states"] = self._far(states_BTD, batch)
            total = total + self.config.states_weight * terms["states"]
        return total * size, size, {name: (value * size, size) for name, value in terms.items()}

    def _latents(self, batch: dict[str, Tensor]) -> tuple[Tensor, Tensor | None]:
        """The input of the semantic codebooks, and the 50 Hz states of an encoder that started from Whisper's."""
        codec = self.module.codec
        if not codec.config.whisper:
            return codec.to_latent(batch["wav"]), None
        states_BTD = codec.encoder.states(batch["wav"])
        alone = self.module.training and self.step < self.config.states_first
        return codec.encoder.stack((states_BTD.detach() if alone else states_BTD).transpose(1, 2)), states_BTD

    def _far(self, states_BTD: Tensor, batch: dict[str, Tensor]) -> Tensor:
        teacher_BTD = (batch["teacher"] - self.module.teacher_mean) / self.module.teacher_std
        valid_BT = batch["valid"].repeat_interleave(states_BTD.shape[1] // batch["valid"].shape[1], 1)
        return cosine_distance(self.module.distill_states(states_BTD), teacher_BTD, valid_BT)

    def semantic_loss(
        self, batch: dict[str, Tensor], quantized: Quantized
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Distillation, CTC and commitment of the semantic codebook's output; the loss and its terms."""
        module = self.module
        teacher_BTD = self._teacher(batch["teacher"])
        guess_BTD = module.distill(quantized.z_BDT.transpose(1, 2))
        distill = cosine_distance(guess_BTD, teacher_BTD, batch["valid"])
        ctc = quantized.z_BDT.new_zeros(())
        if (known := batch["lengths"] > 0).any():
            logits_BTV = module.reader(quantized.z_BDT[known])
            frames_B = torch.full_like(batch["lengths"][known], logits_BTV.shape[1])
            ctc = ctc_loss(logits_BTV, batch["tokens"][known], frames_B, batch["lengths"][known])
        config = self.config
        total = (
            config.distill_weight * distill
            + config.ctc_weight * ctc
            + config.commit_weight * quantized.commitment
        )
        used = torch.tensor(float(quantized.codes_BQT.unique().numel()))
        return total, {"distill": distill, "ctc": ctc, "commitment": quantized.commitment, "codes_used": used}

    def _quantize(self, z_BDT: Tensor, codebooks: int | None = None) -> Quantized:
        """Latents of the semantic codebooks; in training of a random number of them, so that the first carries most."""
        codec = self.module.codec
        semantic = codec.quantizer.semantic
        most = codec.config.quantizer.semantic
        if not self.module.training:
            return semantic.quantize(z_BDT, codebooks or most)
        if self.step < self.config.continuous_steps:
            z_BDT = semantic.out_proj(semantic.in_proj(z_BDT))
            return Quantized(z_BDT, torch.zeros(1, 1, 1, dtype=torch.int64), z_BDT.new_zeros(()))
        bypass_B = torch.rand(len(z_BDT), device=z_BDT.device) < self.config.bypass
        used_B = torch.randint(1, most + 1, (len(z_BDT),), device=z_BDT.device)
        return semantic.quantize(z_BDT, most, bypass_B, used_B)

    def _teacher(self, states_BTD: Tensor) -> Tensor:
        """Teacher states at 12.5 Hz: each frame the mean of 160 ms around it."""
        normal = (states_BTD - self.module.teacher_mean) / self.module.teacher_std
        pooled = F.avg_pool1d(normal.transpose(1, 2), 8, 4, 2, count_include_pad=False)
        return pooled.transpose(1, 2)

    def evaluate(self) -> dict[str, float]:
        """Of each held-out set: the distance to the teacher, and the word error rate of what is read from the first
        codebook alone and from all semantic ones."""
        values, codes = {}, []
        for name, batches in self.valid.items():
            for label, codebooks in (("_first", 1), ("", None)):
                distances, states, truths, guesses = [], [], [], []
                for batch in batches:
                    z_BDT, states_BTD = self._latents(batch)
                    quantized = self._quantize(z_BDT, codebooks)
                    if states_BTD is not None and codebooks is None:
                        states.append(float(self._far(states_BTD, batch)))
                    guess_BTD = self.module.distill(quantized.z_BDT.transpose(1, 2))
                    distances.append(
                        float(cosine_distance(guess_BTD, self._teacher(batch["teacher"]), batch["valid"]))
                    )
                    self._read(batch, quantized, truths, guesses)
                    codes.append(quantized.codes_BQT[:, 0].flatten())
                values[f"distill_{name}{label}"] = sum(distances) / len(distances)
                if states:
                    values[f"states_{name}"] = sum(states) / len(states)
                if truths:
                    values[f"wer_{name}{label}"] = float(jiwer.wer(truths, guesses))
        if codes:
            usage = torch.bincount(torch.cat(codes)).float()
            values["perplexity"] = float(torch.distributions.Categorical(probs=usage).entropy().exp())
        return values

    def _read(
        self, batch: dict[str, Tensor], quantized: Quantized, truths: list[str], guesses: list[str]
    ) -> None:
        logits_BTV = self.module.reader(quantized.z_BDT)
        frames_B = torch.full((len(logits_BTV),), logits_BTV.shape[1])
        read = ctc_greedy(logits_BTV, frames_B)
        for tokens, length, guess in zip(batch["tokens"], batch["lengths"], read, strict=True):
            if length:
                truths.append(self.tokenizer.decode([t - 1 for t in tokens[:length].tolist()]))
                guesses.append(self.tokenizer.decode([t - 1 for t in guess]))
