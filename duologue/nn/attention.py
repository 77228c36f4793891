"""Multi-head attention: causal over a bounded context, or across to a conditioning sequence."""

from itertools import chain

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from duologue.nn.kv_cache import CacheRows, KVCache, Place, causal_mask, last_of_block
from duologue.nn.linear import Linear
from duologue.nn.rope import Rotation, complex_rotation, rotate, turns


def split_heads(x_BTD: Tensor, head_dim: int) -> Tensor:
    """`[B, T, H * D]` to `[B, H, T, D]`."""
    batch, steps, _ = x_BTD.shape
    return x_BTD.view(batch, steps, -1, head_dim).transpose(1, 2)


def attend_few(q_BHTD: Tensor, k_BHSD: Tensor, v_BHSD: Tensor, mask_B1TS: Tensor | None) -> Tensor:
    """As `attend`, for the few queries of one conversation, where three matrix products take half the time of the fused
    kernel. The mask is additive."""
    if q_BHTD.shape[0] != 1 or q_BHTD.shape[1] != k_BHSD.shape[1] or q_BHTD.device.type != "cpu":
        return attend(q_BHTD, k_BHSD, v_BHSD, mask_B1TS)
    q, k, v = q_BHTD[0], k_BHSD[0], v_BHSD[0]
    scale = q.shape[-1] ** -0.5
    if mask_B1TS is None:
        weights_HTS = (torch.bmm(q, k.mT) * scale).softmax(-1)
    else:
        weights_HTS = torch.baddbmm(mask_B1TS[0], q, k.mT, alpha=scale).softmax(-1)
    return torch.bmm(weights_HTS, v).transpose(0, 1).reshape(1, q.shape[1], -1)


def attend(
    q_BHTD: Tensor, k_BHSD: Tensor, v_BHSD: Tensor, mask: Tensor | None, causal: bool = False
) -> Tensor:
    """Scaled dot-product attention, heads merged again: `[B, T, H * D]`. Fewer key heads than query heads repeat."""
    grouped = q_BHTD.shape[1] != k_BHSD.shape[1]
    out_BHTD = F.scaled_dot_product_attention(
        q_BHTD, k_BHSD, v_BHSD, attn_mask=mask, is_causal=causal, enable_gqa=grouped
    )
    return out_BHTD.transpose(1, 2).flatten(-2)


