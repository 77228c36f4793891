"""Pre-training on alternating speech and text batches with separate optimiser states (paper, section 4.2). Their
gradients differ in direction and size, so each kind has its own moments.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from torch import Tensor

from duologue.lm import LM
from duologue.train.lm import LMLossConfig, LMStage
from duologue.train.optim import Group, OptimConfig, Optimizer
from duologue.train.parallel import World

TEXT_SHARE = 0.75  # of the learning rate, for text embeddings and heads, on batches of speech


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
        super().__init__(lm, config, optim, depth_lr, valid, world)
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
