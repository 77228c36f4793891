"""The language model: 17 token streams in, the next text token and the agent's next codes out (paper, section 3.4).

tokens_BK of the last frame -> sum of embeddings -> temporal transformer -> z_BD -> text token
                                                                         z_BD + text -> depth transformer -> 8 codes
"""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from duologue.config import LMConfig
from duologue.lm.condition import Condition, Conditioning
from duologue.lm.depth import DepthTransformer
from duologue.lm.embedding import TokenEmbedding, all_given, two_in_one
from duologue.nn.attention import first_weight
from duologue.nn.linear import Linear
from duologue.nn.norm import make_norm
from duologue.nn.stack import Stack
from duologue.nn.transformer import KeysValues, Transformer

NO_INPUT = -1  # no input and no loss
TO_GENERATE = -2  # to be sampled


@dataclass
class LMOutput:
    """Teacher-forced predictions, aligned with the codes they predict. Masks are true where a target exists."""

    text_BTV: Tensor
    text_mask_BT: Tensor
    audio_BQTV: Tensor | None  # the agent's codebooks
    audio_mask_BQT: Tensor | None
    hidden_BTD: Tensor  # context z of step t, which predicts the text of frame t; for extra heads


class LM(nn.Module):
    """Temporal and depth transformer over parallel token streams.

    Codes are int64 `[B, K, T]`: text, the agent's codebooks, the user's codebooks. -1 means no input and no loss.
    """

    def __init__(self, config: LMConfig):
        super().__init__()
        self.config = config
        dim = config.temporal.dim
        self.text_emb = TokenEmbedding(config.text_card + 1, dim, two_streams=config.second_text_stream)
        self.audio_embs = Stack(TokenEmbedding(config.card + 1, dim) for _ in range(config.audio_streams))
        self.temporal = Transformer(config.temporal)
        self.out_norm = make_norm(config.temporal.norm, dim)
        self.text_head = Linear(dim, config.text_card_out, bias=False)
        self.depth = DepthTransformer(config) if config.depth else None
        self.extra_heads = nn.ModuleList(
            Linear(dim, config.extra_heads_dim, bias=False) for _ in range(config.extra_heads)
        )
        conditioned = bool(config.conditioning.conditioners)
        self.conditioning = Conditioning(config.conditioning, dim) if conditioned else None
        # From numpy: real also where modules are made without memory.
        self.register_buffer("delays_K", torch.from_numpy(np.array(config.delays)), persistent=False)
        self.delays_K: Tensor

    @property
    def device(self) -> torch.device:
        return self.text_emb.weight.device

    def initial_tokens(self) -> Tensor:
        """The initial token of each stream, `[K]`."""
        tokens_K = torch.full((self.config.streams,), self.config.card, device=self.device)
        tokens_K[0] = self.config.text_card
        return tokens_K

    def embed(self, tokens_BKT: Tensor, condition: Condition | None = None) -> Tensor:
        """Sum of the embeddings of all streams, `[B, T, D]`."""
        x_BTD = self.text_emb(tokens_BKT[:, 0])
        for k, embedding in enumerate(self.audio_embs, start=1):
            x_BTD = x_BTD + embedding(tokens_BKT[:, k])
        return _told(x_BTD, condition)

    def embed_frame(self, tokens_BK1: Tensor, condition: Condition | None = None) -> Tensor:
        """As `embed`, in fewer and larger operations, which a single frame's memory allows."""
        audio_BQ1 = tokens_BK1[:, 1:]
        given = all_given(audio_BQ1)
        rows = zip(self.audio_embs, (audio_BQ1 if given else audio_BQ1.clamp(min=0)).unbind(1), strict=True)
        audio_BQ1D = torch.stack([F.embedding(ids_B1, table.weight) for table, ids_B1 in rows], 1)
        if not given:
            audio_BQ1D = torch.where((audio_BQ1 >= 0)[..., None], audio_BQ1D, 0)
        return _told(self.text_emb(tokens_BK1[:, 0]) + audio_BQ1D.sum(1), condition)

    def crossed(self, condition: Condition | None) -> list[KeysValues] | None:
        """Keys and values of the condition that every layer attends to."""
        if not self.config.temporal.cross_attention:
            return None
        if condition is None or condition.crossed_BSD is None:
            raise ValueError("this model attends to a condition: pass `condition=lm.conditioning({...})`")
        return self.temporal.keys_values(condition.crossed_BSD.to(first_weight(self).dtype))

    def delayed(self, codes_BKT: Tensor) -> Tensor:
        """The codes with each stream shifted by its delay."""
        return delay(codes_BKT, self.config.delays, self.initial_tokens())

    def context(self, codes_BKT: Tensor, condition: Condition | None = None) -> tuple[Tensor, Tensor]:
        """The temporal transformer's output before each frame, `[B, T, D]`, and the delayed codes, `[B, K, T]`."""
        delayed_BKT = self.delayed(codes_BKT)
        first_BK1 = self.initial_tokens().expand(len(codes_BKT), -1)[..., None]
        inputs_BKT = torch.cat([first_BK1, delayed_BKT[..., :-1]], -1)
        x_BTD, first = self.embed(inputs_BKT, condition), 0
        if condition is not None and condition.prepended_BSD is not None:
            first_BSD = condition.prepended_BSD.to(x_BTD).expand(len(x_BTD), -1, -1)
            x_BTD, first = torch.cat([first_BSD, x_BTD], 1), first_BSD.shape[1]
        x_BTD = self.temporal(x_BTD, self.crossed(condition))[:, first:]
        return self.out_norm(x_BTD), delayed_BKT

    def write_down(self, z_BD: Tensor) -> Tensor:
        """The likeliest token of the user's transcript in this frame, `[B]`; -1 if the model writes none."""
        if not self.config.writes_down_user:
            return torch.full(z_BD.shape[:1], NO_INPUT, device=z_BD.device)
        return self.extra_heads[0](z_BD).argmax(-1)

    def with_user_text(self, text: Tensor, user: Tensor) -> Tensor:
        """Input ids of the text stream in the next frame: the agent's token and the user's transcript token in one id.
        A `text` of -1 stays -1: no input."""
        config = self.config
        both = two_in_one(text, user, config.text_card + 1, config.pad_id)
        return torch.where(text < 0, text, both)

    def forward(self, codes_BKT: Tensor, condition: Condition | None = None) -> LMOutput:
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


