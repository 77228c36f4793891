"""A ring of keys and values for each slot: constant memory however long the conversation."""

from dataclasses import dataclass

import torch
from torch import Tensor

from .state import State, per_slot


@dataclass
class KVCache(State):
    """Keys and values of the last `capacity` positions of every slot, and how many positions each slot has seen.

    With a context of C positions and steps of T positions, the capacity must be C + T - 1: the first query of a step
    still attends to C keys. (A ring of exactly C loses one key for each further position in the step.)
    """

    keys_BHCD: Tensor
    values_BHCD: Tensor
    seen_B: Tensor  # int64: positions written since the last reset
    used: int = 0  # upper bound of the entries in use in any slot, so that young conversations attend to few

    @staticmethod
    def empty(batch: int, heads: int, capacity: int, head_dim: int, like: Tensor) -> "KVCache":
        """A cache with the device and dtype of `like`."""
        shape = (batch, heads, capacity, head_dim)
        seen_B = torch.zeros(batch, dtype=torch.int64, device=like.device)
        return KVCache(like.new_zeros(shape), like.new_zeros(shape), seen_B)

    @property
    def capacity(self) -> int:
        return self.keys_BHCD.shape[2]

    def positions(self, steps: int) -> Tensor:
        """Positions `[B, steps]` of the next inputs."""
        return self.seen_B[:, None] + torch.arange(steps, device=self.seen_B.device)

    def update(self, k_BHTD: Tensor, v_BHTD: Tensor, exec_B: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        """Write T new entries; return keys, values and the position of each entry (`[B, C]`, -1: empty)."""
        batch, heads, steps, dim = k_BHTD.shape
        position_BT = self.positions(steps)
        ring_BT = position_BT % self.capacity
        index = ring_BT[:, None, :, None].expand(batch, heads, steps, dim)
        for buffer, new in ((self.keys_BHCD, k_BHTD), (self.values_BHCD, v_BHTD)):
            if exec_B is not None:  # slots that rest write their old entries back
                new = torch.where(per_slot(exec_B, new), new, buffer.gather(2, index))
            buffer.scatter_(2, index, new)
        self.used = min(self.capacity, self.used + steps)
        seen_B = self.seen_B + steps  # of resting slots too: their queries see themselves, and are discarded
        if exec_B is None:
            self.seen_B.copy_(seen_B)
        else:
            self.seen_B.copy_(torch.where(exec_B, seen_B, self.seen_B))
        used = min(self.capacity, -(-self.used // 64) * 64)  # few distinct lengths
        entry_C = torch.arange(used, device=seen_B.device)
        last_B1 = seen_B[:, None] - 1
        entry_BC = last_B1 - (last_B1 - entry_C) % self.capacity  # the newest position congruent to the entry
        return self.keys_BHCD[:, :, :used], self.values_BHCD[:, :, :used], entry_BC.clamp(min=-1)

    def fix_shapes(self) -> None:
        self.used = self.capacity

    def reset(self, mask_B: Tensor | None = None) -> None:
        super().reset(mask_B)
        if mask_B is None:
            self.used = 0
