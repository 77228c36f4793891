"""Sampling of tokens from logits: settings for each conversation, and noise that depends on them alone.

The noise is a hash of (seed, step, stream, token), not a generator's state: a conversation draws the same tokens alone,
in any batch, after a replay, and on any backend.
"""

from dataclasses import dataclass, fields, replace
from math import inf, isfinite

import torch
from torch import Tensor

from duologue.errors import InputError
from duologue.nn.state import State

ALL = 2**31  # as top_k: all tokens


@dataclass(frozen=True)
class Sampling:
    """Settings of one conversation; the defaults are the published ones. Temperature 0 is greedy; top_k 0 is all."""

    temperature: float = 0.8
    top_k: int = 250
    text_temperature: float = 0.7
    text_top_k: int = 25
    pad_bias: float = 0.0
    """Added to the logit of PAD: above 0 the agent speaks later and less."""
    seed: int = 0
    guidance: float = 1.0
    """Scale of classifier-free guidance (`lm.step_state.Guidance`): 1 is none, above 1 the condition has more
    effect."""

    def __post_init__(self) -> None:
        for name in ("temperature", "text_temperature"):
            if not 0 <= getattr(self, name) < inf:
                raise InputError(f"{name} is a number from 0 up, not {getattr(self, name)}")
        for name in ("top_k", "text_top_k"):
            if not 0 <= getattr(self, name) < 2**63:
                raise InputError(f"{name} is a whole number from 0 up, not {getattr(self, name)}")
        if not isfinite(self.pad_bias):
            raise InputError(f"pad_bias is a number, not {self.pad_bias}")
        if not isfinite(self.guidance):
            raise InputError(f"guidance is a number, not {self.guidance}")
        if not -(2**63) <= self.seed < 2**63:
            raise InputError(f"seed is a whole number of 64 bits, not {self.seed}")

    @staticmethod
    def greedy(pad_bias: float = 0.0) -> "Sampling":
        return Sampling(temperature=0.0, text_temperature=0.0, pad_bias=pad_bias)


def candidates(settings: list[Sampling], kind: str) -> int:
    """How many of the likeliest tokens the slots need at most; `kind` is "text_" for text and "" for audio."""
    return max(getattr(s, f"{kind}top_k") or ALL if getattr(s, f"{kind}temperature") else 1 for s in settings)


