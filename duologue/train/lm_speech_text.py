"""Pre-training on speech and text in turn, each with an optimiser state of its own (paper, section 4.2).

The two kinds of batches pull the same weights in different directions with gradients of different size; with moments
of their own neither spoils the other's.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from torch import Tensor

from duologue.lm import LM
from duologue.train.lm import LMLossConfig, LMStage
from duologue.train.optim import Group, OptimConfig, Optimizer
from duologue.train.parallel import World

TEXT_SHARE = 0.75  # of the learning rate, for what reads and writes text, on batches of speech


class SpeechTextStage(LMStage):
    """Trains `lm` on batches of `lm_text_batches.MixedBatches`."""

    def __init__(
        self,
        lm: LM,
        config: LMLossConfig,
        optim: OptimConfig,
        depth_lr: float | None = None,
        valid: Iterable[dict[str, Tensor]] = (),
        world: World | None = None,
    ):
        super().__init__(lm, config, optim, depth_lr, None, valid, world)
        groups = [Group(r"^text_", lr=TEXT_SHARE * optim.lr)]
        groups += [Group(r"^depth", lr=depth_lr)] if depth_lr else []
        self.optimizers = {
            "speech": Optimizer(lm, optim, groups),
            "text": Optimizer(lm, replace(optim), select=r"^(?!depth)"),
        }

    def train_step(self, batches: Sequence[Any], step: int) -> dict[str, float]:
        seconds = sum(b["codes"].shape[0] * b["codes"].shape[-1] for b in batches) * 0.08
        speech = bool((batches[0]["codes"][:, 1:] >= 0).any())
        result = self.update("speech" if speech else "text", self.loss, batches, step)
        return result | {"data_seconds": seconds}
