"""Whole recordings through full-size Mimi, beside `transformers`, with the same random weights.

    python benchmarks/offline.py --peer PYTHON     # of an environment with transformers

Prints how long a second of sound takes to encode and to decode: less is better, 1 is real time.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable

import torch

ROUNDS = 3


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--peer", required=True, help="a Python with torch and transformers")
    parser.add_argument("--seconds", type=int, default=20, help="of sound")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--run", nargs=2, metavar=("WHO", "FOLDER"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.run:
        who, folder = options.run
        print(json.dumps({"duologue": ours, "transformers": theirs}[who](folder, options.seconds)))
        return
    with tempfile.TemporaryDirectory() as folder:
        write(folder)
        print("| | encode | decode |\n|---|---|---|")
        for who, python in {"duologue": sys.executable, "transformers": options.peer}.items():
            call = [python, __file__, *sys.argv[1:], "--run", who, folder]
            done = subprocess.run(call, capture_output=True, text=True)
            if done.returncode:
                sys.exit(f"{python}: {(done.stderr.strip() or 'failed').splitlines()[-1]}")
            encode, decode = json.loads(done.stdout.splitlines()[-1])
            print(f"| {who} | {encode:.3f} | {decode:.3f} |", flush=True)


def write(folder: str) -> None:
    """Mimi with random weights, as Hugging Face keeps it."""
    from pathlib import Path

    from duologue import presets
    from duologue.weights.convert import convert
    from duologue.weights.random import random_codec
    from duologue.weights.write import write_codec

    source = Path(folder) / "own" / "mimi.safetensors"
    source.parent.mkdir()
    write_codec(source, random_codec(presets.mimi()))
    convert(str(source), Path(folder) / "hf", "hf")


def ours(folder: str, seconds: int) -> list[float]:
    from duologue.weights import load

    codec = load(f"{folder}/own/mimi.safetensors").codec
    wav_1S = sound(seconds)
    codes = codec.encode(wav_1S)
    return timed(seconds, lambda: codec.encode(wav_1S), lambda: codec.decode(codes))


def theirs(folder: str, seconds: int) -> list[float]:
    from transformers import MimiModel

    model = MimiModel.from_pretrained(f"{folder}/hf").eval()
    wav_11S = sound(seconds)[:, None]
    with torch.inference_mode():
        codes = model.encode(wav_11S, num_quantizers=8).audio_codes
        return timed(seconds, lambda: model.encode(wav_11S, num_quantizers=8), lambda: model.decode(codes))


def sound(seconds: int) -> torch.Tensor:
    return 0.1 * torch.randn(1, 24_000 * seconds, generator=torch.Generator().manual_seed(0))


def timed(seconds: int, *calls: Callable[[], object]) -> list[float]:
    """The best of some rounds of each, a second of sound."""
    best = [float("inf")] * len(calls)
    for _ in range(ROUNDS):
        for i, call in enumerate(calls):
            began = time.perf_counter()
            call()
            best[i] = min(best[i], (time.perf_counter() - began) / seconds)
    return best


if __name__ == "__main__":
    main()
