"""Model files: finding, reading, writing and converting them."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from duologue.weights.model import Model, load

__all__ = ["Model", "load"]


def __getattr__(name: str):
    """The command line describes `convert` without importing torch."""
    if name in __all__:
        from duologue.weights import model

        return getattr(model, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
