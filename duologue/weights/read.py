"""Read weights tensor by tensor, so that memory holds only the model and one tensor.

A file gives its tensors as they are stored, plain or packed (`packed.py`); a layout (`names.py` and its neighbours)
says where each of ours is in it.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Protocol

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from duologue.errors import InputError
from duologue.weights.gguf import MAGIC, GGUFFile
from duologue.weights.names import Source, everything
from duologue.weights.packed import AFFINE_BITS, AFFINE_GROUPS, Affine, Int8Rows, Packed, join

STRETCH = (
    2**24
)  # bytes read of a file before it is mapped anew: what was read of a mapping counts as memory in use
LARGEST_HEADER = 2**24  # bytes; that of a model of 7 B parameters has a hundredth of it
LEAST_BITS = 2  # of a stored weight
Stored = Tensor | Packed
Sources = Callable[[str], list[Source]]


class TensorFile(Protocol):
    """Named tensors in one file or several."""

    path: Path
    bytes: int  # of all its files

    def names(self) -> set[str]: ...

    def shape(self, name: str) -> list[int]:
        """As stored: the columns of a packed tensor count less."""
        ...

    def stored(self, name: str, columns: int, rows: slice | None = None) -> Stored:
        """A tensor of so many columns, or some of its rows, as stored; it may be a view of the mapped file."""
        ...

    def close(self) -> None: ...


class SafetensorsFile:
    """A model's tensors in safetensors files. Scales and biases belong to the tensor that they scale."""

    def __init__(self, path: Path, shards: list[Path] | None = None):
        self.path = path
        self.paths = shards or [path]
        self.bytes = sum(shard.stat().st_size for shard in self.paths if shard.is_file())
        self.shards = [_open(shard) for shard in self.paths]
        self.where = {name: i for i, file in enumerate(self.shards) for name in file.keys()}  # noqa: SIM118
        self.read = [0] * len(self.shards)  # bytes, of each mapping

    def names(self) -> set[str]:
        return {name for name in self.where if not self._scales_another(name)}

    def _scales_another(self, name: str) -> bool:
        if name.endswith("_scb"):
            return name.removesuffix("_scb") in self.where
        head, _, kind = name.rpartition(".")
        return kind in ("scales", "biases") and head + ".weight" in self.where

    def shape(self, name: str) -> list[int]:
        return list(self.shards[self.where[name]].get_slice(name).get_shape())

    def stored(self, name: str, columns: int, rows: slice | None = None) -> Stored:
        data = self._plain(name, rows)
        if name + "_scb" in self.where:
            return self._int8(name, data, rows)
        head = name.removesuffix(".weight")
        if name.endswith(".weight") and head + ".scales" in self.where:
            return self._affine(name, data, columns, rows)
        if not data.is_floating_point():
            raise InputError(f"{self.path}: {name} holds {str(data.dtype)[6:]} numbers without scales")
        return data

    def _plain(self, name: str, rows: slice | None) -> Tensor:
        if name not in self.where:
            raise InputError(f"{self.path}: the tensor {name} is missing")
        shard = self.where[name]
        if self.read[shard] > STRETCH:
            self.shards[shard], self.read[shard] = _open(self.paths[shard]), 0
        file = self.shards[shard]
        try:
            value = file.get_tensor(name) if rows is None else file.get_slice(name)[rows]
        except (SafetensorError, RuntimeError, KeyError, ValueError) as error:
            reason = str(error).splitlines()[0]
            raise InputError(f"{self.path} is damaged: {name} cannot be read: {reason}") from None
        self.read[shard] += value.nbytes
        return value

    def _int8(self, name: str, data: Tensor, rows: slice | None) -> Int8Rows:
        largest = self._plain(name + "_scb", rows)
        if data.dtype != torch.int8 or data.dim() != 2 or largest.shape != data.shape[:1]:
            raise InputError(f"{self.path}: {name} and {name}_scb are not 8-bit rows and their scales")
        return Int8Rows(data, largest)

    def _affine(self, name: str, data: Tensor, columns: int, rows: slice | None) -> Affine:
        head = name.removesuffix(".weight")
        scales, biases = self._plain(head + ".scales", rows), self._plain(head + ".biases", rows)
        sound = data.dtype == torch.uint32 and data.dim() == scales.dim() == 2 and len(data) == len(scales)
        sound = sound and scales.shape == biases.shape and scales.shape[1] > 0
        group, left = divmod(columns, scales.shape[1]) if sound else (0, 0)
        bits = 32 * data.shape[1] // columns if sound else 0
        sound = sound and not left and 32 * data.shape[1] == bits * columns
        if not sound or bits not in AFFINE_BITS or group not in AFFINE_GROUPS:
            raise InputError(
                f"{self.path}: {name} {list(data.shape)} with scales {list(scales.shape)} is not {columns} "
                "columns packed as MLX does it"
            )
        return Affine(data, scales, biases, bits, group)

    def close(self) -> None:
        self.where = {}
        self.shards = []


