"""How to run a model: options that the verbs of the command line share. Imports no tensor library."""

import platform
import sys
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Literal, TypeAlias

from tyro.conf import arg

from duologue.errors import InputError

BackendName: TypeAlias = Literal["torch", "mlx"]
DeviceName: TypeAlias = Literal["cpu", "cuda", "mps"]


@dataclass(frozen=True)
class Options:
    """Backend, precision, device, adapters and persona."""

    backend: BackendName | None = None
    """The backend: by default mlx on Apple silicon where it is installed, and torch elsewhere."""
    quantize: Literal["q8", "q4"] | None = None
    """Round the language model's weights to 8 or 4 bits as it is loaded (mlx, and torch on a CPU: there the codec's to
    16)."""
    compile: bool = False
    """Compile the model's step first: for long recordings and large models. In torch it takes minutes; in mlx it is
    always done on Apple silicon."""
    device: DeviceName | None = None
    """Where torch computes: by default on a GPU (cuda, or mps on a Mac) where there is one, and cpu elsewhere."""
    lora: Annotated[Path | None, arg(metavar="LORA.safetensors")] = None
    """An adapter of the language model, merged into its weights as they are read."""

    voice: Annotated[Path | None, arg(name="voice-prompt", metavar="VOICE.wav")] = None
    """The voice to speak with, of models that take one (PersonaPlex): a recording of seconds, or a published .pt."""
    role: str | None = None
    """Who to be, of the same models: "You work for ... and your name is ..." """

    def resolved(self) -> BackendName:
        """The backend to use. Raises InputError if it is not installed."""
        backend = self.backend or default_backend()
        if backend == "mlx" and find_spec("mlx") is None:
            raise InputError("--backend mlx needs the extra: pip install 'duologue[mlx]'")
        return backend

    def torch_device(self) -> DeviceName:
        """The device to use. Raises InputError if this machine does not have the one asked for."""
        import torch

        there = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
        if self.device is not None and not there[self.device]:
            raise InputError(
                f"--device {self.device}: PyTorch finds no such device here; leave out --device, or use cpu"
            )
        return self.device or ("cuda" if there["cuda"] else "mps" if there["mps"] else "cpu")


DEFAULT = Options()


def default_backend() -> BackendName:
    apple = sys.platform == "darwin" and platform.machine() == "arm64"
    return "mlx" if apple and find_spec("mlx") is not None else "torch"
