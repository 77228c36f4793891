"""What sets the stages of a language model's training apart: losses, learning rates, how conversations become rows."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from duologue.data.shards import ShardReader
from duologue.lm import LM
from duologue.lm.tokenizer import Tokenizer
from duologue.train.lm import LMLossConfig
from duologue.train.lm_batches import LMBatchConfig, LMBatches
from duologue.train.optim import OptimConfig


@dataclass(frozen=True)
class Plan:
    """What sets one stage apart from the others: its losses and its learning rates."""

    losses: LMLossConfig
    lr: float
    depth_lr: float | None = None
    schedule: Literal["constant", "cosine"] = "cosine"
    rows: LMBatchConfig = field(default_factory=LMBatchConfig)

    def optim(self, steps: int, lr: float | None = None) -> OptimConfig:
        """For a run of `steps`; `lr` in place of the plan's own, if given."""
        warmup = min(200, steps // 10)
        return OptimConfig(lr or self.lr, schedule=self.schedule, warmup=warmup, steps=steps, floor=0.05)


# A small model's own codes are often not those of a recording, and with eight codebooks of them it goes astray in use:
# it hears where its voice is, by the first codebook, and no more.
NANO_ROWS = LMBatchConfig(
    text_lead=3,
    user_frame_dropout=0.05,
    codebook_dropout=0.3,
    blur=0.1,
    own_codebooks=1,
    user_stream_dropout=0.08,
    user_text_late=0.15,
)

PLANS = {
    # the paper's pre-training (table 1)
    "text": Plan(LMLossConfig(audio=0.0, padding=1.0), lr=3e-4),
    "speech-text": Plan(LMLossConfig(codebooks=(100.0, 1.0)), lr=3e-5, depth_lr=2e-4),
    # nano's: first to read the user's codes, then what to answer (half of the cost of all of it), then all of it
    "transcribe": Plan(
        LMLossConfig(text=0.0, audio=0.0, heard=1.0, asr_intermediate=0.5, padding=0.2, own_user_text=0.25),
        lr=1e-3,
        rows=LMBatchConfig(
            user_frame_dropout=0.03,
            codebook_dropout=0.3,
            blur=0.1,
            user_text_late=0.15,
            user_speech_only=True,
        ),
    ),
    "listen": Plan(
        LMLossConfig(audio=0.0, heard=1.0, asr_intermediate=0.5, own_user_text=0.25), lr=1e-3, rows=NANO_ROWS
    ),
    "duplex": Plan(
        LMLossConfig(
            text=8.0,
            audio=4.0,
            heard=6.0,
            asr_intermediate=3.0,
            own_user_text=0.25,
            own_voice=0.5,
            pad_bias=1.2,
            codebooks=(4.0, 1.0, 1.0, 8.0, 1.0),
            acoustic_frames=0.5,
            silent_frames=0.05,
        ),
        1e-3,
        rows=NANO_ROWS,
    ),
    # the paper's, on conversations
    "post": Plan(LMLossConfig(codebooks=(100.0, 1.0)), lr=3e-6, depth_lr=5e-5, schedule="constant"),
    "finetune": Plan(LMLossConfig(codebooks=(100.0, 1.0)), lr=2e-6, depth_lr=4e-6, schedule="constant"),
    "instruct": Plan(LMLossConfig(codebooks=(100.0, 1.0)), lr=2e-6, schedule="constant"),
}


def compile_layers(lm: LM) -> None:
    """Have every layer compiled when it is first used; names of weights stay as they are."""
    for layer in [*lm.temporal.layers, *([] if lm.depth is None else lm.depth.layers)]:
        layer.compile()


def hear_own(lm: LM, codebooks: int) -> None:
    """Have the model hear the first so many of its own codebooks alone, in training and in use: the embeddings of the
    others become 0. Its files and its step are those of any other model."""
    with torch.no_grad():
        for table in lm.audio_embs[codebooks : lm.config.spoken]:
            table.weight[: lm.config.card] = 0


def held_out(
    folders: Iterable[Path], tokenizer: Tokenizer, rows: LMBatchConfig, batches: int = 8
) -> list[dict[str, Tensor]]:
    """The beginnings of held-out conversations, nothing dropped."""
    plain = rows.whole()
    found = []
    for folder in folders:
        data = iter(LMBatches(ShardReader(folder, seed=1), tokenizer, plain))
        found += [next(data) for _ in range(batches)]
    return found
