#!/usr/bin/env python3
"""Makes the environment in .venv, or adds to it: `python install.py [EXTRA ...]`, on Linux, macOS and Windows alike.

On Linux without an NVIDIA driver it takes PyTorch's CPU build, a tenth of the size of the one with CUDA: from PyTorch's
own index, and from the usual one where that cannot be reached. `--here` installs into the Python that runs this.
"""

import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path

ROOT = Path(__file__).parent
VENV = ROOT / ".venv"
CPU_INDEX = "https://download.pytorch.org/whl/cpu"


def wants_cpu_build() -> bool:
    """PyPI's wheels for Linux bring CUDA along; those for macOS and Windows do not."""
    return sys.platform == "linux" and not (shutil.which("nvidia-smi") or Path("/dev/nvidia0").exists())


def pip(python: str, *arguments: str, quiet: bool = False) -> int:
    out = subprocess.DEVNULL if quiet else None
    command = [python, "-m", "pip", "--quiet", "--disable-pip-version-check", "install", *arguments]
    return subprocess.call(command, cwd=ROOT, stdout=out, stderr=out)


def has(python: str, module: str) -> bool:
    """Whether this Python is there, and the module in it."""
    try:
        return subprocess.call([python, "-c", f"import {module}"], stderr=subprocess.DEVNULL) == 0
    except OSError:
        return False


def pinned(package: str) -> str:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    return next((line for line in lines if line.startswith(f"{package}==")), package)


def main(arguments: list[str]) -> int:
    here = "--here" in arguments
    extras = ",".join(argument for argument in arguments if argument != "--here")
    if sys.version_info < (3, 11):  # noqa: UP036 - whoever types this may have an older one
        print("duologue needs Python 3.11 or newer", file=sys.stderr)
        return 2
    folder = "Scripts" if os.name == "nt" else "bin"
    python = sys.executable if here else str(VENV / folder / "python")
    if not here and not has(python, "pip"):  # none yet, or the last run ended while it was made
        venv.create(VENV, with_pip=True)
    print("Installing: the first time takes a few minutes, PyTorch is large.")
    if wants_cpu_build() and not has(python, "torch"):
        quick = ["--index-url", CPU_INDEX, "--timeout", "5", "--retries", "0"]
        if pip(python, pinned("torch"), *quick, quiet=True):
            print(f"{CPU_INDEX} cannot be reached: PyTorch comes from the usual index, with CUDA (3 GB).")
    package = f".[{extras}]" if extras else "."
    return pip(python, *([] if here else ["-e"]), package, "-c", "constraints.txt")


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        print("\nInterrupted: the same command goes on.", file=sys.stderr)
        sys.exit(130)
