"""Estimates of the GPUs that serving or training needs, computed from a model's shape.

Each row states the origin of its value: "computed" from the shape alone, or "assumed" from the card's data sheet and
the utilisation below. Nothing here was measured on a GPU (`benchmarks/gpu.py` does that).
"""

import math
from dataclasses import dataclass

from duologue.bench.arithmetic import Cost, codec_flop, codec_kv, codec_parameters, lm_cost
from duologue.bench.models import SHAPES
from duologue.config import CodecConfig
from duologue.errors import InputError
from duologue.lm.monologue import FRAME_RATE

BANDWIDTH_SHARE = 0.65
"""Share of the memory bandwidth that a step reaches: on a CPU, Moshi 7B in 8 bits had 65 % (12 layers), 66 % (32)."""
PRODUCT_SHARE = 0.4
"""Model FLOPs utilisation (MFU) of a training step; published runs of this size reach 27 to 54 % (docs/scale.md)."""
FRAME_SHARE = 0.75
"""Share of the 80 ms frame that a step may take; the rest is for audio jitter and the 99th percentile."""
MEMORY_SHARE = 0.9
"""Share of the GPU memory for weights and caches."""


@dataclass(frozen=True)
class Card:
    """From its data sheet: memory in GB, bandwidth in GB/s, dense 16-bit and 8-bit TFLOP/s."""

    memory: float
    bandwidth: float
    bits16: float
    bits8: float


CARDS = {
    "l4": Card(24, 300, 121, 242),
    "l40s": Card(48, 864, 362, 733),
    "a100": Card(80, 2039, 312, 624),
    "h100": Card(80, 3350, 989, 1979),
    "h200": Card(141, 4800, 989, 1979),
    "b200": Card(180, 8000, 2250, 4500),
}


@dataclass(frozen=True)
class Row:
    what: str
    value: float
    unit: str
    origin: str


def shape_of(model: str) -> tuple[Cost, CodecConfig]:
    if model not in SHAPES:
        raise InputError(f"{model} is none of the shapes: {', '.join(SHAPES)}")
    make_codec, make_lm = SHAPES[model]
    return lm_cost(make_lm()), make_codec()


def serving(model: str, gpu: str, conversations: int, bits: int = 16) -> list[Row]:
    """The cards for this many concurrent conversations, with weights of `bits` bits and 16-bit caches."""
    cost, codec = shape_of(model)
    card, byte = CARDS[gpu], bits / 8
    weights = byte * cost.read + 2 * (cost.parameters - cost.read) + 4 * codec_parameters(codec)
    cache = 2 * cost.kv_per_frame * cost.context + 4 * codec_kv(codec)
    by_memory = max(0, math.floor((MEMORY_SHARE * 1e9 * card.memory - weights) / cache))
    by_time = most_in_time(cost, codec, card, bits)
    each = min(by_memory, by_time)
    if each < 1:
        raise InputError(
            f"{model} in {bits} bits does not run on {gpu}: it needs {(weights + cache) / 1e9:.0f} GB"
        )
    cards = math.ceil(conversations / each)
    return [
        Row("weights", weights / 1e9, "GB", "computed"),
        Row("weights that a step reads", byte * cost.read / 1e9, "GB", "computed"),
        Row("a conversation's cache, full", cache / 1e9, "GB", "computed"),
        Row(
            "a step of one conversation, at least",
            1000 * step_seconds(cost, codec, card, bits, 1),
            "ms",
            "assumed",
        ),
        Row("conversations a card holds", by_memory, "", "computed"),
        Row("conversations a card steps in time", by_time, "", "assumed"),
        Row(f"a step of {each}", 1000 * step_seconds(cost, codec, card, bits, each), "ms", "assumed"),
        Row(f"{gpu} for {conversations:,} conversations", cards, "", "assumed"),
        Row("messages, both ways", 2 * FRAME_RATE * conversations, "/s", "computed"),
        Row("sound as Opus (24 kbit/s), both ways", 2 * 24e3 * conversations / 1e9, "Gbit/s", "computed"),
        Row("sound as float32 PCM, both ways", 2 * 32 * 24e3 * conversations / 1e9, "Gbit/s", "computed"),
    ]


def step_seconds(cost: Cost, codec: CodecConfig, card: Card, bits: int, conversations: int) -> float:
    """Duration of a step with full caches: the larger of memory time and compute time. The codec runs in 32 bits, which
    takes eight times as long per operation as 16 bits."""
    moved = (
        bits / 8 * cost.read
        + conversations * 2 * cost.kv_per_frame * cost.context
        + 4 * codec_parameters(codec)
    )
    products = card.bits8 if bits == 8 else card.bits16
    worked = conversations * (cost.forward_flop() / products + 8 * codec_flop(codec) / card.bits16) / 1e12
    return max(moved / (1e9 * card.bandwidth * BANDWIDTH_SHARE), worked / PRODUCT_SHARE)


def most_in_time(cost: Cost, codec: CodecConfig, card: Card, bits: int) -> int:
    budget, low, high = FRAME_SHARE / FRAME_RATE, 0, 1 << 20
    while high - low > 1:
        middle = (low + high) // 2
        if step_seconds(cost, codec, card, bits, middle) <= budget:
            low = middle
        else:
            high = middle
    return low


def training(model: str, gpu: str, cards: int, hours: float, lora: bool = False) -> list[Row]:
    """One epoch over `hours` of conversations in five-minute segments, on `cards` GPUs (FSDP, bf16)."""
    cost, _ = shape_of(model)
    card, frames, length = CARDS[gpu], hours * 3600 * FRAME_RATE, 3750
    flop = cost.training_flop(min(cost.context, length) / 2, lora)
    pace = PRODUCT_SHARE * card.bits16 * 1e12 / flop
    # Weights, gradients, two moments and the average in 32 bits; with adapters the weights in 16, and little else.
    state = 2 * cost.parameters if lora else 20 * cost.parameters / cards
    left = MEMORY_SHARE * card.memory - state / 1e9
    if left <= 0:
        raise InputError(f"{model} needs {state / 1e9:.0f} GB of each of {cards} cards: take more of them")
    return [
        Row("parameters", cost.parameters / 1e9, "10^9", "computed"),
        Row("frames", frames / 1e9, "10^9", "computed"),
        Row("operations a frame", flop / 1e9, "GFLOP", "computed"),
        Row("weights, moments and average, a card", state / 1e9, "GB", "computed"),
        Row("left for activations, a card", left, "GB", "computed"),
        Row("frames a card and second", pace, "/s", "assumed"),
        Row(f"{gpu} hours", frames / pace / 3600, "h", "assumed"),
        Row(f"time on {cards:,}", frames / pace / cards / 86400, "days", "assumed"),
        Row("a checkpoint", (0.1 if lora else 16 * cost.parameters / 1e9), "GB", "computed"),
    ]
