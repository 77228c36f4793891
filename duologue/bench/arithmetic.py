"""What a model costs, worked out from its shape: weights, memory, multiplications. No model is built with memory.

A frame is 80 ms. FLOP are floating-point operations: a multiplication and an addition are two.
"""

import math
from dataclasses import dataclass
from functools import cache

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from duologue.codec import Codec
from duologue.config import CodecConfig, LMConfig
from duologue.lm import LM
from duologue.lm.depth import PerStep


@dataclass(frozen=True)
class Cost:
    """Of a language model. Bytes are for the numbers of bits asked for."""

    parameters: int
    read: int
    """Weights that a frame is multiplied with, each counted once however often: what a step reads of memory."""
    multiplied: int
    """Weights that a frame is multiplied with, counted as often as it happens."""
    kv_per_frame: int
    """Numbers that a frame leaves in the cache of keys and values."""
    context: int
    """Frames that are attended to."""
    attended: int
    """Multiplications of a frame's attention with each frame that it sees."""

    def forward_flop(self, seen: float | None = None) -> float:
        """FLOP of one frame that sees `seen` frames (default: the context)."""
        seen = self.context if seen is None else seen
        return 2 * self.multiplied + 2 * self.attended * seen

    def training_flop(self, seen: float, lora: bool = False) -> float:
        """FLOP of one frame of a training step: forwards, backwards through activations and, unless the weights stay
        as they are, through weights."""
        passes = 1 + 1 + (not lora)
        return passes * self.forward_flop(seen)


def lm_cost(config: LMConfig) -> Cost:
    """The cost of a language model of this shape."""
    with torch.device("meta"):
        lm = LM(config)
    parts = (lm.text_emb, lm.audio_embs, lm.temporal, lm.text_head, lm.extra_heads)
    temporal = sum(_multiplied(part) for part in parts)
    depth = 0 if lm.depth is None else _multiplied(lm.depth)
    read = temporal + (0 if lm.depth is None else _linears(lm.depth))
    shape = config.temporal
    kv = 2 * shape.layers * shape.dim // shape.kv_repeat
    return Cost(
        sum(p.numel() for p in lm.parameters()),
        read,
        temporal + depth,
        kv,
        shape.context or 0,
        2 * shape.layers * shape.dim,
    )


def codec_parameters(config: CodecConfig) -> int:
    with torch.device("meta"):
        return sum(p.numel() for p in Codec(config).parameters())


def codec_kv(config: CodecConfig) -> int:
    """Numbers in the caches of a conversation's two codec transformers, when they are full."""
    shape = config.transformer
    return 2 * 2 * shape.layers * shape.dim * (shape.context or 0)


def _multiplied(module: nn.Module) -> int:
    """Weights of linear layers, as often as a frame is multiplied with them: those of a set of steps once a step."""
    if isinstance(module, PerStep):
        return sum(_linears(module.at(step)) for step in range(len(module.names)))
    if isinstance(module, nn.Linear):
        return module.weight.numel()
    return sum(_multiplied(child) for child in module.children())


def _linears(module: nn.Module) -> int:
    return sum(m.weight.numel() for m in module.modules() if isinstance(m, nn.Linear))


@cache
def codec_flop(config: CodecConfig) -> float:
    """FLOP of a frame encoded and decoded, as torch counts those of a second of sound."""
    frames = math.ceil(config.frame_rate)
    with torch.device("meta"):
        codec = Codec(config)
    codec.to("meta")  # also the tables, which are real everywhere
    wav_BS = torch.empty(1, frames * config.frame_size, device="meta")
    with FlopCounterMode(display=False) as counter:
        z_BDT = codec.to_latent(wav_BS)
        quantizer = codec.quantizer
        said_BDT = quantizer.semantic.out_proj(quantizer.semantic.in_proj(quantizer.semantic_part(z_BDT)))
        codec.to_wave(said_BDT + quantizer.acoustic.out_proj(quantizer.acoustic.in_proj(z_BDT)))
    return counter.get_total_flops() / frames
