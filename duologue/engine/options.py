"""How a model is run: what the verbs of the command line have in common. Framework-free, and imports nothing heavy."""

import platform
import sys
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Literal, TypeAlias

from tyro.conf import arg

from duologue.errors import InputError

BackendName: TypeAlias = Literal["torch", "mlx"]


@dataclass(frozen=True)
class Options:
    """What computes, and how."""

    backend: BackendName | None = None
    """What computes: by default mlx on Apple silicon where it is installed, and torch elsewhere."""
    quantize: Literal["q8", "q4"] | None = None
    """Round the language model's weights to 8 or 4 bits as it is loaded (mlx, and torch on a CPU: there the codec's to
    16)."""
    compile: bool = False
    """Compile the model's step first: for long recordings and large models. In torch it takes minutes; in mlx it is
    always done on Apple silicon."""

    lora: Annotated[Path | None, arg(metavar="LORA.safetensors")] = None
    """An adapter of the language model, merged into its weights as they are read."""

    def resolved(self) -> BackendName:
        """The backend to use. Raises InputError if it is not installed."""
        backend = self.backend or default_backend()
        if backend == "mlx" and find_spec("mlx") is None:
            raise InputError("--backend mlx needs the extra: pip install 'duologue[mlx]'")
        return backend


DEFAULT = Options()


def default_backend() -> BackendName:
    apple = sys.platform == "darwin" and platform.machine() == "arm64"
    return "mlx" if apple and find_spec("mlx") is not None else "torch"
