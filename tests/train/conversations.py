"""Made-up conversations for the tests of the language model's training, with the tiny model's vocabulary."""

from pathlib import Path

import numpy as np

from duologue import presets
from duologue.data.shards import ShardReader
from duologue.lm.tokenizer import Tokenizer
from duologue.train.lm_batches import LMBatchConfig, LMBatches

TOKENIZER = Tokenizer(Path(presets.__file__).parent / "assets" / "tiny" / "tokenizer.model")
FRAMES = 50


def conversation(seed: int) -> dict:
    rng = np.random.default_rng(seed)
    codes = np.zeros((2, 8, FRAMES), np.int16)
    codes[1, :, 5:15] = rng.integers(1, 32, (8, 10))
    codes[0, :, 20:40] = rng.integers(1, 32, (8, 20))
    words = [[" hello", [0.4, 1.2], "SPEAKER_USER"], [" yes", [1.68, 2.0], "SPEAKER_MAIN"]]
    return {"key": f"talk-{seed}", "codes.npy": codes, "json": {"alignments": words}}


def batches(shards: Path, **changes) -> LMBatches:
    config = LMBatchConfig(batch=3, frames=40, **changes)
    return LMBatches(ShardReader(shards, seed=1), TOKENIZER, config)


def whole_piece(sample: dict, seed: int = 0) -> dict[str, np.ndarray]:
    batches = LMBatches(None, TOKENIZER, LMBatchConfig(batch=1, frames=40, from_start=1.0))  # type: ignore
    return batches.crop(sample, np.random.default_rng(seed))
