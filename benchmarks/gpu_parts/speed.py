"""Milliseconds per frame, codec included, by number of concurrent conversations with a model of Moshi 7B's shape."""

import time
from collections.abc import Callable
from functools import partial
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.gpu_parts.recorded import recorded
from benchmarks.gpu_parts.report import Report
from duologue import presets
from duologue.bench.arithmetic import codec_kv, lm_cost
from duologue.bench.timing import p50, p99
from duologue.config import LMConfig
from duologue.engine.duplex import Duplex
from duologue.lm import LM, Sampling
from duologue.nn.linear import Linear
from duologue.nn.quantized import quantized
from duologue.weights.random import random_codec

FRAME_MS = 80.0
SIZES = (1, 8, 32, 64, 96, 128, 192, 256)
WARMUP, FRAMES, SECONDS = 5, 60, 6.0


def run(report: Report, device: torch.device) -> None:
    small = device.type != "cuda"
    shape, sizes = (presets.tiny_lm(), (1, 2)) if small else (presets.moshi_7b(), SIZES)
    codec = random_codec(presets.tiny_codec() if small else presets.mimi()).to(device)
    report.attempt("memory", lambda: bandwidth(device))
    report.add("shape", **memory(shape, codec.config))
    torch.manual_seed(0)
    lm = random_on(device, torch.float32 if small else torch.bfloat16, shape)
    for bits in (16, 8):
        if bits == 8:
            report.attempt("8 bits", partial(in_8_bits, lm), needs=20)
        model = SimpleNamespace(name="random", lm=lm, codec=codec, conditions={})
        measure_sizes(report, model, f"{bits} bits", sizes, device)
    del lm, model
    for size in sizes[:4]:
        report.attempt(f"moshi (peer), {size}", lambda n=size: peer(n, device), needs=25)


def measure_sizes(
    report: Report, model: Any, title: str, sizes: tuple[int, ...], device: torch.device
) -> None:
    """Tries sizes in order until one is too slow or out of memory, then finds the most conversations within 80 ms."""
    most = 0
    for size in sizes:
        if size == 1:
            report.attempt(f"{title}, plain, 1", lambda: conversations(model, 1, device, False), needs=10)
        found = report.attempt(
            f"{title}, {size}", lambda n=size: conversations(model, n, device, True), needs=15
        )
        if found is None or (found["p99"] > FRAME_MS and device.type == "cuda"):
            break
        most = size
    report.add(f"{title}, the most within 80 ms", conversations=most)


@torch.inference_mode()
def conversations(model: Any, size: int, device: torch.device, record: bool) -> dict[str, Any]:
    """Every frame to its end, as a listener waits for it."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    duplex = Duplex(model, [Sampling(seed=slot) for slot in range(size)])
    duplex.fix_shapes()  # a cache that is full, however young the conversation is
    exec_B = torch.ones(size, dtype=torch.bool, device=device)
    step = recorded(duplex, exec_B) if record else lambda wav_BS: duplex.step(wav_BS, exec_B)
    wav_BS = 0.1 * torch.randn(size, duplex.frame_size, device=device)
    found = timed(lambda: step(wav_BS), device)
    if device.type == "cuda":
        found["memory_gb"] = torch.cuda.max_memory_allocated() / 1e9
    return found


def timed(step: Callable[[], object], device: torch.device) -> dict[str, Any]:
    taken: list[float] = []
    began = time.perf_counter()
    while len(taken) < FRAMES + WARMUP and (len(taken) < WARMUP + 5 or time.perf_counter() - began < SECONDS):
        synchronize(device)
        start = time.perf_counter()
        step()
        synchronize(device)
        taken.append(1000 * (time.perf_counter() - start))
    taken = taken[WARMUP:]
    return {"p50": p50(taken), "p99": p99(taken), "frames": len(taken)}


def synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()


def bandwidth(device: torch.device) -> dict[str, Any]:
    """What this card does at best: a copy (bytes read and written), and a product of 16 bits."""
    large = device.type == "cuda"
    source = torch.randn(2**30 if large else 2**20, device=device)
    target = torch.empty_like(source)
    copied = timed(partial(target.copy_, source), device)
    del source, target
    n = 8192 if large else 256
    a, b = (torch.randn(n, n, device=device, dtype=torch.bfloat16) for _ in range(2))
    product = timed(lambda: a @ b, device)
    moved = 2 * 4 * (2**30 if large else 2**20)
    return {
        "copy_gb_per_s": moved / copied["p50"] / 1e6,
        "product_tflop_per_s": 2 * n**3 / product["p50"] / 1e9,
    }


def memory(config: LMConfig, codec: Any) -> dict[str, Any]:
    cost = lm_cost(config)
    cache = 2 * cost.kv_per_frame * cost.context + 4 * codec_kv(codec)
    return {"parameters": float(cost.parameters), "read_gb": 2 * cost.read / 1e9, "cache_gb": cache / 1e9}


def random_on(device: torch.device, dtype: torch.dtype, config: LMConfig) -> LM:
    """Random weights, made where they are used: gains of 1, rows of matrices of unit length."""
    with torch.device("meta"):
        lm = LM(config).to(dtype)
    lm._apply(lambda t: torch.empty_like(t, device=device) if t.is_meta else t.to(device))
    with torch.no_grad():
        for weight in lm.parameters():
            weight.fill_(1.0) if weight.dim() == 1 else weight.normal_(0, weight.shape[-1] ** -0.5)
    return lm.eval()


@torch.no_grad()
def in_8_bits(lm: LM) -> dict[str, Any]:
    """Its linear layers one after the other, in place."""
    count = 0
    for parent in list(lm.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, Linear):
                setattr(parent, name, quantized(child.weight, "q8"))
                count += 1
    return {"layers": count}


def peer(size: int, device: torch.device) -> dict[str, Any] | None:
    """The `moshi` package on the same card, where it can be imported."""
    try:
        from moshi.models import LMGen, loaders
    except ImportError:
        return {"error": "the package is not here"}
    if device.type != "cuda":
        return {"error": "on a GPU only"}
    mimi = loaders.get_mimi(None, device=device)
    lm = loaders.get_moshi_lm(None, device=device, dtype=torch.bfloat16)
    for weight in lm.parameters():
        nn.init.normal_(weight.data, 0, 0.02)
    gen = LMGen(lm)
    gen.streaming_forever(size)
    mimi.streaming_forever(size)
    wav_B1S = 0.1 * torch.randn(size, 1, 1920, device=device)

    def step() -> Tensor | None:
        with torch.no_grad():
            tokens = gen.step(mimi.encode(wav_B1S))
            return None if tokens is None else mimi.decode(tokens[:, 1:].clamp(min=0))

    return timed(step, device)
