"""Training steps: frames per second, share of the measured peak, and memory."""

import time
from dataclasses import replace
from typing import Any

import torch

from benchmarks.gpu_parts.report import Report
from benchmarks.gpu_parts.speed import bandwidth, random_on, synchronize
from duologue import presets
from duologue.bench.arithmetic import lm_cost
from duologue.config import DepthConfig, LMConfig
from duologue.lm.lora import add_lora
from duologue.train.lm import LMStage
from duologue.train.lm_plans import PLANS
from duologue.train.optim import OptimConfig
from duologue.train.parallel import World, parallelize

WARMUP, STEPS, SECONDS = 2, 6, 15.0
LORA_RANK = 128


def one_billion() -> LMConfig:
    """Moshi's architecture with a temporal transformer of 16 layers of 2048: a billion weights."""
    shape = presets.moshi_7b()
    temporal = replace(shape.temporal, dim=2048, heads=16, layers=16, feedforward=int(4.125 * 2048))
    return replace(shape, temporal=temporal, depth=DepthConfig(512, 8, 4, int(4.125 * 512), tuple(range(8))))


def run(report: Report, device: torch.device) -> None:
    small = device.type != "cuda"
    best = report.attempt("product of 16 bits", lambda: bandwidth(device))
    peak = None if best is None else best["product_tflop_per_s"]
    large, medium = (presets.tiny_lm(),) * 2 if small else (presets.moshi_7b(), one_billion())
    frames, batch = (40, 2) if small else (1250, 4)
    for title, shape, lora in (("7B, adapters", large, True), ("1B, all weights", medium, False)):
        for recompute in (True, False):
            what = f"{title}, {'recomputed' if recompute else 'kept'} activations"
            report.attempt(
                what,
                lambda s=shape, lo=lora, r=recompute: steps(s, lo, r, batch, frames, device, peak),
                needs=2 if small else 25,
            )


def steps(
    shape: LMConfig, lora: bool, recompute: bool, batch: int, frames: int, device: torch.device, peak: float | None
) -> dict[str, Any]:  # fmt: skip
    torch.manual_seed(0)
    world = World(device=device, precision="bf16")
    lm = random_on(device, torch.bfloat16 if lora else torch.float32, shape).train()
    if lora:
        add_lora(lm, LORA_RANK if shape.temporal.dim > 64 else 4, 2.0)
    lm = parallelize(lm, world, recompute=recompute)
    stage = LMStage(lm, PLANS["finetune"].losses, OptimConfig(lr=1e-6), world=world)
    text_B1T = torch.randint(4, shape.text_card, (batch, 1, frames), device=device)
    audio_BKT = torch.randint(0, shape.card, (batch, shape.audio_streams, frames), device=device)
    codes_BKT = torch.cat([text_B1T, audio_BKT], 1)
    rows = {"codes": codes_BKT, "inputs": codes_BKT}
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    taken, began = [], time.perf_counter()
    while len(taken) < WARMUP + STEPS and (len(taken) < WARMUP + 2 or time.perf_counter() - began < SECONDS):
        synchronize(device)
        start = time.perf_counter()
        stage.train_step([rows], len(taken))
        synchronize(device)
        taken.append(time.perf_counter() - start)
    seconds = sorted(taken[WARMUP:])[len(taken[WARMUP:]) // 2]
    # Work that a step must do; what is done a second time does not count as done.
    flop = lm_cost(shape).training_flop(frames / 2, lora) * batch * frames
    found = {
        "step_s": seconds,
        "frames_per_s": batch * frames / seconds,
        "tflop_per_s": flop / seconds / 1e12,
    }
    if peak:
        found["share_of_peak"] = found["tflop_per_s"] / peak
    if device.type == "cuda":
        found["memory_gb"] = torch.cuda.max_memory_allocated() / 1e9
    return found
