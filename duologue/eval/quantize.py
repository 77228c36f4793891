"""The cost of quantising a language model: the paper's table (section 5.7), for any model."""

import copy
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from duologue.eval.held_out import HeldOut
from duologue.lm import LM
from duologue.weights.packed import quantize_affine
from duologue.weights.save import linears, tables

GROUPS = {"q8": 64, "q6": 64, "q5": 64, "q4": 32, "q3": 32}
"""Weights that share a scale and a zero: what MLX's published files use for 8 and 4 bits, and the same around them."""
KINDS = ("fp32", "bf16", *GROUPS)
SCALE_BYTES = 4  # a scale and a zero in 16 bits each


@dataclass(frozen=True)
class Row:
    """One precision: megabytes of weights; the share of positions whose likeliest token is that of float32 (text: all
    frames; audio: frames in which the agent sounds); perplexities there; right answers, if conversations were held."""

    kind: str
    megabytes: float
    text_agreement: float
    audio_agreement: float
    text_perplexity: float
    audio_perplexity: float
    right: float | None = None


def evaluate_quantized(
    lm: LM,
    batches: Sequence[HeldOut],
    answers: Callable[[LM], float | None] = lambda lm: None,
    kinds: Iterable[str] = KINDS,
) -> Iterator[Row]:
    """A row for each precision, one at a time.

    `batches`: of conversations not trained on; `answers(lm)`: the share of questions that a model answers right.
    """
    plain = [_predict(lm, batch) for batch in batches]
    for kind in kinds:
        rounded, size = quantized(lm, kind)
        found = [_predict(rounded, batch) for batch in batches]
        text, audio = (
            _compare([getattr(p, part) for p in plain], [getattr(p, part) for p in found])
            for part in ("text", "audio")
        )
        yield Row(kind, size / 1e6, text[0], audio[0], text[1], audio[1], answers(rounded))


def quantized(lm: LM, kind: str) -> tuple[LM, int]:
    """A copy whose weights have been rounded, in float32, and the bytes that the rounded ones take.

    "q8" to "q3" round what the files of MLX round (linear layers, embeddings without a projection), and the rest to
    bfloat16.
    """
    lm = copy.deepcopy(lm).float()
    packable, size = linears(lm) | tables(lm), 0
    for name, weight in lm.named_parameters():
        if kind == "fp32":
            size += 4 * weight.numel()
            continue
        weight.data = weight.data.bfloat16().float()
        group, bits = GROUPS.get(kind, 0), int(kind[1:]) if kind in GROUPS else 16
        if bits < 16 and name in packable and weight.shape[-1] % group == 0:
            weight.data = quantize_affine(weight.data.bfloat16(), bits, group).dense()
            size += weight.numel() * bits // 8 + weight.numel() // group * SCALE_BYTES
        else:
            size += 2 * weight.numel()
    return lm.eval(), size


@dataclass(frozen=True)
class _Predicted:
    """(likeliest token, negative log likelihood of the true one), each [N]."""

    text: tuple[Tensor, Tensor]
    audio: tuple[Tensor, Tensor]


def _predict(lm: LM, batch: HeldOut) -> _Predicted:
    with torch.inference_mode():
        out = lm(batch.inputs_BKT)
    assert out.audio_BQTV is not None and out.audio_mask_BQT is not None
    agent_BQT = batch.codes_BKT[:, 1 : 1 + lm.config.depth_steps]
    mask_BQT = out.audio_mask_BQT & batch.speaks_BT[:, None]
    return _Predicted(
        _score(out.text_BTV, batch.codes_BKT[:, 0], out.text_mask_BT),
        _score(out.audio_BQTV, agent_BQT, mask_BQT),
    )


def _score(logits: Tensor, target: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    logits_NV, target_N = logits[mask].float(), target[mask]
    return logits_NV.argmax(-1), F.cross_entropy(logits_NV, target_N, reduction="none")


def _compare(
    plain: Sequence[tuple[Tensor, Tensor]], found: Sequence[tuple[Tensor, Tensor]]
) -> tuple[float, float]:
    """(share of equal tokens, perplexity)."""
    same = torch.cat([a[0] == b[0] for a, b in zip(plain, found, strict=True)])
    loss = torch.cat([b[1] for b in found])
    return float(same.float().mean()), math.exp(float(loss.mean()))
