"""Random weights, for tests and timings."""

from collections.abc import Generator
from contextlib import contextmanager

import torch

from duologue.codec import Codec
from duologue.codec.codebook import Codebook
from duologue.codec.init import scale_to_speech
from duologue.config import CodecConfig, LMConfig
from duologue.lm import LM


def random_codec(config: CodecConfig, seed: int = 0) -> Codec:
    """A codec with random weights that each matter, and codes that change with the sound: for tests and timings."""
    with _seeded(seed):
        codec = Codec(config)
        for module in codec.modules():
            if isinstance(module, Codebook):
                module.embedding_sum.normal_()
                module.initialized.fill_(1)
        scale_to_speech(codec, 0.1 * torch.randn(1, 4 * config.frame_size))
    return codec.eval()


def random_lm(config: LMConfig, seed: int = 0) -> LM:
    """A language model with random weights."""
    with _seeded(seed):
        return LM(config).eval()


@contextmanager
def _seeded(seed: int) -> Generator[None]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield
