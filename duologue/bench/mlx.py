"""`duologue bench --backend mlx`: the measurements of `bench.run`, with the same names. Where the step is one compiled
graph, its parts cannot be timed separately."""

from collections.abc import Callable
from importlib.metadata import version
from typing import Any

import mlx.core as mx
import numpy as np
from mlx import nn
from mlx.utils import tree_flatten

from duologue.bench.run import WARMUP
from duologue.bench.timing import machine, memory_mb, milliseconds, p50, p99, read_gb_per_s
from duologue.lm.sampling import Sampling
from duologue.mlx.backend import MLXBackend
from duologue.mlx.device import on_gpu
from duologue.mlx.load import Quantize, load_codec, load_lm
from duologue.mlx.state import State, compiled
from duologue.mlx.step import init_state, step_frame
from duologue.weights import Model


def bench_codec(model: Model, frames: int, batch: int) -> dict[str, Any]:
    """One frame encoded and decoded, again and again."""
    codec = load_codec(model)
    state = codec.init_state(batch)
    wav_BS = mx.array(
        0.1 * np.random.default_rng(0).standard_normal((batch, codec.config.frame_size)), mx.float32
    )
    encode_frame = _evaluated(lambda wav_BS: codec.encode_frame(state, wav_BS), state)
    decode_frame = _evaluated(lambda codes_BQT: codec.decode_frame(state, codes_BQT), state)
    codes_BQT = encode_frame(wav_BS)
    encode, decode = [], []
    for _ in range(frames + WARMUP):  # alternating, as in a conversation
        encode += milliseconds(lambda: encode_frame(wav_BS), 1, 0)
        decode += milliseconds(lambda: decode_frame(codes_BQT), 1, 0)
    encode, decode = encode[WARMUP:], decode[WARMUP:]
    both = [a + b for a, b in zip(encode, decode, strict=True)]
    return {
        "batch": batch,
        "frames": frames,
        "encode_ms": p50(encode),
        "decode_ms": p50(decode),
        "frame_ms": p50(both),
        "frame_ms_p99": p99(both),
        "frame_budget_ms": 1000 / codec.config.frame_rate,
        "weights_mb": round(_nbytes(codec) / 2**20, 1),
        **_machine(),
    }


def bench_lm(model: Model, frames: int, batch: int, quantize: Quantize | None) -> dict[str, Any]:
    """One step of the language model, and its memory bandwidth beside the processor's."""
    lm = load_lm(model, quantize=quantize)
    state = init_state(lm, [Sampling(seed=slot) for slot in range(batch)])
    heard_BQ = mx.zeros((batch, lm.config.heard), mx.int32)
    step = _evaluated(lambda heard_BQ: tuple(step_frame(lm, state, heard_BQ)), state)
    taken = milliseconds(lambda: step(heard_BQ), frames, WARMUP)
    linear = [m for m in lm.modules() if isinstance(m, nn.Linear | nn.QuantizedLinear)]
    size, read = sum(_nbytes(module) for module in linear), read_gb_per_s()
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
        **_machine(),
    }


def bench_step(model: Model, frames: int, batch: int, quantize: Quantize | None) -> dict[str, Any]:
    """Whole frames of conversations."""
    backend = MLXBackend(model, batch, quantize)
    backend.start({slot: Sampling(seed=slot) for slot in range(batch)})
    wav_BS = 0.1 * np.random.default_rng(0).standard_normal((batch, backend.frame_size), np.float32)
    exec_B = np.ones(batch, bool)
    taken = milliseconds(lambda: backend.step(wav_BS, exec_B), frames, WARMUP)
    return {
        "batch": batch,
        "frames": frames,
        "frame_ms": p50(taken),
        "frame_ms_p99": p99(taken),
        "frame_budget_ms": 1000 / model.codec_config.frame_rate,
        **_machine(),
    }


def _evaluated(step: Callable[..., Any], state: State) -> Callable[..., Any]:
    """`step` in a state that grows; compiled where conversations are; done when it returns."""
    run = compiled(step, state) if on_gpu() else step

    def call(*inputs: mx.array) -> Any:
        state.grow()
        out = run(*inputs)
        mx.eval(out, state.arrays())
        return out

    return call


def _nbytes(module: nn.Module) -> int:
    parameters: Any = tree_flatten(module.parameters())
    return sum(array.nbytes for _, array in parameters)


def _machine() -> dict[str, Any]:
    device = "gpu" if on_gpu() else "cpu"
    return {"memory_mb": memory_mb(), **machine(), "mlx": version("mlx"), "device": device}
