"""Timing of steps, and the context of a figure: threads, memory, and this machine's memory bandwidth."""

import os
import platform
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

READ = 2**28  # bytes of the bandwidth test: more than any cache


def milliseconds(step: Callable[[], object], frames: int, warmup: int) -> list[float]:
    """Time of each of `frames` steps, after `warmup` steps that do not count."""
    for _ in range(warmup):
        step()
    taken = []
    for _ in range(frames):
        began = time.perf_counter()
        step()
        taken.append((time.perf_counter() - began) * 1000)
    return taken


def p50(values: list[float]) -> float:
    return round(float(np.percentile(values, 50)), 3)


def p99(values: list[float]) -> float:
    return round(float(np.percentile(values, 99)), 3)


def read_gb_per_s() -> float:
    """Memory bandwidth of all threads together: the median of some passes."""
    values = torch.ones(READ // 4)
    return round(READ / p50(milliseconds(values.sum, 15, 3)) / 1e6, 2)


def memory_mb() -> int | None:
    """Resident memory of the process; None where /proc is missing."""
    try:
        with open("/proc/self/statm") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") // 2**20
    except OSError:
        return None


def machine() -> dict[str, Any]:
    """The settings that a figure depends on."""
    return {
        "cpu": _cpu(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "python": platform.python_version(),
    }


def _cpu() -> str:
    if sys.platform == "linux":
        with open("/proc/cpuinfo") as file:
            for line in file:
                if line.startswith("model name"):
                    return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()