def open_tensors(path: Path, shards: list[Path] | None = None) -> TensorFile:
    """The tensors of a file; InputError if it is missing, damaged or of another format."""
    if not path.is_file():
        raise InputError(f"there is no file {path}")
    with open(path, "rb") as file:
        gguf = file.read(4) == MAGIC
    return GGUFFile(path) if gguf else SafetensorsFile(path, shards)


def tensor_names(path: Path) -> set[str]:
    """The names of the tensors in a file; InputError if it is missing, damaged or of another format."""
    with closing(open_tensors(path)) as file:
        return file.names()


def stored_tensors(
    file: TensorFile, shapes: dict[str, Tensor], sources: Sources, unused: Callable[[str], bool]
) -> Iterator[tuple[str, Stored]]:
    """Each tensor of `shapes` (by our names, on the meta device) as stored, with its shape.

    Every tensor asked for must be in the file and every tensor of the file asked for or `unused`, with its shape
    (dimensions of one apart) and finite numbers; what the file repeats must be the same each time. Else InputError
    says which is not: for names, and sizes beyond what the file can hold, before the first tensor is read.
    """
    names = file.names()
    chosen: dict[str, Source] = {}
    left = set(names)
    for ours in shapes:
        places = sources(ours)
        source = next((s for s in places if s.name in names), None)
        if source is None:
            raise InputError(f"{file.path}: the tensor {places[0].name} is missing")
        chosen[ours] = source
        left -= {s.name for place in places for s in everything(place)}
    if extra := {name for name in left if not unused(name)}:
        raise InputError(f"{file.path}: unknown tensor {sorted(extra)[0]}")
    needed = sum(shape.numel() for shape in shapes.values())
    if needed * LEAST_BITS > 8 * file.bytes:
        raise InputError(
            f"{file.path}: its configuration asks for {needed:,} weights, more than its {file.bytes:,} bytes hold"
        )
    return ((ours, _checked(file, source, shapes[ours])) for ours, source in chosen.items())


def check_parts(file: TensorFile, parts: int) -> None:
    """InputError if a model would have more layers and streams than its file has tensors; checked before modules are
    built, which is slow."""
    count = len(file.names())
    if parts > count:
        raise InputError(
            f"{file.path}: its configuration asks for {parts:,} layers and streams, the file holds {count:,} tensors"
        )


def fill(
    module: nn.Module,
    file: Path | TensorFile,
    sources: Sources,
    device: torch.device,
    dtype: torch.dtype,
    unused: Iterable[str] | Callable[[str], bool] = (),
) -> None:
    """Give every tensor of `module` (built on the meta device) its values from `file`, as `stored_tensors` says.

    Floating-point tensors become `dtype`; packed ones are unpacked.
    """
    skip = unused if callable(unused) else set(unused).__contains__
    with closing(open_tensors(file) if isinstance(file, Path) else file) as opened:
        fill_values(module, stored_tensors(opened, module.state_dict(), sources, skip), device, dtype)


