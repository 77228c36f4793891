"""Streaming state as a value: dataclasses of arrays whose first dimension is the slot, replaced at every step."""

from collections.abc import Callable, Iterator
from dataclasses import fields
from typing import Any

import mlx.core as mx


def per_slot(mask_B: mx.array, like: mx.array) -> mx.array:
    """Reshape a `[B]` mask so that it broadcasts over `like`, `[B, ...]`."""
    return mask_B.reshape(-1, *[1] * (like.ndim - 1))


def keep(old: mx.array, new: mx.array, exec_B: mx.array | None) -> mx.array:
    """`new` for the slots that executed (`exec_B` is None: all of them), `old` for the others."""
    return new if exec_B is None else mx.where(per_slot(exec_B, new), new, old)


class State:
    """Base of every streaming state: a dataclass of arrays `[B, ...]`, other states, and lists of these. Fields of any
    other type are not part of a slot's past. As `duologue.nn.state.State`, arrays start at zero unless `fresh` differs.
    """

    def fresh(self, name: str) -> float:
        """The value an array field starts with."""
        return 0

    def reset(self, mask_B: mx.array | None = None) -> None:
        """Reset the slots in `mask_B` (bool `[B]`; None: all). The other slots keep every bit."""
        for state in self._inner():
            state.reset(mask_B)
        for name, value in self._own():
            new = mx.full(value.shape, self.fresh(name)).astype(value.dtype)
            setattr(self, name, keep(value, new, mask_B))

    def grow(self) -> None:
        """Allocate memory for one more step: call it before the step, outside the compiled graph."""
        for state in self._inner():
            state.grow()

    def arrays(self) -> list[mx.array]:
        """Every array of this state and of those inside it."""
        inner = [array for state in self._inner() for array in state.arrays()]
        return inner + [value for _, value in self._own()]

    def put(self, arrays: list[mx.array]) -> None:
        """Replace every array, in the order of `arrays()`."""
        self._take(iter(arrays))

    def constants(self) -> tuple[int, ...]:
        """Plain numbers that a step depends on: if they change, the step is compiled again."""
        return tuple(number for state in self._inner() for number in state.constants())

    def nbytes(self) -> int:
        """Memory the state holds, in bytes."""
        return sum(array.nbytes for array in self.arrays())

    def _take(self, arrays: Iterator[mx.array]) -> None:
        for state in self._inner():
            state._take(arrays)
        for name, _ in self._own():
            setattr(self, name, next(arrays))

    def _own(self) -> list[tuple[str, mx.array]]:
        values = [(f.name, getattr(self, f.name)) for f in fields(self)]  # pyright: ignore[reportArgumentType]
        return [(name, value) for name, value in values if isinstance(value, mx.array)]

    def _inner(self) -> Iterator["State"]:
        for field in fields(self):  # pyright: ignore[reportArgumentType]  (every subclass is a dataclass)
            value = getattr(self, field.name)
            yield from (v for v in (value if isinstance(value, list) else [value]) if isinstance(v, State))


def compiled(step: Callable[..., Any], *states: State) -> Callable[..., Any]:
    """`step(*arrays)`, which puts new arrays into `states` and returns arrays, as one compiled graph. Let the states
    `grow` before each call; where that changes shapes, or where constants change, it is compiled again."""

    def pure(past: list[list[mx.array]], inputs: list[mx.array], constants: list[tuple[int, ...]]) -> Any:
        _put(states, past)
        return step(*inputs), [state.arrays() for state in states]

    run = mx.compile(pure)

    def call(*inputs: mx.array) -> Any:
        past = [state.arrays() for state in states]
        out, past = run(past, list(inputs), [state.constants() for state in states])
        _put(states, past)
        return out

    return call


def _put(states: tuple[State, ...], past: list[list[mx.array]]) -> None:
    for state, arrays in zip(states, past, strict=True):
        state.put(arrays)
