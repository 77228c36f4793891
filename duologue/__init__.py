"""duologue: a spoken-dialogue model that listens and speaks at the same time.

Importing it does no work: a public name is imported when it is first asked for.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from duologue.codec import Codec
    from duologue.engine.options import Options
    from duologue.engine.session import AgentFrame, Session
    from duologue.errors import InputError
    from duologue.eval.hub import push_to_hub
    from duologue.lm import LM, Sampling
    from duologue.weights import Model, load

__version__ = "0.1.0"
DEFAULT_MODEL = "nano"

_HOME = {
    "AgentFrame": "duologue.engine.session",
    "Codec": "duologue.codec",
    "InputError": "duologue.errors",
    "LM": "duologue.lm",
    "Model": "duologue.weights",
    "Options": "duologue.engine.options",
    "Sampling": "duologue.lm",
    "Session": "duologue.engine.session",
    "load": "duologue.weights",
    "push_to_hub": "duologue.eval.hub",
}
__all__ = [
    "LM",
    "AgentFrame",
    "Codec",
    "InputError",
    "Model",
    "Options",
    "Sampling",
    "Session",
    "__version__",
    "load",
    "push_to_hub",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
