"""The depth transformer: from one frame's context to its codebooks, one after the other (`lm/depth.py`)."""

from collections.abc import Callable, Sequence

import mlx.core as mx
import mlx.nn as nn

from ..config import DepthConfig, LMConfig
from .attention import attend, split_heads
from .embedding import TokenEmbedding
from .layers import GatedMLP, make_norm

KeysValues = tuple[mx.array, mx.array]  # [B, H, Q, D]


def all_steps(modules: Sequence[nn.Module], schedule: tuple[int, ...], x_BQD: mx.array) -> mx.array:
    """Every step through the weights that the schedule gives it, `[B, Q, D]`."""
    if len(modules) == 1:
        return modules[0](x_BQD)
    return mx.stack([modules[schedule[q]](x_BQD[:, q]) for q in range(x_BQD.shape[1])], 1)


class DepthLayer(nn.Module):
    """Pre-norm block over the codebooks of one frame. The norms are shared by all steps."""

    def __init__(self, config: DepthConfig, norm: str):
        super().__init__()
        dim, kv_dim, sets = config.dim, config.dim // config.kv_repeat, range(config.weight_sets)
        self.config = config
        self.norm1 = make_norm(norm, dim)
        self.in_projs = [nn.Linear(dim, dim + 2 * kv_dim, bias=False) for _ in sets]
        self.out_projs = [nn.Linear(dim, dim, bias=False) for _ in sets]
        self.norm2 = make_norm(norm, dim)
        self.mlps = [GatedMLP(dim, config.feedforward) for _ in sets]

    def _heads(self, qkv_BTD: mx.array) -> list[mx.array]:
        dim, repeat = self.config.dim, self.config.kv_repeat
        parts = mx.split(qkv_BTD, [dim, dim + dim // repeat], -1)
        return [split_heads(part, dim // self.config.heads) for part in parts]

    def __call__(self, x_BQD: mx.array) -> mx.array:
        schedule = self.config.schedule
        q, k, v = self._heads(all_steps(self.in_projs, schedule, self.norm1(x_BQD)))
        x_BQD = x_BQD + all_steps(self.out_projs, schedule, attend(q, k, v, "causal"))
        return x_BQD + all_steps(self.mlps, schedule, self.norm2(x_BQD))

    def step(self, step: int, x_B1D: mx.array, before: KeysValues | None) -> tuple[mx.array, KeysValues]:
        """The output of one codebook, and the keys and values of all so far."""
        use = self.config.schedule[step]
        q, k, v = self._heads(self.in_projs[use](self.norm1(x_B1D)))
        if before is not None:
            k, v = mx.concatenate([before[0], k], 2), mx.concatenate([before[1], v], 2)
        x_B1D = x_B1D + self.out_projs[use](attend(q, k, v, None))
        return x_B1D + self.mlps[use](self.norm2(x_B1D)), (k, v)


class DepthTransformer(nn.Module):
    """Predicts a frame's codebooks from the temporal context `z`, the frame's text token, and the codebooks before."""

    def __init__(self, config: LMConfig):
        super().__init__()
        depth = config.depth
        if depth is None:
            raise ValueError("this model has no depth transformer")
        self.config = depth
        steps, dim, norm = range(len(depth.schedule)), depth.dim, depth.norm_out
        self.in_projs = [nn.Linear(config.temporal.dim, dim, bias=False) for _ in range(depth.weight_sets)]
        self.text_emb = TokenEmbedding(config.text_card + 1, dim, depth.low_rank, config.second_text_stream)
        self.audio_embs = [TokenEmbedding(config.card + 1, dim, depth.low_rank) for _ in steps[1:]]
        self.layers = [DepthLayer(depth, config.temporal.norm) for _ in range(depth.layers)]
        self.norms = [make_norm(norm, dim) if norm else nn.Identity() for _ in steps]
        self.heads = [nn.Linear(dim, config.card, bias=False) for _ in steps]

    def _input(self, q: int, z_BD: mx.array, token_B: mx.array) -> mx.array:
        embedding = self.text_emb if q == 0 else self.audio_embs[q - 1]
        return self.in_projs[self.config.schedule[q]](z_BD) + embedding(token_B)

    def __call__(self, z_BTD: mx.array, tokens_BKT: mx.array) -> mx.array:
        """Teacher-forced logits `[B, Q, T, V]`. `tokens_BKT`: the text and the codebooks of the same frames."""
        batch, frames, dim = z_BTD.shape
        z_ND, steps = z_BTD.reshape(-1, dim), range(len(self.heads))
        x_NQD = mx.stack([self._input(q, z_ND, tokens_BKT[:, q].reshape(-1)) for q in steps], 1)
        for layer in self.layers:
            x_NQD = layer(x_NQD)
        logits = [self.heads[q](self.norms[q](x_NQD[:, q])) for q in steps]
        return mx.stack(logits, 1).reshape(batch, frames, len(steps), -1).swapaxes(1, 2)

    def sample(
        self,
        z_BD: mx.array,
        text_B: mx.array,
        choose: Callable[[int, mx.array], mx.array],
        codebooks: int | None = None,
    ) -> mx.array:
        """One frame's codes `[B, Q]`, or only the first `codebooks` of them; `choose(q, logits_BV)` gives the token of
        codebook q."""
        before: list[KeysValues | None] = [None] * len(self.layers)
        codes: list[mx.array] = []
        for q in range(len(self.heads))[:codebooks]:
            x_B1D = self._input(q, z_BD, codes[-1] if codes else text_B)[:, None]
            for i, layer in enumerate(self.layers):
                x_B1D, before[i] = layer.step(q, x_B1D, before[i])
            codes.append(choose(q, self.heads[q](self.norms[q](x_B1D[:, 0]))))
        return mx.stack(codes, 1)
