"""The figures of docs/speed.md: `python benchmarks/speed.py [--peers PYTHON ...]` prints them as a table.

Every line is `duologue bench` in a process of its own, so that none inherits another's memory.
"""

import argparse
import json
import subprocess
import sys

RUNS = {
    "Mimi, one conversation": ["codec", "--model", "mimi", "--frames", "60"],
    "nano's codec": ["codec", "--model", "nano"],
    "nano's codec, 4 conversations": ["codec", "--model", "nano", "--batch", "4", "--frames", "100"],
    "nano's codec, 16 conversations": ["codec", "--model", "nano", "--batch", "16", "--frames", "50"],
    "nano's language model": ["lm", "--model", "nano"],
    "nano, a whole frame": ["step", "--model", "nano"],
    "nano, 4 conversations": ["step", "--model", "nano", "--batch", "4", "--frames", "100"],
    "nano, 16 conversations": ["step", "--model", "nano", "--batch", "16", "--frames", "50"],
    "4 layers of moshi, 8 bits": [
        "lm",
        "--model",
        "moshi",
        "--layers",
        "4",
        "--quantize",
        "q8",
        "--frames",
        "20",
    ],
    "4 layers of moshi, 4 bits": [
        "lm",
        "--model",
        "moshi",
        "--layers",
        "4",
        "--quantize",
        "q4",
        "--frames",
        "20",
    ],
}
COLUMNS = (
    "encode_ms",
    "temporal_ms",
    "depth_ms",
    "decode_ms",
    "step_ms",
    "frame_ms",
    "frame_ms_p99",
    "gb_per_s",
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--peers", nargs="*", default=[], help="Pythons of environments with other implementations"
    )
    parser.add_argument("--threads", default="2")
    parser.add_argument("--only", default="", help="lines whose title holds this")
    options = parser.parse_args()
    print("| | " + " | ".join(COLUMNS) + " |\n|---" * 1 + "|---" * len(COLUMNS) + "|")
    for title, call in RUNS.items():
        if options.only not in title:
            continue
        peers = ["--peers", *options.peers] if title.startswith("Mimi") and options.peers else []
        report = run([*call, *peers, "--threads", options.threads])
        show(title, report)
        for name, values in report.get("peers", {}).items():
            show(f"{name} on the same", values)
    print({key: report[key] for key in ("cpu", "cores", "threads", "torch", "python")})


def run(call: list[str]) -> dict:
    done = subprocess.run(
        [sys.executable, "-m", "duologue", "bench", *call, "--json"], capture_output=True, text=True
    )
    if done.returncode:
        sys.exit(f"duologue bench {' '.join(call)}: {done.stderr}")
    return json.loads(done.stdout)


def show(title: str, report: dict) -> None:
    print(f"| {title} | " + " | ".join(str(report.get(c, "")) for c in COLUMNS) + " |", flush=True)


if __name__ == "__main__":
    main()
