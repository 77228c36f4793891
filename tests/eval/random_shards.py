"""Shards of random codes, for evaluations of held-out conversations."""

from pathlib import Path

import numpy as np

from duologue.data.shards import write_shards


def write_random_shards(folder: Path) -> None:
    """Four conversations of 60 frames without words; the agent is silent in the first 40."""
    rng = np.random.default_rng(0)
    samples = []
    for number in range(4):
        codes = rng.integers(1, 32, (2, 8, 60)).astype(np.int16)
        codes[0, :, :40] = np.arange(8)[:, None]
        samples.append({"key": str(number), "codes.npy": codes, "json": {"alignments": []}})
    write_shards(folder, samples)
