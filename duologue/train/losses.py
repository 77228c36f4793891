"""Losses that train a codec: adversarial, feature matching, multi-scale mel, waveform, distillation, CTC.

`balance` makes the effect of each loss on the decoded waveform independent of its scale. Knows nothing about the codec
itself. Defaults: EnCodec (arXiv 2210.13438, section 3.4), the baseline of Mimi.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from duologue.audio import mel
from duologue.codec.discriminator import Discriminator
from duologue.errors import InputError


@dataclass(frozen=True)
class CodecLossConfig:
    """Weights of the losses on the decoded waveform; a loss of weight 0 is not computed."""

    adversarial: float = 4.0
    feature: float = 4.0
    waveform: float = 0.1
    mel: float = 2.0

    def weights(self) -> dict[str, float]:
        """The weights in use, by the name of the loss."""
        weights = {
            "adversarial": self.adversarial,
            "feature": self.feature,
            "waveform": self.waveform,
            "mel": self.mel,
        }
        return {name: weight for name, weight in weights.items() if weight > 0}


def reconstruction_losses(
    config: CodecLossConfig, mel: "MultiScaleMel", wav_hat_BS: Tensor, wav_BS: Tensor
) -> dict[str, Tensor]:
    """The losses that compare the decoded waveform [B, S] with the original, by name."""
    losses = {}
    if config.waveform > 0:
        losses["waveform"] = F.l1_loss(wav_hat_BS, wav_BS)
    if config.mel > 0:
        losses["mel"] = mel(wav_hat_BS, wav_BS)
    return losses


def adversarial_losses(
    config: CodecLossConfig, discriminator: Discriminator, wav_hat_BS: Tensor, wav_BS: Tensor
) -> dict[str, Tensor]:
    """The losses by which the codec is to fool the discriminator, by name. Both waveforms [B, S]."""
    if config.adversarial <= 0 and config.feature <= 0:
        return {}
    fake = discriminator(wav_hat_BS)
    losses = {}
    if config.adversarial > 0:
        losses["adversarial"] = fooling_loss(fake.logits)
    if config.feature > 0:
        with torch.no_grad():
            real = discriminator(wav_BS)
        losses["feature"] = feature_loss(fake.features, real.features)
    return losses


def discriminator_loss(discriminator: Discriminator, wav_hat_BS: Tensor, wav_BS: Tensor) -> Tensor:
    """Hinge loss of the discriminator: original audio above 1, decoded audio below -1. No gradient to the codec."""
    batch = wav_BS.shape[0]
    logits = discriminator(torch.cat([wav_BS, wav_hat_BS.detach()])).logits
    per_scale = [F.relu(1 - x[:batch]).mean() + F.relu(1 + x[batch:]).mean() for x in logits]
    return torch.stack(per_scale).mean()


def fooling_loss(fake_logits: list[Tensor]) -> Tensor:
    """The generator's hinge loss: minus the logit, so that its gradient never vanishes."""
    return torch.stack([-x.mean() for x in fake_logits]).mean()


def feature_loss(fake_features: list[list[Tensor]], real_features: list[list[Tensor]]) -> Tensor:
    """L1 between feature maps over the mean size of the real map, averaged over scales and layers.

    The real maps are to come without a gradient.
    """
    per_layer = [
        (fake - real).abs().mean(dtype=torch.float32) / real.abs().mean(dtype=torch.float32).clamp(min=1e-5)
        for fakes, reals in zip(fake_features, real_features, strict=True)
        for fake, real in zip(fakes, reals, strict=True)
    ]
    return torch.stack(per_layer).mean()


# --- spectra ---------------------------------------------------------------------------------------------


def mel_filterbank(n_fft: int, n_mels: int, sample_rate: int) -> Tensor:
    """As `audio.mel.mel_filterbank`, `[n_fft/2 + 1, n_mels]`."""
    return torch.from_numpy(mel.mel_filterbank(n_fft, n_mels, sample_rate))


@dataclass(frozen=True)
class MelConfig:
    """Mel spectra with windows of 2^first .. 2^last samples, hop a quarter of each."""

    sample_rate: int = 24_000
    n_mels: int = 64
    first: int = 6
    last: int = 11
    floor: float = 1e-5
    plain: bool = False
    """The mean distance of logarithms alone: what a source and filter learns from, whose noise is another than the
    original's, and where squares would be spent on what is barely heard."""


