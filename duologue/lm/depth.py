"""The depth transformer: from one frame's context to its codebooks, one after the other (section 3.4.1)."""

from collections.abc import Callable
from itertools import islice
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from duologue.config import DepthConfig, LMConfig
from duologue.lm.embedding import TokenEmbedding
from duologue.nn.attention import attend, split_heads
from duologue.nn.linear import Linear
from duologue.nn.mlp import GatedMLP
from duologue.nn.norm import make_norm
from duologue.nn.rope import sinusoids
from duologue.nn.stack import Stack


class PerStep(Stack[nn.Module]):
    """Sets of weights, each for one codebook or shared by several, as the schedule says."""

    def __init__(self, schedule: tuple[int, ...], make: Callable[[], nn.Module]):
        super().__init__(make() for _ in range(max(schedule) + 1))
        self.names = [str(which) for which in schedule]

    def at(self, step: int) -> Any:
        return self._modules[self.names[step]]  # called many times a frame; ModuleList's look-up is slow

    def all_steps(self, x_BQD: Tensor) -> Tensor:
        """Each step through its own weights, `[B, Q, D]`."""
        if len(self) == 1:
            return self[0](x_BQD)
        return torch.stack([self.at(q)(x_BQD[:, q]) for q in range(x_BQD.shape[1])], 1)


