"""`nn.ModuleList` with the type of its modules."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Generic, TypeVar, overload

from torch import nn

M = TypeVar("M", bound=nn.Module)


class Stack(nn.ModuleList, Generic[M]):
    """Modules of one class, in order."""

    if TYPE_CHECKING:

        def __iter__(self) -> Iterator[M]: ...

        @overload
        def __getitem__(self, index: int) -> M: ...
        @overload
        def __getitem__(self, index: slice) -> "Stack[M]": ...
        def __getitem__(self, index: int | slice) -> "M | Stack[M]": ...  # pyright: ignore[reportIncompatibleMethodOverride]
