"""Memory and time of a model of Moshi's size in 8 bits: `python benchmarks/large.py FOLDER` writes one with random
weights, opens it as any other file, and prints how long that took, the memory, and the time of a step.

The weights are random; compute and memory are those of real ones.
"""

import argparse
import json
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import torch

from duologue import presets
from duologue.files import atomic_write
from duologue.lm import LM
from duologue.weights.names import fillers, lm_sources
from duologue.weights.packed import Int8Rows
from duologue.weights.read import Stored
from duologue.weights.save import as_int8, linears, save_tensors
from duologue.weights.write import lm_json, write_json

FILE = "model.q8.safetensors"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="where the model is written, and found the next time")
    parser.add_argument("--layers", type=int, default=32, help="of the temporal transformer")
    parser.add_argument("--frames", type=int, default=10)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    if not (options.folder / FILE).exists():
        began = time.perf_counter()
        write(options.folder, options.layers)
        print(f"written in {time.perf_counter() - began:.0f} s")
    began = time.perf_counter()
    call = ["lm", "--model", options.folder, "--quantize", "q8", "--frames", options.frames]
    done = subprocess.run(
        [sys.executable, "-m", "duologue", "bench", *map(str, call), "--threads", str(options.threads), "--json"],
        capture_output=True, text=True,
    )  # fmt: skip
    if done.returncode:
        sys.exit(done.stderr)
    report = json.loads(done.stdout)
    report["file_gb"] = round((options.folder / FILE).stat().st_size / 1e9, 2)
    report["peak_gb"] = round(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024 / 1e9, 2)
    report["all_s"] = round(time.perf_counter() - began, 1)
    print(json.dumps(report, indent=2))


def write(folder: Path, layers: int) -> None:
    """A folder in the published 8-bit format."""
    shape = presets.moshi_7b()
    config = replace(shape, temporal=replace(shape.temporal, layers=layers))
    with torch.device("meta"):
        lm = LM(config)
        extra = {name: torch.zeros(size) for name, size in fillers(config).items()}
    meta = lm.state_dict() | extra
    folder.mkdir(parents=True, exist_ok=True)
    with atomic_write(folder / FILE) as temporary:
        save_tensors(
            temporary, values(meta, linears(lm)), meta, lambda n: lm_sources(n, config=config), as_int8(lm)
        )
    write_json(folder / "config.json", lm_json(config) | {"moshi_name": FILE})


def values(meta: dict[str, torch.Tensor], packed: set[str]) -> Iterator[tuple[str, Stored]]:
    """Random tensors one at a time, so that the model never stands in memory."""
    torch.manual_seed(0)
    for name, like in meta.items():
        if name in packed:
            words = torch.randint(-(2**62), 2**62, (like.numel() // 8 + 1,))  # eight weights each
            data_NK = words.view(torch.int8)[: like.numel()].view(like.shape).clamp(min=-127)
            yield name, Int8Rows(data_NK, torch.full((len(data_NK),), like.shape[-1] ** -0.5))
        else:
            yield name, torch.empty(like.shape).uniform_(-0.05, 0.05).bfloat16()


if __name__ == "__main__":
    main()