class DepthLayer(nn.Module):
    """Pre-norm block over the codebooks of one frame. The norms are shared by all steps."""

    def __init__(self, config: DepthConfig, norm: str):
        super().__init__()
        dim = config.dim
        self.head_dim = dim // config.heads
        self.kv_heads = config.heads // config.kv_repeat
        self.split = [dim, dim // config.kv_repeat, dim // config.kv_repeat]
        self.norm1 = make_norm(norm, dim)
        self.in_projs = PerStep(config.schedule, lambda: Linear(dim, sum(self.split), bias=False))
        self.out_projs = PerStep(config.schedule, lambda: Linear(dim, dim, bias=False))
        self.norm2 = make_norm(norm, dim)
        self.mlps = PerStep(config.schedule, lambda: GatedMLP(dim, config.feedforward))

    def forward(self, x_BQD: Tensor) -> Tensor:
        qkv = self.in_projs.all_steps(self.norm1(x_BQD)).split(self.split, -1)
        q, k, v = (split_heads(part, self.head_dim) for part in qkv)
        x_BQD = x_BQD + self.out_projs.all_steps(attend(q, k, v, None, causal=True))
        return x_BQD + self.mlps.all_steps(self.norm2(x_BQD))

    def init_past(self, batch: int, like: Tensor) -> Tensor:
        """Buffer for the keys and values of a frame's codebooks, `[2, B * H, Q, D]`."""
        return like.new_empty(2, batch * self.kv_heads, len(self.in_projs.names), self.head_dim)

    def step(self, step: int, x_BD: Tensor, past_2NQD: Tensor) -> Tensor:
        """One codebook of one frame. `past_2NQD`: keys and values of the frame's codebooks so far.

        Query heads that share a key head are rows of one matrix, so attention is two products for all slots.
        """
        batch, head_dim = len(x_BD), self.head_dim
        qkv_BE = self.in_projs.at(step)(self.norm1(x_BD))
        q_BD, kv_BE = qkv_BE.split_with_sizes([self.split[0], 2 * self.split[1]], -1)
        new_2ND = kv_BE.view(batch, 2, self.kv_heads, head_dim).transpose(0, 1).flatten(1, 2)
        past_2NQD.select(2, step).copy_(new_2ND)
        k_NQD, v_NQD = past_2NQD.narrow(2, 0, step + 1).unbind()
        q_NRD = q_BD.reshape(k_NQD.shape[0], -1, head_dim)
        nothing = k_NQD.new_empty(1)
        weights_NRQ = torch.baddbmm(nothing, q_NRD, k_NQD.mT, beta=0, alpha=head_dim**-0.5).softmax(-1)
        x_BD = x_BD + self.out_projs.at(step)(torch.bmm(weights_NRQ, v_NQD).view(batch, -1))
        return x_BD + self.mlps.at(step)(self.norm2(x_BD))


class DepthTransformer(nn.Module):
    """Predicts a frame's codebooks from the temporal context `z`, the frame's text token, and the codebooks before."""

    def __init__(self, config: LMConfig):
        super().__init__()
        depth = config.depth
        if depth is None:
            raise ValueError("this model has no depth transformer")
        self.config = depth
        steps = len(depth.schedule)
        self.in_projs = PerStep(depth.schedule, lambda: Linear(config.temporal.dim, depth.dim, bias=False))
        self.text_emb = TokenEmbedding(
            config.text_card + 1, depth.dim, depth.low_rank, config.second_text_stream
        )
        self.audio_embs = Stack(
            TokenEmbedding(config.card + 1, depth.dim, depth.low_rank) for _ in range(steps - 1)
        )
        self.layers = Stack(DepthLayer(depth, config.temporal.norm) for _ in range(depth.layers))
        self.checkpointing = False  # as in `nn.transformer.Transformer`
        norm = depth.norm_out
        self.norms = nn.ModuleList(
            make_norm(norm, depth.dim) if norm else nn.Identity() for _ in range(steps)
        )
        self.heads = nn.ModuleList(Linear(depth.dim, config.card, bias=False) for _ in range(steps))

    def _positions_QD(self, like: Tensor) -> Tensor:
        """Sinusoidal embedding of each codebook's position, if the model has it besides per-codebook weights."""
        assert self.config.max_period is not None
        position_1Q = torch.arange(len(self.heads), device=like.device)[None]
        return sinusoids(position_1Q, self.config.dim, self.config.max_period)[0].to(like.dtype)

    def forward(self, z_BTD: Tensor, tokens_BKT: Tensor, codebooks: int | None = None) -> Tensor:
        """Teacher-forced logits `[B, Q, T, V]`, of all codebooks or the first `codebooks`. `tokens_BKT`: the text and
        the codebooks of the same frames."""
        batch, frames, _ = z_BTD.shape
        z_ND = z_BTD.flatten(0, 1)
        inputs = []
        for q in range(codebooks or len(self.heads)):
            embedding = self.text_emb if q == 0 else self.audio_embs[q - 1]
            inputs.append(self.in_projs.at(q)(z_ND) + embedding(tokens_BKT[:, q].flatten()))
        x_NQD = torch.stack(inputs, 1)
        if self.config.max_period is not None:
            x_NQD = x_NQD + self._positions_QD(x_NQD)[:codebooks]
        for layer in self.layers:
            if self.checkpointing and self.training:
                x_NQD = checkpoint(layer, x_NQD, use_reentrant=False)
            else:
                x_NQD = layer(x_NQD)
        outputs = zip(self.heads, self.norms, x_NQD.unbind(1), strict=codebooks is None)
        logits = [head(norm(x_ND)) for head, norm, x_ND in outputs]
        return torch.stack(logits, 1).unflatten(0, (batch, frames)).transpose(1, 2)

    def sample(
        self,
        z_BD: Tensor,
        text_B: Tensor,
        choose: Callable[[int, Tensor], Tensor],
        codebooks: int | None = None,
    ) -> Tensor:
        """One frame's codes `[B, Q]`, or only the first `codebooks` of them; `choose(q, logits_BV)` gives the token of
        codebook q."""
        told = [project(z_BD) for project in self.in_projs]
        layers = [(layer, layer.init_past(len(z_BD), z_BD)) for layer in self.layers]
        steps = zip(
            self.config.schedule, [self.text_emb, *self.audio_embs], self.norms, self.heads, strict=True
        )
        codes = [text_B]
        places = None if self.config.max_period is None else self._positions_QD(z_BD)
        for q, (which, embedding, norm, head) in enumerate(islice(steps, codebooks)):
            x_BD = told[which] + embedding(codes[-1])
            if places is not None:
                x_BD = x_BD + places[q]
            for layer, past_2NQD in layers:
                x_BD = layer.step(q, x_BD, past_2NQD)
            codes.append(choose(q, head(norm(x_BD))))
        return torch.stack(codes[1:], 1)