def fill_values(
    module: nn.Module, values: Iterator[tuple[str, Stored]], device: torch.device, dtype: torch.dtype
) -> None:
    """The same from tensors by our names: all of the module's."""
    meta, filled = module.state_dict(), {}
    for ours, value in values:
        target = dtype if meta[ours].is_floating_point() else meta[ours].dtype
        # A copy, also where nothing changes: the file may change or vanish while the model lives.
        plain = value.dense(target) if isinstance(value, Packed) else value
        filled[ours] = plain.to(device, target, copy=plain is value)
    module.load_state_dict(filled, assign=True)
    if device.type != "cpu":  # tables that are no weights
        module.to(device)


def _checked(file: TensorFile, source: Source, meta: Tensor) -> Stored:
    """The value of one of our tensors; InputError if anything is wrong with it."""
    try:
        value = _take(file, source, meta)
        finite = is_finite(value)
    except (
        RuntimeError,
        ValueError,
        TypeError,
        IndexError,
    ) as error:  # shapes and types that nothing was made for
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(f"{file.path}: {source.name} does not fit the model: {reason}") from None
    if not finite:
        raise InputError(
            f"{file.path}: {source.name} holds NaN or infinity, as after a training that diverged: use an earlier "
            "checkpoint"
        )
    return value


def is_finite(value: Stored) -> bool:
    """Whether all numbers are finite. The sum tells at the speed of memory."""
    parts = value.tensors().values() if isinstance(value, Packed) else [value]
    return all(
        bool(part.sum(dtype=torch.float32).isfinite()) or bool(part.float().isfinite().all())
        for part in parts
        if part.is_floating_point()
    )


def _take(file: TensorFile, source: Source, meta: Tensor) -> Stored:
    """The value of one of our tensors."""
    columns = meta.shape[-1] if meta.dim() > 1 else 1
    values: list[Stored] = []
    for piece in (source, *source.joined):
        value = _piece(file, piece, columns)
        for copy in piece.copies:
            if not _equal(_piece(file, copy, columns), value):
                raise InputError(
                    f"{file.path}: {copy.name} and {piece.name} differ, but one weight of the model is in both"
                )
        values.append(value)
    whole = join(values)
    if [n for n in whole.shape if n != 1] != [n for n in meta.shape if n != 1]:
        raise InputError(
            f"{file.path}: {source.name} has shape {list(whole.shape)}, the model needs {list(meta.shape)}"
        )
    return whole if isinstance(whole, Packed) else whole.reshape(meta.shape)


def _piece(file: TensorFile, source: Source, columns: int) -> Stored:
    name = source.name
    if source.parts == 1:
        value = file.stored(name, columns)
    else:
        shape = file.shape(name)
        if not shape or shape[0] % source.parts or (source.stacked and shape[0] != source.parts):
            raise InputError(
                f"{file.path}: {name} has shape {shape}, which is not {source.parts} equal parts"
            )
        rows = shape[0] // source.parts
        value = file.stored(name, columns, slice(source.part * rows, (source.part + 1) * rows))
        if source.stacked and not isinstance(value, Packed):
            value = value[0]
    if source.rows is not None and value.shape[:1] != (source.rows,):
        raise InputError(
            f"{file.path}: {name} has shape {list(value.shape)}, the model needs {source.rows} rows"
        )
    return value[halves(value.shape[0], source.heads)] if source.heads else value


def halves(rows: int, heads: int) -> Tensor:
    """Which row of a projection with the halves of its rotary pairs apart is ours, `[rows]`: ours are neighbours."""
    return torch.arange(rows).view(heads, 2, -1).transpose(1, 2).flatten()


def _equal(a: Stored, b: Stored) -> bool:
    if isinstance(a, Packed):
        return a.equals(b)
    return isinstance(b, Tensor) and torch.equal(a, b)


def _open(path: Path):
    if not path.is_file():
        raise InputError(f"there is no file {path}")
    if path.suffix != ".safetensors":
        raise InputError(f"{path}: unknown format; weights are read from .safetensors and .gguf files")
    with open(path, "rb") as file:
        header = int.from_bytes(file.read(8), "little")
    if LARGEST_HEADER < header < path.stat().st_size:
        raise InputError(f"{path}: a header of {header:,} bytes is more than a model has")
    try:
        return safe_open(path, framework="pt")
    except (SafetensorError, OSError) as error:
        raise InputError(f"{path} is damaged or not a safetensors file: {error}") from None
