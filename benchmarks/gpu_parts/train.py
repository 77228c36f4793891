"""nano's language model on packed shards for the minutes that are left; its weights come back in pieces."""

import argparse
import os
import shutil
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.gpu_parts import packed
from benchmarks.gpu_parts.report import Report
from duologue import presets
from duologue.data.shards import ShardReader
from duologue.lm import LM
from duologue.lm.tokenizer import Tokenizer
from duologue.train import checkpoint, parallel
from duologue.train.lm import LMStage
from duologue.train.lm_batches import LMBatchConfig, LMBatches
from duologue.train.lm_plans import PLANS, compile_layers, hear_own, held_out
from duologue.train.loop import LoopConfig
from duologue.train.loop import run as train

PRESETS = {"nano": presets.nano_lm, "tiny": presets.tiny_lm}
PILOT = 12  # steps that tell how many the time allows
WRITING = 25.0  # seconds kept for the last checkpoint, the last evaluation and the pieces


def run(report: Report, device: torch.device, options: argparse.Namespace) -> dict[str, Any]:
    folder = Path(tempfile.mkdtemp(prefix="gpu-train-"))
    try:
        material = read(options, packed.unpack(options.train, folder / "data"))
        world = parallel.start(device.type, "bf16" if device.type == "cuda" else "fp32")
        steps, pace = options.steps, None
        if steps is None:
            steps, pace = fitting_steps(report, world, options, material, folder)
        stage, batches = build(world, options, material, steps)
        left = max(1.0, report.left() - writing(report)) / 60
        loop = LoopConfig(
            steps,
            log_every=20,
            eval_every=max(50, steps // 6),
            save_minutes=0,
            minutes=left,
            workers=workers(options),
        )
        outcome = train(stage, batches, loop, folder / "run")
        shutil.copy(folder / "run" / "metrics.jsonl", options.out / "metrics.jsonl")
        weights = checkpoint.load_weights(folder / "run")
        pieces = len(checkpoint.write_pieces(options.out, weights, int(options.piece_mib * 2**20)))
        values = {"steps": outcome.step, "ended_by": outcome.reason, "steps_per_s": pace, "pieces": pieces}
        return values | outcome.evaluation
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@dataclass(frozen=True)
class Material:
    """What the pilot and the run share."""

    rows: LMBatchConfig
    tokenizer: Tokenizer
    shards: list[Path]
    valid: list[dict[str, Tensor]]
    start: dict[str, Tensor]


def read(options: argparse.Namespace, data: Path) -> Material:
    rows = replace(PLANS[options.stage].rows, batch=options.batch, frames=options.frames)
    rows = rows.of(PRESETS[options.preset]())
    tokenizer, shards = Tokenizer(data / packed.TOKENIZER), sorted((data / packed.TRAIN).iterdir())
    valid = sorted((data / packed.VALID).iterdir()) if (data / packed.VALID).is_dir() else []
    return Material(
        rows,
        tokenizer,
        shards,
        held_out(valid, tokenizer, rows),
        checkpoint.load_weights(data / packed.START) if (data / packed.START).is_dir() else {},
    )


def build(
    world: parallel.World, options: argparse.Namespace, material: Material, steps: int
) -> tuple[LMStage, LMBatches]:
    plan = PLANS[options.stage]
    torch.manual_seed(0)
    lm = LM(PRESETS[options.preset]())
    lm.load_state_dict(material.start, strict=False)
    if plan.rows.own_codebooks is not None:
        hear_own(lm, plan.rows.own_codebooks)
    lm = parallel.parallelize(lm, world)
    if options.compile:
        compile_layers(lm)
    optim = plan.optim(steps, options.lr)
    stage = LMStage(lm, plan.losses, optim, plan.depth_lr, material.valid, world)
    return stage, LMBatches(ShardReader(*material.shards), material.tokenizer, material.rows)


def fitting_steps(
    report: Report, world: parallel.World, options: argparse.Namespace, material: Material, folder: Path
) -> tuple[int, float]:
    """How many steps the time allows, by the pace of some that are thrown away; and that pace."""
    stage, batches = build(world, options, material, 1000)
    stage.valid = []
    out = folder / "pilot"
    loop = LoopConfig(PILOT, log_every=PILOT // 2, save_minutes=0, workers=workers(options))
    train(stage, batches, loop, out)
    pace = [row["data_rate"] for row in metrics(out)][-1] / (options.batch * options.frames * 0.08)
    left = max(1.0, report.left() - writing(report))
    return max(2, int(0.95 * left * pace)), pace


def metrics(out: Path) -> list[dict[str, Any]]:
    import json

    rows = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    return [row for row in rows if "data_rate" in row]


def workers(options: argparse.Namespace) -> int:
    """As many processes as there are cores, but one; and memory to hand batches over in."""
    if options.workers is not None:
        return options.workers
    cores = os.cpu_count() or 1
    ahead = (
        4 * options.batch * options.frames * 8 * 40
    )  # bytes that a process holds ready: some 40 rows of int64
    room = shutil.disk_usage("/dev/shm").free if Path("/dev/shm").is_dir() else 0
    return max(0, min(cores - 1, int(room / 2 / ahead)))


def writing(report: Report) -> float:
    return min(WRITING, 3 * report.minutes)
