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
def semantic_nats(lm: LM, codes_BKT: Tensor) -> tuple[float, int]:
    """Sum of the negative log likelihoods of the agent's codebook 0, and over how many frames it is."""
    out = lm(codes_BKT)
    if out.audio_BQTV is None or out.audio_mask_BQT is None:
        raise InputError("this model has no depth transformer: it says nothing that could be scored")
    mask_BT = out.audio_mask_BQT[:, 0]
    logits_NV, target_N = out.audio_BQTV[:, 0][mask_BT].float(), codes_BKT[:, 1][mask_BT]
    return float(F.cross_entropy(logits_NV, target_N, reduction="sum")), len(target_N)


def score_bits(lm: LM, batches: Iterable[Tensor], frame_rate: float, result: Result) -> None:
    """Adds bits a second of codebook 0, with the text row and with it hidden, over all frames: silence too, which is no
    single code.

    `batches`: what the model reads (`held_out.inputs`), int64 `[B, K, T]`, of conversations that were not trained on.
    """
    total, frames, count = [0.0, 0.0], 0, 0
    for codes_BKT in batches:
        hidden_BKT = codes_BKT.clone()
        hidden_BKT[:, 0] = NO_INPUT
        for k, given_BKT in enumerate((codes_BKT, hidden_BKT)):
            nats, count = semantic_nats(lm, given_BKT)
            total[k] += nats
        frames += count
    if not frames:
        raise InputError("these conversations have no sound of the agent's")
    with_text, without = (nats / frames / math.log(2) * frame_rate for nats in total)
    result.add("codebook 0, with the text row", with_text, "bit/s", frames)
    result.add("codebook 0, without", without, "bit/s", frames)
    result.add("saved by the text row", 100 * (1 - with_text / without), "%", frames)