class SelfAttention(nn.Module):
    """Causal self-attention with rotary positions over the last `context` positions (None: all).

    One projection gives queries, keys and values, as in the published files. `kv_repeat` query heads share a key head.
    """

    def __init__(
        self,
        dim: int,
        heads: int,
        context: int | None,
        max_period: float | None = 10_000.0,
        interleaved: bool = True,
        kv_repeat: int = 1,
        bias: bool = False,
        block: int = 1,
    ):
        super().__init__()
        self.head_dim = dim // heads
        self.kv_heads = heads // kv_repeat
        self.all_heads = heads + 2 * self.kv_heads  # of queries, keys and values
        self.context = context
        self.max_period = max_period
        self.interleaved = interleaved
        self.block = block
        self.in_proj = Linear(dim, dim + 2 * self.kv_heads * self.head_dim, bias)
        self.out_proj = Linear(dim, dim, bias)

    def turns(self, position_BT: Tensor) -> Rotation | None:
        """Rotations of queries and keys at these positions; the same in every layer of a stack."""
        if self.max_period is None:
            return None
        return turns(position_BT, self.head_dim, self.max_period, self.interleaved)

    def step_rotation(self, position_BT: Tensor) -> Rotation | None:
        """As `turns`, for queries, keys and values side by side: the values do not turn."""
        if self.max_period is None:
            return None
        moving = self.all_heads - self.kv_heads
        if self.interleaved and position_BT.device.type == "cpu" and not torch.compiler.is_compiling():
            return complex_rotation(position_BT, moving, self.kv_heads, self.head_dim, self.max_period)
        rotation = turns(position_BT, self.head_dim, self.max_period, self.interleaved)
        cos, sin = (table.expand(-1, moving, -1, -1) for table in rotation)
        still = cos[:, : self.kv_heads]
        return torch.cat([cos, torch.ones_like(still)], 1), torch.cat([sin, torch.zeros_like(still)], 1)

    def _qkv(self, x_BTD: Tensor, rotation: Rotation | None) -> tuple[Tensor, Tensor, Tensor]:
        dim, kv = x_BTD.shape[-1], self.kv_heads * self.head_dim
        both, v = self.in_proj(x_BTD).split_with_sizes([dim + kv, kv], -1)
        qk_BHTD = split_heads(both, self.head_dim)
        if rotation is not None:
            qk_BHTD = rotate(qk_BHTD, rotation, self.interleaved)
        q, k = qk_BHTD.split_with_sizes([dim // self.head_dim, self.kv_heads], 1)
        return q, k, split_heads(v, self.head_dim)

    def forward(self, x_BTD: Tensor) -> Tensor:
        steps = x_BTD.shape[1]
        position_BT = torch.arange(steps, device=x_BTD.device)[None]
        q, k, v = self._qkv(x_BTD, self.turns(position_BT))
        if self.block == 1 and (self.context is None or steps <= self.context):
            return self.out_proj(attend(q, k, v, None, causal=True))
        return self.out_proj(self._attend_window(q, k, v, position_BT))

    def _attend_window(self, q: Tensor, k: Tensor, v: Tensor, position_BT: Tensor) -> Tensor:
        """A context's length of queries at a time, with the keys that these see: time and memory grow with the length,
        not with its square."""
        steps, context = position_BT.shape[1], self.context or position_BT.shape[1]
        size = -(-context // self.block) * self.block
        last_BT, parts = last_of_block(position_BT, self.block), []
        for start in range(0, steps, size):
            end, first = start + size, max(0, start - context)
            mask = causal_mask(last_BT[:, start:end], position_BT[:, first:end], self.context)
            parts.append(attend(q[:, :, start:end], k[:, :, first:end], v[:, :, first:end], mask))
        return torch.cat(parts, 1)

    def init_cache(self, batch: int, capacity: int, like: Tensor) -> KVCache:
        return KVCache.empty(batch, self.kv_heads, capacity, self.head_dim, like)

    def step(
        self, cache: KVCache | CacheRows, x_BTD: Tensor, place: Place, rotation: Rotation | None
    ) -> Tensor:
        """The next positions, which stand at `place` and have `turns`."""
        qkv_BHTD = split_heads(self.in_proj(x_BTD), self.head_dim)
        if rotation is not None:
            qkv_BHTD = rotate(qkv_BHTD, rotation, self.interleaved)
        q, new = qkv_BHTD.split_with_sizes([self.all_heads - 2 * self.kv_heads, 2 * self.kv_heads], 1)
        pairs = cache.update(new, place)
        if len(pairs) == 1:
            return self.out_proj(attend_few(q, *pairs[0], place.mask_B1TS))
        each = zip(q.split(1), pairs, place.mask_B1TS.split(1), strict=True)
        return self.out_proj(torch.cat([attend_few(q, *pair, mask) for q, pair, mask in each]))


class CrossAttention(nn.Module):
    """Attention from the frames to a conditioning sequence of any length; unmasked, without positions."""

    def __init__(self, dim: int, heads: int):
        super().__init__()
        self.head_dim = dim // heads
        self.in_proj = nn.Linear(dim, 3 * dim, bias=False)
        self.out_proj = nn.Linear(dim, dim, bias=False)

    def keys_values(self, source_BSD: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and values of the conditioning sequence: computed once a conversation."""
        dim = self.out_proj.in_features
        k, v = F.linear(source_BSD, self.in_proj.weight[dim:]).chunk(2, -1)
        return split_heads(k, self.head_dim), split_heads(v, self.head_dim)

    def forward(self, x_BTD: Tensor, keys_values: tuple[Tensor, Tensor]) -> Tensor:
        q = F.linear(x_BTD, self.in_proj.weight[: x_BTD.shape[-1]])
        return self.out_proj(attend(split_heads(q, self.head_dim), *keys_values, None))


def first_weight(module: nn.Module) -> Tensor:
    """Any floating-point tensor of the module, for its device and dtype."""
    return next(p for p in chain(module.parameters(), module.buffers()) if p.is_floating_point())
