"""How much the text stream predicts of the agent's codebook 0: bits a second with and without the text.

The text of frame t is known when its codebook 0 is said, so what the row saves is what the inner monologue is worth to
the voice (Moshi paper, section 3.4.4); duplex-0, a published model of 201 M parameters, saves 12 to 14 %.
"""

import math
from collections.abc import Iterable

import torch
import torch.nn.functional as F
from torch import Tensor

from duologue.errors import InputError
from duologue.eval.result import Result
from duologue.lm import LM
from duologue.lm.model import NO_INPUT


@torch.inference_mode()
def semantic_nats(lm: LM, codes_BKT: Tensor, spoken_BT: Tensor) -> tuple[float, int]:
    """Sum of the negative log likelihoods of the agent's codebook 0 in the frames of the mask, and their number."""
    out = lm(codes_BKT)
    if out.audio_BQTV is None or out.audio_mask_BQT is None:
        raise InputError("this model has no depth transformer: it says nothing that could be scored")
    target_BT = codes_BKT[:, 1]
    mask_BT = spoken_BT & out.audio_mask_BQT[:, 0]
    nll_BT = F.cross_entropy(
        out.audio_BQTV[:, 0].transpose(1, 2).float(), target_BT.clamp(min=0), reduction="none"
    )
    return float(nll_BT[mask_BT].sum()), int(mask_BT.sum())


def score_bits(lm: LM, batches: Iterable[Tensor], silence: int, frame_rate: float, result: Result) -> None:
    """Adds bits a second of codebook 0 where the agent is not silent, with the text row and with it hidden.

    `batches`: what the model reads (`held_out.inputs`), int64 `[B, K, T]`, of conversations that were not trained on;
    `silence`: codebook 0 of silence.
    """
    total, frames, count = [0.0, 0.0], 0, 0
    for codes_BKT in batches:
        spoken_BT = (codes_BKT[:, 1] >= 0) & (codes_BKT[:, 1] != silence)
        hidden_BKT = codes_BKT.clone()
        hidden_BKT[:, 0] = NO_INPUT
        for k, given_BKT in enumerate((codes_BKT, hidden_BKT)):
            nats, count = semantic_nats(lm, given_BKT, spoken_BT)
            total[k] += nats
        frames += count
    if not frames:
        raise InputError("the agent says nothing in these conversations")
    with_text, without = (nats / frames / math.log(2) * frame_rate for nats in total)
    result.add("codebook 0, with the text row", with_text, "bit/s", frames)
    result.add("codebook 0, without", without, "bit/s", frames)
    result.add("saved by the text row", 100 * (1 - with_text / without), "%", frames)
