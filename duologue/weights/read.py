"""Filling a module from a safetensors file, tensor by tensor: never more than the model and one tensor in memory."""

from collections.abc import Callable, Iterable
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from ..errors import InputError
from .names import Source


def tensor_names(path: Path) -> set[str]:
    """The names of the tensors in a file; InputError if it is missing, damaged or of another format."""
    with _open(path) as file:
        return set(file.keys())


def fill(
    module: nn.Module,
    path: Path,
    sources: Callable[[str], list[Source]],
    device: torch.device,
    dtype: torch.dtype,
    unused: Iterable[str] = (),
) -> None:
    """Give every tensor of `module` (built on the meta device) its values from `path`.

    Floating-point tensors become `dtype`. Every tensor of the module must be in the file and every tensor of the file
    in the module, with its shape (dimensions of one apart), or InputError says which one is not.
    """
    with _open(path) as file:
        left = set(file.keys())
        values = {}
        for ours, meta in module.state_dict().items():
            source = next((s for s in sources(ours) if s.name in left), None)
            if source is None:
                raise InputError(f"{path}: the tensor {sources(ours)[0].name} is missing")
            # A copy, also where nothing changes: the file may change or vanish while the model lives.
            values[ours] = _take(file, source, meta, path).to(device, _target(meta, dtype), copy=True)
        used = {s.name for ours in values for s in sources(ours)}
        if extra := left - used - set(unused):
            raise InputError(f"{path}: unknown tensor {sorted(extra)[0]}")
    module.load_state_dict(values, assign=True)


def _target(meta: Tensor, dtype: torch.dtype) -> torch.dtype:
    return dtype if meta.is_floating_point() else meta.dtype


def _take(file, source: Source, meta: Tensor, path: Path) -> Tensor:
    """A view of the mapped file."""
    view = file.get_slice(source.name)
    shape = list(view.get_shape())
    if source.parts > 1:
        if not shape or shape[0] % source.parts:
            raise InputError(
                f"{path}: {source.name} has shape {shape}, which is not {source.parts} equal parts"
            )
        rows = shape[0] // source.parts
        value = view[source.part * rows : (source.part + 1) * rows]
    else:
        value = file.get_tensor(source.name)
    if [n for n in value.shape if n != 1] != [n for n in meta.shape if n != 1]:
        raise InputError(
            f"{path}: {source.name} has shape {list(value.shape)}, the model needs {list(meta.shape)}"
        )
    return value.reshape(meta.shape)


def _open(path: Path):
    if not path.is_file():
        raise InputError(f"there is no file {path}")
    if path.suffix != ".safetensors":
        raise InputError(f"{path}: unknown format; weights are read from .safetensors files")
    try:
        return safe_open(path, framework="pt")
    except (SafetensorError, OSError) as error:
        raise InputError(f"{path} is damaged or not a safetensors file: {error}") from None