@dataclass
class SlotSampling(State):
    """The settings of every slot, as tensors. A reset keeps them; `set` changes them."""

    temperature_B: Tensor
    top_k_B: Tensor
    text_temperature_B: Tensor
    text_top_k_B: Tensor
    pad_bias_B: Tensor
    seed_B: Tensor
    guidance_B: Tensor
    settings: list[Sampling]

    def __post_init__(self) -> None:
        # Plain numbers, so that a compiled step depends only on them.
        kinds = ("", "text_")
        self.widest = {kind: candidates(self.settings, kind) for kind in kinds}
        self.greedy = {
            kind: any(not getattr(s, f"{kind}temperature") for s in self.settings) for kind in kinds
        }
        self.uneven = {kind: len({candidates([s], kind) for s in self.settings}) > 1 for kind in kinds}

    @staticmethod
    def of(settings: list[Sampling], device: torch.device) -> "SlotSampling":
        columns = {
            f"{f.name}_B": torch.tensor(
                [getattr(s, f.name) for s in settings],
                dtype=torch.int64 if f.type is int else torch.float32,
                device=device,
            )
            for f in fields(Sampling)
        }
        return SlotSampling(**columns, settings=list(settings))

    def set(self, slot: int, sampling: Sampling) -> None:
        """New settings for one slot."""
        self.settings[slot] = sampling
        for f in fields(Sampling):
            getattr(self, f"{f.name}_B")[slot] = getattr(sampling, f.name)
        self.__post_init__()

    def reset(self, mask_B: Tensor | None = None) -> None:
        """Settings are not part of a conversation's past."""

    def gather(self, slots_N: Tensor) -> "SlotSampling":
        """With the settings of these slots."""
        taken = super().gather(slots_N)
        return replace(taken, settings=[self.settings[slot] for slot in slots_N.tolist()])

    def choose_text(self, logits_BV: Tensor, step_B: Tensor, pad_id: int) -> Tensor:
        logits_BV = logits_BV.float().clone()
        logits_BV[:, pad_id] += self.pad_bias_B
        return self._choose("text_", logits_BV, step_B, 0)

    def choose_audio(
        self, logits_BV: Tensor, step_B: Tensor, codebook: int, noise_BV: Tensor | None = None
    ) -> Tensor:
        """`noise_BV`: this codebook's part of `audio_noise`, if it was computed."""
        return self._choose("", logits_BV.float(), step_B, 1 + codebook, noise_BV)

    def audio_noise(self, step_B: Tensor, codebooks: int, entries: int) -> Tensor | None:
        """The noise of all tokens of a frame, `[B, Q, V]`: for a few codebooks this is cheaper than one call per
        codebook. None if all slots are greedy."""
        if self.widest[""] == 1:
            return None
        stream_Q1 = torch.arange(1, 1 + codebooks, device=step_B.device)[:, None]
        token_V = torch.arange(entries, device=step_B.device)
        return gumbel(self.seed_B[:, None, None], step_B[:, None, None], stream_Q1, token_V)

    def _choose(
        self, kind: str, logits_BV: Tensor, step_B: Tensor, stream: int, noise_BV: Tensor | None = None
    ) -> Tensor:
        size = logits_BV.shape[-1]
        if self.widest[kind] == 1:
            return logits_BV.argmax(-1)
        temperature_B, top_k_B = getattr(self, f"{kind}temperature_B"), getattr(self, f"{kind}top_k_B")
        top_BN, id_BN = logits_BV.topk(min(self.widest[kind], size), -1, sorted=self.uneven[kind])
        if noise_BV is None:
            noise_BN = gumbel(self.seed_B[:, None], step_B[:, None], stream, id_BN)
        else:
            noise_BN = noise_BV.gather(-1, id_BN)
        scores_BN = top_BN / temperature_B.clamp(min=1e-6)[:, None] + noise_BN
        if self.uneven[kind]:
            limit_B1 = torch.where(top_k_B > 0, top_k_B, size)[:, None]
            rank_N = torch.arange(top_BN.shape[-1], device=top_BN.device)
            scores_BN = scores_BN.masked_fill(rank_N >= limit_B1, -torch.inf)
        sampled_B = id_BN.gather(-1, scores_BN.argmax(-1, keepdim=True))[:, 0]
        return (
            torch.where(temperature_B > 0, sampled_B, logits_BV.argmax(-1))
            if self.greedy[kind]
            else sampled_B
        )


def gumbel(seed: Tensor, step: Tensor, stream: int | Tensor, token: Tensor) -> Tensor:
    """Noise which, added to logits, makes the largest a draw from their distribution."""
    return -(-hashed_uniform(seed, step, stream, token).log()).log()


def hashed_uniform(seed: Tensor, step: Tensor, stream: int | Tensor, token: Tensor) -> Tensor:
    """Uniform numbers in (0, 1), float32: a function of the four integers alone."""
    mixed = mix(mix(mix(seed & MASK) ^ (step & MASK)) ^ stream)
    return (mix(mixed ^ (token * 0x9E3779B1 & MASK)).float() + 0.5) * 2.0**-32 * (1 - 2.0**-23)


MASK = 0xFFFFFFFF


def mix(x: Tensor) -> Tensor:
    """A bijection of 32-bit integers (held in int64) whose output bits each depend on all input bits."""
    x = x ^ (x >> 16)
    x = (x * 0x7FEB352D) & MASK
    x = x ^ (x >> 15)
    x = (x * 0x846CA68B) & MASK
    return x ^ (x >> 16)
