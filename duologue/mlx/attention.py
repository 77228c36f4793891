"""Multi-head attention and its ring of keys and values (`nn/attention.py`, `nn/kv_cache.py`)."""

from dataclasses import dataclass

import mlx.core as mx
import mlx.nn as nn

from duologue.mlx.layers import rotate
from duologue.mlx.state import State, keep

YOUNG = 256  # initial capacity of a ring, in positions


def split_heads(x_BTD: mx.array, head_dim: int) -> mx.array:
    """`[B, T, H * D]` to `[B, H, T, D]`."""
    batch, steps, _ = x_BTD.shape
    return x_BTD.reshape(batch, steps, -1, head_dim).swapaxes(1, 2)


def attend(q_BHTD: mx.array, k_BHSD: mx.array, v_BHSD: mx.array, mask: mx.array | str | None) -> mx.array:
    """Scaled dot-product attention, heads merged again: `[B, T, H * D]`. Fewer key heads than query heads repeat."""
    batch, _, steps, dim = q_BHTD.shape
    out_BHTD = mx.fast.scaled_dot_product_attention(q_BHTD, k_BHSD, v_BHSD, scale=dim**-0.5, mask=mask)
    return out_BHTD.swapaxes(1, 2).reshape(batch, steps, -1)


def causal_mask(query_BT: mx.array, key_BS: mx.array, context: int | None) -> mx.array:
    """Which keys a query may see, `[B, 1, T, S]`: written ones (position >= 0), itself and `context - 1` before it."""
    age = query_BT[:, None, :, None] - key_BS[:, None, None, :]
    mask = (age >= 0) & (key_BS >= 0)[:, None, None, :]
    return mask if context is None else mask & (age < context)


def last_of_block(position_BT: mx.array, block: int) -> mx.array:
    """The last position of the block of `block` positions that each belongs to."""
    return position_BT if block == 1 else position_BT + (block - 1 - position_BT % block)


@dataclass
class KVCache(State):
    """Keys and values of the last `capacity` positions of every slot, and how many positions each slot has seen.

    The arrays start short and `grow` doubles them up to the capacity: a new conversation attends to little, and a
    compiled step has few distinct shapes.
    """

    keys_BHCD: mx.array
    values_BHCD: mx.array
    seen_B: mx.array  # int32: positions written since the last reset
    capacity: int
    max_step: int
    used: int = 0  # upper bound of the entries in use in any slot

    @staticmethod
    def empty(
        batch: int, heads: int, capacity: int, head_dim: int, max_step: int, dtype: mx.Dtype
    ) -> "KVCache":
        shape = (batch, heads, min(capacity, max(YOUNG, max_step)), head_dim)
        seen_B = mx.zeros(batch, mx.int32)
        return KVCache(mx.zeros(shape, dtype), mx.zeros(shape, dtype), seen_B, capacity, max_step)

    def positions(self, steps: int) -> mx.array:
        """Positions `[B, steps]` of the next inputs."""
        return self.seen_B[:, None] + mx.arange(steps, dtype=mx.int32)

    def grow(self) -> None:
        self.used = min(self.capacity, self.used + self.max_step)
        length = self.keys_BHCD.shape[2]
        if self.used > length:  # no slot has wrapped around yet
            more = [(0, 0), (0, 0), (0, min(length, self.capacity - length)), (0, 0)]
            self.keys_BHCD = mx.pad(self.keys_BHCD, more)
            self.values_BHCD = mx.pad(self.values_BHCD, more)

    def update(
        self, k_BHTD: mx.array, v_BHTD: mx.array, exec_B: mx.array | None
    ) -> tuple[mx.array, mx.array, mx.array]:
        """Write T new entries; return keys, values and the position of each entry (`[B, C]`, -1: empty)."""
        steps, length = k_BHTD.shape[2], self.keys_BHCD.shape[2]
        ring_BT = self.positions(steps) % length
        index = mx.broadcast_to(ring_BT[:, None, :, None], k_BHTD.shape)
        self.keys_BHCD = _written(self.keys_BHCD, index, k_BHTD, exec_B)
        self.values_BHCD = _written(self.values_BHCD, index, v_BHTD, exec_B)
        seen_B = (
            self.seen_B + steps
        )  # also of inactive slots: their queries attend to themselves, and are discarded
        self.seen_B = keep(self.seen_B, seen_B, exec_B)
        last_B1 = seen_B[:, None] - 1
        entry_BC = last_B1 - (last_B1 - mx.arange(length, dtype=mx.int32)) % length
        return self.keys_BHCD, self.values_BHCD, mx.maximum(entry_BC, -1)

    def reset(self, mask_B: mx.array | None = None) -> None:
        super().reset(mask_B)
        if mask_B is None:
            self.used = 0


