"""A ring buffer of keys and values for each slot: memory does not grow with the conversation."""

import math
from dataclasses import dataclass
from mmap import mmap

import torch
from torch import Tensor

from duologue.nn.state import State, clear, per_slot

KeysValues = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class Place:
    """Where the positions of one step are in the ring: computed once, the same in every layer."""

    position_BT: Tensor
    entry_BT: Tensor  # the entries of the ring that they take
    used: int  # entries of the ring that hold anything
    mask_B1TS: Tensor  # additive mask over the first `used` entries: 0 or -inf
    exec_B: Tensor | None


@dataclass
class Ring(State):
    """How many positions each slot has seen, and which of them the `capacity` entries of a ring hold.

    With a context of C positions and steps of T positions, the capacity must be C + T - 1: the first query of a step
    still attends to C keys. (A ring of exactly C loses one key for each further position in the step.)
    """

    seen_B: Tensor  # int64: positions written since the last reset
    capacity: int
    context: int
    block: int = 1  # positions of a block attend to each other; a step is a multiple of it
    used: int = 0  # upper bound of the entries in use in any slot, so that new conversations attend to few

    def advance(self, steps: int, exec_B: Tensor | None, dtype: torch.dtype) -> Place:
        """Allocate the next `steps` positions of every slot. `dtype` is that of the queries."""
        position_BT = self.seen_B[:, None] + torch.arange(steps, device=self.seen_B.device)
        self.used = min(self.capacity, self.used + steps)
        seen_B = (
            self.seen_B + steps
        )  # also of inactive slots: their queries attend to themselves, and are discarded
        self.seen_B.copy_(seen_B if exec_B is None else torch.where(exec_B, seen_B, self.seen_B))
        used = min(self.capacity, -(-self.used // 64) * 64)  # few distinct lengths
        entry_C = torch.arange(used, device=seen_B.device)
        last_B1 = seen_B[:, None] - 1
        entry_BC = last_B1 - (last_B1 - entry_C) % self.capacity  # the newest position congruent to the entry
        visible = causal_mask(last_of_block(position_BT, self.block), entry_BC, self.context)
        hidden = torch.zeros(visible.shape, dtype=dtype, device=visible.device)
        mask_B1TS = hidden.masked_fill_(~visible, -torch.inf)
        return Place(position_BT, position_BT % self.capacity, used, mask_B1TS, exec_B)

    def fix_shapes(self) -> None:
        self.used = self.capacity

    def reset(self, mask_B: Tensor | None = None) -> None:
        super().reset(mask_B)
        if mask_B is None:
            self.used = 0

    def scatter(self, slots_N: Tensor, taken: State) -> None:
        super().scatter(slots_N, taken)
        assert isinstance(taken, Ring)
        self.used = max(self.used, taken.used)


def last_of_block(position_BT: Tensor, block: int) -> Tensor:
    """The last position of the block of `block` positions that each belongs to."""
    return position_BT if block == 1 else position_BT + (block - 1 - position_BT % block)


def causal_mask(query_BT: Tensor, key_BS: Tensor, context: int | None) -> Tensor:
    """Which keys a query may see, `[B, 1, T, S]`: written ones (position >= 0), itself and `context - 1` before it."""
    age = query_BT[:, None, :, None] - key_BS[:, None, None, :]
    mask = (age >= 0) & (key_BS >= 0)[:, None, None, :]
    return mask if context is None else mask & (age < context)


@dataclass
class KVCache(State):
    """Keys and values of one layer, in the entries of a `Ring`: the keys of all heads, then the values of all."""

    both_BHCD: Tensor

    @property
    def keys_BHCD(self) -> Tensor:
        return self.both_BHCD.chunk(2, 1)[0]

    @property
    def values_BHCD(self) -> Tensor:
        return self.both_BHCD.chunk(2, 1)[1]

    @staticmethod
    def empty(batch: int, heads: int, capacity: int, head_dim: int, like: Tensor) -> "KVCache":
        """A cache with the device and dtype of `like`. On a CPU the system allocates its memory as it is written."""
        shape = batch, 2 * heads, capacity, head_dim
        if like.device.type != "cpu":
            return KVCache(like.new_zeros(shape))
        untouched = mmap(-1, math.prod(shape) * like.element_size())
        return KVCache(torch.frombuffer(untouched, dtype=like.dtype).view(shape))

    def forget(self, mask_B: Tensor | None, used: int) -> None:
        """`reset`, where only the first `used` entries were ever written."""
        clear(self.both_BHCD.narrow(2, 0, used), mask_B, 0)

    def gather(self, slots_N: Tensor) -> "CacheRows":
        return CacheRows([self.both_BHCD[slot] for slot in slots_N.tolist()])

    def scatter(self, slots_N: Tensor, taken: State) -> None:
        """Nothing to do: these are views of the cache's rows."""

    def update(self, new_BHTD: Tensor, place: Place) -> "list[KeysValues]":
        """Write T new entries, keys and values; return the keys and the values of all entries in use."""
        if place.exec_B is None and len(new_BHTD) == 1:
            self.both_BHCD.index_copy_(2, place.entry_BT[0], new_BHTD)
        else:
            index = place.entry_BT[:, None, :, None].expand(new_BHTD.shape)
            if place.exec_B is not None:  # inactive slots write their old entries back
                old_BHTD = self.both_BHCD.gather(2, index)
                new_BHTD = torch.where(per_slot(place.exec_B, new_BHTD), new_BHTD, old_BHTD)
            self.both_BHCD.scatter_(2, index, new_BHTD)
        keys, values = self.both_BHCD.narrow(2, 0, place.used).chunk(2, 1)
        return [(keys, values)]


@dataclass
class CacheRows(State):
    """Views of the caches of some slots: most of a slot's state, and too much to copy in each step."""

    both_HCD: list[Tensor]  # one a slot

    def update(self, new_BHTD: Tensor, place: Place) -> list[KeysValues]:
        """As `KVCache.update`, a pair for each slot, all of which run."""
        pairs = []
        for both_HCD, entry_T, new_HTD in zip(self.both_HCD, place.entry_BT, new_BHTD, strict=True):
            both_HCD.index_copy_(1, entry_T, new_HTD)
            keys, values = both_HCD.narrow(1, 0, place.used)[None].chunk(2, 1)
            pairs.append((keys, values))
        return pairs