def _told(x_BTD: Tensor, condition: Condition | None) -> Tensor:
    if condition is None or condition.summed_B1D is None:
        return x_BTD
    return x_BTD + condition.summed_B1D.to(x_BTD)


def delay(codes_BKT: Tensor, delays: tuple[int, ...], initial_K: Tensor) -> Tensor:
    """Shift each stream later by its delay, in frames; the initial token fills the front."""
    rows = []
    for k, shift in enumerate(delays):
        front = initial_K[k].expand(len(codes_BKT), shift)
        rows.append(torch.cat([front, codes_BKT[:, k, : codes_BKT.shape[-1] - shift]], -1))
    return torch.stack(rows, 1)


def undelay(logits_BQTV: Tensor, delays: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """Shift each stream's logits back by its delay. The mask `[Q, T]` is false where nothing was predicted."""
    frames = logits_BQTV.shape[2]
    shift_Q1 = torch.tensor(delays, device=logits_BQTV.device)[:, None]
    source_QT = torch.arange(frames, device=logits_BQTV.device) + shift_Q1
    if not any(delays):
        return logits_BQTV, source_QT < frames
    index_QT = source_QT.clamp(max=frames - 1)
    stream_Q1 = torch.arange(len(delays), device=logits_BQTV.device)[:, None]
    return logits_BQTV[:, stream_Q1, index_QT], source_QT < frames