class MultiScaleMel(nn.Module):
    """L1 on mel magnitudes plus mean square on their logarithms, summed over window lengths.

    The logarithmic part of a window of n samples counts sqrt(n - 1) times; the whole is divided by the sum of
    the weights. Filters narrower than a bin of a short window are left out.
    """

    def __init__(self, config: MelConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or MelConfig()
        self.sizes = [2**i for i in range(config.first, config.last + 1)]
        for size in self.sizes:
            filters = mel_filterbank(size, config.n_mels, config.sample_rate)
            filters = filters[:, filters.sum(0) > 0]
            self.register_buffer(f"filters_{size}", filters / filters.sum(0), persistent=False)
            self.register_buffer(f"window_{size}", torch.hann_window(size), persistent=False)

    def forward(self, wav_hat_BS: Tensor, wav_BS: Tensor) -> Tensor:
        """Decoded and original waveform [B, S] -> one number; no gradient to `wav_BS`."""
        if wav_BS.shape[1] <= self.sizes[-1] // 2:
            raise InputError(f"segments of {wav_BS.shape[1]} samples are too short for the mel loss")
        loss, weights = wav_hat_BS.new_zeros(()), 0.0
        for size in self.sizes:
            with torch.no_grad():
                mel_BTM = self.spectrum(wav_BS, size)
                log_BTM = mel_BTM.clamp(min=self.config.floor).log()
            mel_hat_BTM = self.spectrum(wav_hat_BS, size)
            log_hat_BTM = mel_hat_BTM.clamp(min=self.config.floor).log()
            if self.config.plain:
                loss, weights = loss + F.l1_loss(log_hat_BTM, log_BTM), weights + 1
                continue
            weight = math.sqrt(size - 1)
            loss = loss + F.l1_loss(mel_hat_BTM, mel_BTM) + weight * F.mse_loss(log_hat_BTM, log_BTM)
            weights += 1 + weight
        return loss / weights

    def spectrum(self, wav_BS: Tensor, size: int) -> Tensor:
        """Mel magnitudes [B, T, M] with a window of `size` samples, in units of the waveform's amplitude."""
        window, filters = self.get_buffer(f"window_{size}"), self.get_buffer(f"filters_{size}")
        with torch.autocast(wav_BS.device.type, enabled=False):
            spec_BFT = torch.stft(
                wav_BS.float(), size, size // 4, window=window, pad_mode="reflect", return_complex=True
            )
            # The square root has no slope at 0, and digital silence is exactly 0.
            power_BFT = spec_BFT.real.square() + spec_BFT.imag.square() + 1e-12
            return power_BFT.sqrt().transpose(1, 2) @ filters / window.square().sum().sqrt()


# --- balance ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class BalancerConfig:
    """The gradients given to the waveform have a mean norm of `total_norm`; `ema` is the memory of each norm."""

    total_norm: float = 1.0
    ema: float = 0.999


def init_balancer(weights: Mapping[str, float]) -> dict[str, Tensor]:
    """The balancer's memory: for each loss the decayed sum of its gradient norms and of their weights.

    It belongs in the checkpoint: tensors of two float64, updated in place by `balance`.
    """
    return {name: torch.zeros(2, dtype=torch.float64) for name in weights}


def balance(
    config: BalancerConfig,
    state: dict[str, Tensor],
    weights: Mapping[str, float],
    losses: Mapping[str, Tensor],
    wav_hat_BS: Tensor,
) -> tuple[Tensor, dict[str, float]]:
    """The gradient to give the decoded waveform, and each loss's own gradient norm before scaling.

    Each loss's gradient is divided by the running mean of its norm and scaled to its share of the weights of the
    losses present: a loss has the say its weight gives it, whatever its unit (EnCodec, section 3.4, "balancer").
    Norms are means over the batch (and over ranks). Train with `wav_hat_BS.backward(gradient)`, or together with
    other losses: `torch.autograd.backward([wav_hat_BS, other], [gradient, None])`.
    Weights of the discriminator get no gradient. A norm that is not finite is not remembered.
    """
    if unknown := losses.keys() - weights.keys():
        raise InputError(f"no weight for the loss {sorted(unknown)[0]!r}")
    share = config.total_norm / sum(weights[name] for name in losses)
    gradient_BS = torch.zeros_like(wav_hat_BS)
    norms = {}
    for name, loss in losses.items():
        (loss_gradient_BS,) = torch.autograd.grad(loss, [wav_hat_BS], retain_graph=True)
        norms[name] = norm = float(_mean_over_ranks(loss_gradient_BS.flatten(1).norm(dim=1).mean()))
        if math.isfinite(norm):
            state[name].mul_(config.ema).add_(torch.tensor([norm, 1.0], dtype=torch.float64))
        mean_norm = float(state[name][0] / state[name][1].clamp(min=1e-12))
        gradient_BS += loss_gradient_BS * (share * weights[name] / max(mean_norm, 1e-12))
    return gradient_BS, norms


def _mean_over_ranks(x: Tensor) -> Tensor:
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        x = x.clone()
        torch.distributed.all_reduce(x)
        x /= torch.distributed.get_world_size()
    return x


# --- meaning ---------------------------------------------------------------------------------------------


def cosine_distance(guess_BTD: Tensor, teacher_BTD: Tensor, mask_BT: Tensor | None = None) -> Tensor:
    """1 - cosine between each frame's guess and the teacher's state, averaged over the frames in `mask_BT`.

    The distillation loss of the first codebook (Moshi paper, section 3.3).
    """
    distance_BT = 1 - F.cosine_similarity(guess_BTD.float(), teacher_BTD.float(), dim=-1)
    if mask_BT is None:
        return distance_BT.mean()
    return (distance_BT * mask_BT).sum() / mask_BT.sum().clamp(min=1)


def ctc_loss(
    logits_BTV: Tensor, tokens_BN: Tensor, frames_B: Tensor, lengths_B: Tensor, blank: int = 0
) -> Tensor:
    """CTC loss per token of the text, averaged over the batch.

    `frames_B` and `lengths_B` say how much of each row of logits and tokens is meant. Tokens never equal `blank`.
    A row with more tokens than its frames can carry counts 0; a row of no tokens wants blanks alone.
    """
    log_probs_TBV = F.log_softmax(logits_BTV.float(), dim=-1).transpose(0, 1)
    loss_B = F.ctc_loss(
        log_probs_TBV, tokens_BN, frames_B, lengths_B, blank=blank, reduction="none", zero_infinity=True
    )
    return (loss_B / lengths_B.clamp(min=1).to(loss_B)).mean()


def ctc_greedy(logits_BTV: Tensor, frames_B: Tensor, blank: int = 0) -> list[list[int]]:
    """The tokens of the best path through each row of logits: repeats merged, blanks dropped."""
    rows = []
    for best_T, frames in zip(logits_BTV.argmax(-1).cpu(), frames_B.tolist(), strict=True):
        merged_T = torch.unique_consecutive(best_T[:frames])
        rows.append(merged_T[merged_T != blank].tolist())
    return rows
