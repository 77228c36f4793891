"""The measurements: each returns one flat report."""

import time
from collections.abc import Callable
from typing import Any

import torch

from duologue.bench.models import bytes_read
from duologue.bench.timing import machine, memory_mb, milliseconds, p50, p99, read_gb_per_s
from duologue.codec import Codec
from duologue.engine.duplex import Duplex
from duologue.lm import LM, Sampling
from duologue.lm.step import init_state, step
from duologue.weights import Model

WARMUP = 10


def bench_codec(codec: Codec, frames: int, batch: int) -> dict[str, Any]:
    """One frame encoded and decoded, again and again."""
    config = codec.config
    state = codec.init_state(batch)
    wav_BS = 0.1 * torch.randn(batch, config.frame_size)
    codes_BQT = codec.encode_step(state, wav_BS)
    encode, decode = [], []
    for _ in range(
        frames + WARMUP
    ):  # alternating, as in a conversation: each evicts the other's weights from the caches
        encode += milliseconds(lambda: codec.encode_step(state, wav_BS), 1, 0)
        decode += milliseconds(lambda: codec.decode_step(state, codes_BQT), 1, 0)
    encode, decode = encode[WARMUP:], decode[WARMUP:]
    both = [a + b for a, b in zip(encode, decode, strict=True)]
    return {
        "batch": batch,
        "frames": frames,
        "encode_ms": p50(encode),
        "decode_ms": p50(decode),
        "frame_ms": p50(both),
        "frame_ms_p99": p99(both),
        "frame_budget_ms": 1000 / config.frame_rate,
        "weights_mb": round(sum(p.nbytes for p in codec.parameters()) / 2**20, 1),
        "memory_mb": memory_mb(),
        **machine(),
    }


def bench_lm(lm: LM, frames: int, batch: int) -> dict[str, Any]:
    """One step of the language model, and its memory bandwidth beside this machine's."""
    state = init_state(lm, [Sampling(seed=slot) for slot in range(batch)])
    heard_BQ = torch.zeros(batch, lm.config.heard, dtype=torch.int64)
    taken = milliseconds(lambda: step(lm, state, heard_BQ), frames, WARMUP)
    read, size = read_gb_per_s(), bytes_read(lm)
    speed = size / p50(taken) / 1e6
    return {
        "batch": batch,
        "frames": frames,
        "step_ms": p50(taken),
        "step_ms_p99": p99(taken),
        "frame_budget_ms": 80.0,
        "weights_mb": round(size / 2**20, 1),
        "gb_per_s": round(speed, 2),
        "read_gb_per_s": read,
        "share_of_read": round(speed / read, 3),
        "memory_mb": memory_mb(),
        **machine(),
    }


def bench_step(model: Model, frames: int, batch: int) -> dict[str, Any]:
    """Whole frames of conversations, and the time of each part of the model."""
    spent: dict[str, list[float]] = {}
    duplex = Duplex(model, [Sampling(seed=slot) for slot in range(batch)])
    for name, owner, method in (
        ("encode", model.codec, "encode_step"),
        ("temporal", model.lm.temporal, "step"),
        ("depth", model.lm.depth, "sample"),
        ("decode", model.codec, "decode_step"),
    ):
        setattr(owner, method, _timed(getattr(owner, method), spent.setdefault(name, [])))
    wav_BS = 0.1 * torch.randn(batch, duplex.frame_size)
    try:
        taken = milliseconds(lambda: duplex.step(wav_BS), frames, WARMUP)
    finally:
        for owner in (model.codec, model.lm.temporal, model.lm.depth):
            for method in ("encode_step", "decode_step", "step", "sample"):
                vars(owner).pop(method, None)
    parts = {f"{name}_ms": p50(values[-frames:]) for name, values in spent.items()}
    return {
        "batch": batch,
        "frames": frames,
        "frame_ms": p50(taken),
        "frame_ms_p99": p99(taken),
        "frame_budget_ms": 1000 / model.codec_config.frame_rate,
        **parts,
        "other_ms": round(p50(taken) - sum(parts.values()), 3),
        "memory_mb": memory_mb(),
        **machine(),
    }


def _timed(function: Callable[..., Any], spent: list[float]) -> Callable[..., Any]:
    def timed(*args: Any, **kwargs: Any) -> Any:
        began = time.perf_counter()
        result = function(*args, **kwargs)
        spent.append((time.perf_counter() - began) * 1000)
        return result

    return timed
