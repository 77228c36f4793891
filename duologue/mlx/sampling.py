"""Sampling of tokens from logits (`lm/sampling.py`): the same settings, and the same noise bit for bit."""

from dataclasses import dataclass, fields

import mlx.core as mx
import numpy as np

from duologue.lm.sampling import Sampling, candidates
from duologue.mlx.state import State


@dataclass
class SlotSampling(State):
    """The settings of every slot, as arrays. A reset keeps them; `set` changes them."""

    temperature_B: mx.array
    top_k_B: mx.array
    text_temperature_B: mx.array
    text_top_k_B: mx.array
    pad_bias_B: mx.array
    seed_B: mx.array  # uint32: the low half, which is all the noise depends on
    guidance_B: mx.array
    settings: list[Sampling]

    @staticmethod
    def of(settings: list[Sampling]) -> "SlotSampling":
        columns = {f"{f.name}_B": _column(f.name, settings) for f in fields(Sampling)}
        return SlotSampling(**columns, settings=list(settings))

    def set(self, slot: int, sampling: Sampling) -> None:
        """New settings for one slot."""
        self.settings[slot] = sampling
        for f in fields(Sampling):
            setattr(self, f"{f.name}_B", _column(f.name, self.settings))

    def reset(self, mask_B: mx.array | None = None) -> None:
        """Settings are not part of a conversation's past."""

    def constants(self) -> tuple[int, ...]:
        return candidates(self.settings, ""), candidates(self.settings, "text_")

    def choose_text(self, logits_BV: mx.array, step_B: mx.array, pad_id: int) -> mx.array:
        logits_BV = logits_BV.astype(mx.float32)
        is_pad_V = mx.arange(logits_BV.shape[-1]) == pad_id
        logits_BV = mx.where(is_pad_V, logits_BV + self.pad_bias_B[:, None], logits_BV)
        return self._choose("text_", logits_BV, step_B, 0)

    def choose_audio(self, logits_BV: mx.array, step_B: mx.array, codebook: int) -> mx.array:
        return self._choose("", logits_BV.astype(mx.float32), step_B, 1 + codebook)

    def _choose(self, kind: str, logits_BV: mx.array, step_B: mx.array, stream: int) -> mx.array:
        temperature_B, top_k_B = getattr(self, f"{kind}temperature_B"), getattr(self, f"{kind}top_k_B")
        greedy_B = logits_BV.argmax(-1).astype(mx.int32)
        size = logits_BV.shape[-1]
        most = min(candidates(self.settings, kind), size)
        if most == 1:
            return greedy_B
        id_BN = mx.argsort(-logits_BV, -1)[:, :most].astype(mx.int32)
        top_BN = mx.take_along_axis(logits_BV, id_BN, -1)
        uniform_BN = hashed_uniform(self.seed_B[:, None], step_B[:, None], stream, id_BN)
        scores_BN = top_BN / mx.maximum(temperature_B, 1e-6)[:, None] - mx.log(-mx.log(uniform_BN))
        limit_B1 = mx.where(top_k_B > 0, top_k_B, size)[:, None]
        scores_BN = mx.where(mx.arange(id_BN.shape[-1]) >= limit_B1, -mx.inf, scores_BN)
        sampled_B = mx.take_along_axis(id_BN, scores_BN.argmax(-1, keepdims=True), -1)[:, 0]
        return mx.where(temperature_B > 0, sampled_B, greedy_B)


def _column(name: str, settings: list[Sampling]) -> mx.array:
    values = [getattr(s, name) for s in settings]
    if name == "seed":
        return mx.array(np.array([value & 0xFFFFFFFF for value in values], np.uint32))
    if name.endswith("top_k"):
        return mx.array(np.array([min(value, 2**31 - 1) for value in values], np.int32))
    return mx.array(np.array(values, np.float32))


def hashed_uniform(seed: mx.array, step: mx.array, stream: int, token: mx.array) -> mx.array:
    """Uniform numbers in (0, 1), float32: a function of the four integers alone, equal to the torch version's."""
    mixed = mix(mix(mix(seed.astype(mx.uint32)) ^ step.astype(mx.uint32)) ^ mx.array(stream, mx.uint32))
    spread = token.astype(mx.uint32) * mx.array(0x9E3779B1, mx.uint32)
    return (mix(mixed ^ spread).astype(mx.float32) + 0.5) * 2.0**-32 * (1 - 2.0**-23)


def mix(x: mx.array) -> mx.array:
    """A bijection of 32-bit integers whose output bits each depend on all input bits."""
    x = x ^ (x >> 16)
    x = x * mx.array(0x7FEB352D, mx.uint32)
    x = x ^ (x >> 15)
    x = x * mx.array(0x846CA68B, mx.uint32)
    return x ^ (x >> 16)
