"""duologue: a spoken-dialogue model that listens and speaks at the same time.

Importing it does no work: a public name is imported when it is first asked for.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from duologue.errors import InputError as InputError

__version__ = "0.1.0"

_PUBLIC = {"InputError": "duologue.errors"}
__all__ = ["InputError", "__version__"]


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_PUBLIC[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
