"""Reads the tensors of a checkpoint without running code from its pickle."""

import math
import pickle
from pathlib import Path
from typing import Any

import torch
from torch.distributed.checkpoint import metadata
from torch.distributed.checkpoint.filesystem import FileSystemReader
from torch.distributed.checkpoint.metadata import Metadata, TensorStorageMetadata

from duologue.errors import InputError


class TensorReader(FileSystemReader):
    """Reads a checkpoint of tensors without running code from its pickle."""

    def read_metadata(self, *args: Any, **kwargs: Any) -> Metadata:
        try:
            with (Path(self.path) / ".metadata").open("rb") as file:
                found = _Unpickler(file).load()
            places = [info.relative_path for info in found.storage_data.values()]
            if any(Path(place).name != place for place in places):
                raise ValueError("it names files outside its folder")
            found.storage_meta.load_id = self.load_id
            tensors = [t for t in found.state_dict_metadata.values() if isinstance(t, TensorStorageMetadata)]
            size = sum(math.prod(tensor.size) * tensor.properties.dtype.itemsize for tensor in tensors)
            held = sum(file.stat().st_size for file in Path(self.path).iterdir())
            if size > held or not all(isinstance(name, str) for name in found.state_dict_metadata):
                raise ValueError(f"it names tensors of {size} bytes, its files hold {held}")
        except Exception as error:  # damaged pickles raise anything
            raise InputError(f"cannot read the checkpoint {self.path}: {last_line(error)}") from None
        return found


class _Unpickler(pickle.Unpickler):
    _ALLOWED = (
        "torch.distributed.checkpoint.filesystem._StorageInfo",
        "torch.serialization._get_layout",
        "torch.Size",
        "pathlib.PosixPath",
        "pathlib._local.PosixPath",
    )

    def find_class(self, module: str, name: str) -> Any:
        if f"{module}.{name}" in self._ALLOWED:
            return super().find_class(module, name)
        if module == "torch" and isinstance(getattr(torch, name, None), torch.dtype):
            return getattr(torch, name)
        # Its own classes, which only hold values; not what the module imports.
        found = getattr(metadata, name, None) if module == metadata.__name__ else None
        if isinstance(found, type) and found.__module__ == module:
            return found
        raise pickle.UnpicklingError(f"it names {module}.{name}, which no checkpoint needs")


def last_line(error: BaseException) -> str:
    """The message of an error in one line: the last, where those of several processes are collected."""
    return (str(error).strip() or repr(error)).splitlines()[-1]