def _written(buffer: mx.array, index: mx.array, new: mx.array, exec_B: mx.array | None) -> mx.array:
    if exec_B is not None:  # inactive slots write their old entries back
        new = keep(mx.take_along_axis(buffer, index, 2), new, exec_B)
    return mx.put_along_axis(buffer, index, new, 2)


class SelfAttention(nn.Module):
    """Causal self-attention with rotary positions over the last `context` positions (None: all)."""

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
        self.block = block
        self.context = context
        self.max_period = max_period
        self.interleaved = interleaved
        self.in_proj = nn.Linear(dim, dim + 2 * self.kv_heads * self.head_dim, bias)
        self.out_proj = nn.Linear(dim, dim, bias)

    def _qkv(self, x_BTD: mx.array, position_BT: mx.array) -> list[mx.array]:
        dim = x_BTD.shape[-1]
        parts = mx.split(self.in_proj(x_BTD), [dim, dim + self.kv_heads * self.head_dim], -1)
        q, k, v = (split_heads(part, self.head_dim) for part in parts)
        if self.max_period is not None:
            q = rotate(q, position_BT, self.max_period, self.interleaved)
            k = rotate(k, position_BT, self.max_period, self.interleaved)
        return [q, k, v]

    def __call__(self, x_BTD: mx.array) -> mx.array:
        steps = x_BTD.shape[1]
        position_BT = mx.arange(steps, dtype=mx.int32)[None]
        q, k, v = self._qkv(x_BTD, position_BT)
        if self.block == 1 and (self.context is None or steps <= self.context):
            return self.out_proj(attend(q, k, v, "causal"))
        last_BT = last_of_block(position_BT, self.block)
        return self.out_proj(attend(q, k, v, causal_mask(last_BT, position_BT, self.context)))

    def init_state(self, batch: int, max_step: int, dtype: mx.Dtype) -> KVCache:
        """A cache for steps of up to `max_step` positions."""
        if self.context is None:
            raise ValueError("streaming needs a bounded context")
        capacity = self.context + max_step - 1
        return KVCache.empty(batch, self.kv_heads, capacity, self.head_dim, max_step, dtype)

    def step(self, cache: KVCache, x_BTD: mx.array, exec_B: mx.array | None = None) -> mx.array:
        position_BT = cache.positions(x_BTD.shape[1])
        q, k, v = self._qkv(x_BTD, position_BT)
        keys, values, entry_BC = cache.update(k, v, exec_B)
        last_BT = last_of_block(position_BT, self.block)
        return self.out_proj(attend(q, keys, values, causal_mask(last_BT, entry_BC, self.context)))


def project(linear: nn.Linear | nn.QuantizedLinear, x: mx.array, rows: slice) -> mx.array:
    """Some of the outputs of a linear layer."""
    if not isinstance(linear, nn.QuantizedLinear):
        return x @ linear.weight[rows].T
    parts = (linear[name][rows] for name in ("weight", "scales", "biases"))
    return mx.quantized_matmul(x, *parts, group_size=linear.group_size, bits=linear.bits)


class CrossAttention(nn.Module):
    """Attention from the frames to a conditioning sequence of any length; unmasked, without positions."""

    def __init__(self, dim: int, heads: int):
        super().__init__()
        self.head_dim = dim // heads
        self.in_proj = nn.Linear(dim, 3 * dim, bias=False)
        self.out_proj = nn.Linear(dim, dim, bias=False)

    def keys_values(self, source_BSD: mx.array) -> tuple[mx.array, mx.array]:
        """Keys and values of the conditioning sequence: computed once a conversation."""
        dim = source_BSD.shape[-1]
        k, v = mx.split(project(self.in_proj, source_BSD, slice(dim, None)), 2, -1)
        return split_heads(k, self.head_dim), split_heads(v, self.head_dim)

    def __call__(self, x_BTD: mx.array, keys_values: tuple[mx.array, mx.array]) -> mx.array:
        q = project(self.in_proj, x_BTD, slice(x_BTD.shape[-1]))
        return self.out_proj(attend(split_heads(q, self.head_dim), *keys_values, None))
