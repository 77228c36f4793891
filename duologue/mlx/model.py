"""The language model: token streams in, the next text token and the agent's next codes out (`lm/model.py`)."""

from dataclasses import dataclass

import mlx.core as mx
import mlx.nn as nn

from duologue.config import LMConfig
from duologue.mlx.condition import Condition, Conditioning
from duologue.mlx.depth import DepthTransformer
from duologue.mlx.embedding import TokenEmbedding
from duologue.mlx.layers import make_norm
from duologue.mlx.transformer import KeysValues, Transformer

NO_INPUT = -1  # no input and no loss
TO_GENERATE = -2  # to be sampled


@dataclass
class LMOutput:
    """Teacher-forced predictions, aligned with the codes they predict. Masks are true where a target exists."""

    text_BTV: mx.array
    text_mask_BT: mx.array
    audio_BQTV: mx.array | None  # the agent's codebooks
    audio_mask_BQT: mx.array | None
    hidden_BTD: mx.array  # context z of step t, which predicts the text of frame t; for extra heads


class LM(nn.Module):
    """Temporal and depth transformer over parallel token streams; codes are `[B, K, T]`, as in torch."""

    def __init__(self, config: LMConfig):
        super().__init__()
        self.config = config
        dim = config.temporal.dim
        self.text_emb = TokenEmbedding(config.text_card + 1, dim, two_streams=config.second_text_stream)
        self.audio_embs = [TokenEmbedding(config.card + 1, dim) for _ in range(config.audio_streams)]
        self.temporal = Transformer(config.temporal)
        self.out_norm = make_norm(config.temporal.norm, dim)
        self.text_head = nn.Linear(dim, config.text_card_out, bias=False)
        self.depth = DepthTransformer(config) if config.depth else None
        self.extra_heads = [
            nn.Linear(dim, config.extra_heads_dim, bias=False) for _ in range(config.extra_heads)
        ]
        conditioned = bool(config.conditioning.conditioners)
        self.conditioning = Conditioning(config.conditioning, dim) if conditioned else None

    @property
    def dtype(self) -> mx.Dtype:
        """The computing dtype, which is that of the norms, quantised or not."""
        return self.out_norm["weight"].dtype

    def initial_tokens(self) -> mx.array:
        """The initial token of each stream, `[K]`."""
        return mx.array([self.config.text_card] + [self.config.card] * self.config.audio_streams)

    def embed(self, tokens_BKT: mx.array, condition: Condition | None = None) -> mx.array:
        """Sum of the embeddings of all streams, `[B, T, D]`."""
        x_BTD = self.text_emb(tokens_BKT[:, 0])
        for k, embedding in enumerate(self.audio_embs, start=1):
            x_BTD = x_BTD + embedding(tokens_BKT[:, k])
        if condition is not None and condition.summed_B1D is not None:
            x_BTD = x_BTD + condition.summed_B1D.astype(x_BTD.dtype)
        return x_BTD

    def crossed(self, condition: Condition | None) -> list[KeysValues] | None:
        """Keys and values of the condition that every layer attends to."""
        if not self.config.temporal.cross_attention:
            return None
        if condition is None or condition.crossed_BSD is None:
            raise ValueError("this model attends to a condition: pass `condition=lm.conditioning({...})`")
        return self.temporal.keys_values(condition.crossed_BSD.astype(self.dtype))

    def context(self, codes_BKT: mx.array, condition: Condition | None = None) -> tuple[mx.array, mx.array]:
        """The temporal transformer's output before each frame, `[B, T, D]`, and the delayed codes, `[B, K, T]`."""
        delayed_BKT = delay(codes_BKT, self.config.delays, self.initial_tokens())
        first_BK1 = mx.broadcast_to(self.initial_tokens()[None, :, None], (*codes_BKT.shape[:2], 1))
        inputs_BKT = mx.concatenate([first_BK1, delayed_BKT[..., :-1]], -1)
        x_BTD, first = self.embed(inputs_BKT, condition), 0
        if condition is not None and condition.prepended_BSD is not None:
            first_BSD = condition.prepended_BSD.astype(x_BTD.dtype)
            first_BSD = mx.broadcast_to(first_BSD, (len(x_BTD), *first_BSD.shape[1:]))
            x_BTD, first = mx.concatenate([first_BSD, x_BTD], 1), first_BSD.shape[1]
        x_BTD = self.temporal(x_BTD, self.crossed(condition))[:, first:]
        return self.out_norm(x_BTD), delayed_BKT

    def write_down(self, z_BD: mx.array) -> mx.array:
        """The likeliest token of the user's transcript in this frame, `[B]`; -1 if the model writes none."""
        if not self.config.writes_down_user:
            return mx.full(z_BD.shape[:1], NO_INPUT, mx.int32)
        return self.extra_heads[0](z_BD).argmax(-1).astype(mx.int32)

    def with_user_text(self, text_B: mx.array, user_B: mx.array) -> mx.array:
        """Input ids of the text stream in the next frame: the agent's token and the user's transcript token in one id.
        A `text_B` of -1 stays -1: no input."""
        second_B = mx.where(user_B == self.config.pad_id, -1, user_B)
        both_B = text_B + (second_B + 1) * (self.config.text_card + 1)
        return mx.where(text_B < 0, text_B, both_B)

    def __call__(self, codes_BKT: mx.array, condition: Condition | None = None) -> LMOutput:
        """Predict every code of `codes_BKT` from the frames before it and, in depth, the codes before it in its frame.

        Delays are applied inside; the last `delay` frames of a delayed stream have no prediction, and are masked.
        """
        config = self.config
        z_BTD, delayed_BKT = self.context(codes_BKT, condition)
        text_mask_BT = codes_BKT[:, 0] != NO_INPUT
        audio_BQTV = audio_mask_BQT = None
        if self.depth is not None:
            spoken = slice(1, 1 + config.depth_steps)
            audio_BQTV, in_time_QT = undelay(self.depth(z_BTD, delayed_BKT), config.delays[spoken])
            audio_mask_BQT = in_time_QT & (codes_BKT[:, spoken] != NO_INPUT)
        return LMOutput(self.text_head(z_BTD), text_mask_BT, audio_BQTV, audio_mask_BQT, z_BTD)


def delay(codes_BKT: mx.array, delays: tuple[int, ...], initial_K: mx.array) -> mx.array:
    """Shift each stream later by its delay, in frames; the initial token fills the front."""
    batch, _, frames = codes_BKT.shape
    rows = []
    for k, shift in enumerate(delays):
        front = mx.broadcast_to(initial_K[k], (batch, min(shift, frames)))
        rows.append(mx.concatenate([front, codes_BKT[:, k, : max(0, frames - shift)]], -1))
    return mx.stack(rows, 1)


def undelay(logits_BQTV: mx.array, delays: tuple[int, ...]) -> tuple[mx.array, mx.array]:
    """Shift each stream's logits back by its delay. The mask `[Q, T]` is false where nothing was predicted."""
    frames = logits_BQTV.shape[2]
    source_QT = mx.arange(frames) + mx.array(delays)[:, None]
    index_QT = mx.minimum(source_QT, frames - 1)
    stream_Q1 = mx.arange(len(delays))[:, None]
    return logits_BQTV[:, stream_Q1, index_QT], source_QT < frames
