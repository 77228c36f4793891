"""Held-out conversations as a model reads them, from the shards that `duologue data encode` writes."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from duologue.data.shards import ShardReader
from duologue.lm import LM
from duologue.train.lm_batches import LMBatchConfig, LMBatches
from duologue.weights import Model

FRAMES = 300  # 24 s


@dataclass(frozen=True)
class HeldOut:
    """A batch: what to predict and what the model reads, int64 `[4, K, 300]`, which differ in the text row of a model
    that reads the user's words too. `speaks_BT`: in which frames the agent speaks."""

    codes_BKT: Tensor
    inputs_BKT: Tensor
    speaks_BT: Tensor


def read_held_out(model: Model, shards: Sequence[Path], batches: int, text_lead: int) -> list[HeldOut]:
    """So many batches, the same every time. `text_lead`: frames by which words stand ahead of their sound."""
    config = LMBatchConfig(frames=FRAMES, text_lead=text_lead).of(model.lm.config).whole()
    data = iter(LMBatches(ShardReader(*shards, seed=1), model.tokenizer, config))
    found = [next(data) for _ in range(batches)]
    return [HeldOut(batch["codes"], inputs(model.lm, batch), batch["speaks"]) for batch in found]


def inputs(lm: LM, batch: dict[str, Tensor]) -> Tensor:
    """The codes of a batch with the user's words in the text row, where the model reads them."""
    codes_BKT = batch["codes"]
    if not lm.config.reads_user_text:
        return codes_BKT
    text_BT = lm.with_user_text(codes_BKT[:, 0], batch["user_text"])
    return torch.cat([text_BT[:, None], codes_BKT[:, 1:]], 1)
