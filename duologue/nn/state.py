"""Streaming state as a value: plain dataclasses of tensors whose first dimension is the slot."""

from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import fields, replace
from typing import Any, Self

import torch
from torch import Tensor


def per_slot(mask_B: Tensor, like: Tensor) -> Tensor:
    """Reshape a `[B]` mask so that it broadcasts over `like`, `[B, ...]`."""
    return mask_B.view(-1, *[1] * (like.dim() - 1))


def running(exec_B: Tensor | None) -> Tensor | None:
    """`exec_B`, or None if every slot runs: the step without masks is shorter. Only on a CPU, outside a compiled step,
    where the check does not synchronise."""
    if exec_B is None or exec_B.device.type != "cpu" or torch.compiler.is_compiling():
        return exec_B
    return None if bool(exec_B.all()) else exec_B


def without_gradients() -> AbstractContextManager[None]:
    """Around a step: inference mode, except where it is traced, which that mode does not allow."""
    return torch.no_grad() if torch.compiler.is_compiling() else torch.inference_mode()


def keep(buffer: Tensor, new: Tensor, exec_B: Tensor | None) -> None:
    """Write `new` into `buffer` in place, only for the slots that executed (`exec_B` is None: all of them)."""
    buffer.copy_(new if exec_B is None else torch.where(per_slot(exec_B, new), new, buffer))


def clear(value: Tensor, mask_B: Tensor | None, fresh: float) -> None:
    """Fill the slots of `mask_B` (None: all). On a CPU the memory of other slots is not touched, so that a new
    conversation does not delay them."""
    if mask_B is None:
        value.fill_(fresh)
    elif value.device.type == "cpu":
        for slot in mask_B.nonzero()[:, 0].tolist():
            value[slot].fill_(fresh)
    else:
        value.masked_fill_(per_slot(mask_B, value), fresh)


class State:
    """Base of every streaming state: a dataclass of tensors `[B, ...]`, other states, and lists of them. Fields of any
    other type are not part of a slot's past.

    All tensors start at zero unless a subclass overrides `fresh`, so a reset slot equals a new one: keys and values are
    cleared too, and a NaN cannot outlive the conversation that caused it.
    """

    def fresh(self, name: str) -> float:
        """The value a tensor field starts with."""
        return 0

    def reset(self, mask_B: Tensor | None = None) -> None:
        """Reset the slots in `mask_B` (bool `[B]`; None: all). The other slots keep every bit."""
        for name, value in self._parts():
            if isinstance(value, State):
                value.reset(mask_B)
            else:
                clear(value, mask_B, self.fresh(name))

    def gather(self, slots_N: Tensor) -> Self:
        """A copy of the state of these slots (int64 `[N]`): step it, then write it back with `scatter`."""

        def taken(value: Any) -> Any:
            if isinstance(value, State):
                return value.gather(slots_N)
            if isinstance(value, list):
                return [taken(item) for item in value]
            return value[slots_N] if isinstance(value, Tensor) else value

        return replace(self, **{field.name: taken(getattr(self, field.name)) for field in fields(self)})  # pyright: ignore[reportArgumentType]

    def scatter(self, slots_N: Tensor, taken: "State") -> None:
        """Write a state from `gather` back into these slots."""
        for (_, mine), (_, its) in zip(self._parts(), taken._parts(), strict=True):
            if isinstance(mine, State):
                assert isinstance(its, State)
                mine.scatter(slots_N, its)
            else:
                assert isinstance(its, Tensor)
                mine.index_copy_(0, slots_N, its)

    def tensors(self) -> Iterator[Tensor]:
        """Every tensor of this state and of those inside it."""
        for _, part in self._parts():
            yield from part.tensors() if isinstance(part, State) else [part]

    def fix_shapes(self) -> None:
        """Use the same shapes in every step from now on, for a compiled step."""
        for _, part in self._parts():
            if isinstance(part, State):
                part.fix_shapes()

    def _parts(self) -> Iterator[tuple[str, "Tensor | State"]]:
        for field in fields(self):  # pyright: ignore[reportArgumentType]  (every subclass is a dataclass)
            value = getattr(self, field.name)
            for item in value if isinstance(value, list) else [value]:
                if isinstance(item, Tensor | State):
                    yield field.name, item

    def nbytes(self) -> int:
        """Memory the state holds, in bytes."""
        return sum(tensor.nbytes for tensor in self.tensors())
