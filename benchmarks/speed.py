"""The figures of README and docs/speed.md: `python benchmarks/speed.py [--peers PYTHON ...]` prints them as a table.

Every line is `duologue bench` in a process of its own, so that none inherits another's memory. Milliseconds; the median
of each part, the median and the 99th percentile of all of it.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path

RUNS = {
    "nano, a whole frame": "step --model nano",
    "nano, 4 conversations in a step": "step --model nano --batch 4 --frames 100",
    "nano, 16": "step --model nano --batch 16 --frames 50",
    "nano's codec": "codec --model nano",
    "Mimi, weights of 16 bits": "codec --model mimi --half --frames 100",
    "Mimi, weights of 32 bits": "codec --model mimi --frames 100",
    "4 of 32 layers of Moshi 7 B, 8 bits": "lm --model moshi --layers 4 --quantize q8 --frames 20",
    "4 of 32 layers of Moshi 7 B, 4 bits": "lm --model moshi --layers 4 --quantize q4 --frames 20",
}
COLUMNS = {
    "encode": "encode_ms",
    "temporal": "temporal_ms",
    "depth": "depth_ms",
    "decode": "decode_ms",
    "all": "frame_ms",
    "p99": "frame_ms_p99",
    "GB/s": "gb_per_s",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--peers", nargs="*", default=[], help="Pythons with moshi, rustymimi or moshi_mlx")
    parser.add_argument("--threads", default="2")
    parser.add_argument("--only", default="", help="lines whose title holds this")
    options = parser.parse_args()
    print("| | " + " | ".join(COLUMNS) + " |\n|---" + "|---" * len(COLUMNS) + "|")
    report = {}
    for title, call in RUNS.items():
        if options.only not in title:
            continue
        peers = options.peers if title.endswith("32 bits") else []
        report = run([*call.split(), "--threads", options.threads], peers)
        show(title, report)
        for name, values in report.get("peers", {}).items():
            show(f"{name}, the same", values)
    if report:
        print("\n{cpu}, {cores} cores, {threads} threads, torch {torch}, Python {python}".format(**report))


def run(call: list[str], peers: list[str]) -> dict:
    program = [str(Path(__file__).parent / "peers")] if peers else ["-m", "duologue", "bench"]
    beside = ["--peers", *peers] if peers else []
    done = subprocess.run(
        [sys.executable, *program, *call, "--json", *beside], capture_output=True, text=True
    )
    if done.returncode:
        sys.exit(f"duologue bench {' '.join(call)}: {done.stderr}")
    return json.loads(done.stdout)


def show(title: str, report: dict) -> None:
    values = report | {"frame_ms": report.get("frame_ms") or report.get("step_ms")}
    cells = (values.get(key) for key in COLUMNS.values())
    print(f"| {title} | " + " | ".join("" if v is None else f"{v:.1f}" for v in cells) + " |", flush=True)


if __name__ == "__main__":
    main()
