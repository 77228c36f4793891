"""GGUF, the container of quantised weights that Candle and llama.cpp read: reading (versions 2 and 3) and writing.

The header is not trusted: every count and offset is checked against the file's size.
"""

import os
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import BinaryIO

import torch
from torch import Tensor

from duologue.errors import InputError
from duologue.weights.packed import BLOCK, Packed, Q8Blocks

MAGIC = b"GGUF"
ALIGNMENT = 32
PLAIN = {0: torch.float32, 1: torch.float16, 30: torch.bfloat16}  # by GGUF's number of the type
F32, Q8_0 = 0, 8
BLOCK_BYTES = BLOCK + 2
SCALAR_BYTES = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
STRING, ARRAY = 8, 9
LARGEST_HEADER = 2**26  # bytes
MOST_TENSORS = 2**16
MOST_ITEMS = 2**21  # of lists in the header: a vocabulary has three lists of its size


@dataclass(frozen=True)
class Entry:
    """Where a tensor is. `shape` is in the usual order: GGUF counts from the last dimension."""

    shape: tuple[int, ...]
    kind: int
    offset: int  # in the file

    @property
    def bytes(self) -> int:
        count = prod(self.shape)
        return count // BLOCK * BLOCK_BYTES if self.kind == Q8_0 else count * PLAIN[self.kind].itemsize


class GGUFFile:
    """The tensors of a GGUF file, read one at a time."""

    def __init__(self, path: Path):
        self.path = path
        self.bytes = path.stat().st_size
        with open(path, "rb") as file:
            self.entries = _Header(file, path).entries()

    def names(self) -> set[str]:
        return set(self.entries)

    def shape(self, name: str) -> list[int]:
        return list(self.entries[name].shape)

    def stored(self, name: str, columns: int, rows: slice | None = None) -> Tensor | Packed:
        """A tensor, or some of its rows, as it is in the file."""
        entry = self.entries[name]
        count, rest = entry.shape[0] if entry.shape else 1, entry.shape[1:]
        start, stop, _ = (rows or slice(None)).indices(count)
        stride = entry.bytes // max(1, count)
        data = bytearray(stride * (stop - start))
        with open(self.path, "rb") as file:
            file.seek(entry.offset + start * stride)
            if file.readinto(data) != len(data):
                raise InputError(f"{self.path} is damaged: {name} ends early")
        if not data:
            return torch.empty(stop - start, *rest)
        flat = torch.frombuffer(data, dtype=torch.uint8)
        if entry.kind == Q8_0:
            return Q8Blocks(flat.view(-1, entry.shape[-1] // BLOCK, BLOCK_BYTES))
        dense = flat.view(PLAIN[entry.kind])
        return dense.view(stop - start, *rest) if entry.shape else dense.view(())

    def close(self) -> None:
        pass


class _Header:
    def __init__(self, file: BinaryIO, path: Path):
        self.file, self.path, self.size = file, path, os.fstat(file.fileno()).st_size
        self.items = 0

    def entries(self) -> dict[str, Entry]:
        if self.take(4) != MAGIC:
            self.damaged("it does not begin with GGUF")
        version = self.number("<I")
        if version not in (2, 3):
            raise InputError(f"{self.path}: GGUF version {version} is not supported, only 2 and 3")
        tensors, keys = self.number("<Q"), self.number("<Q")
        if max(tensors, keys) > MOST_TENSORS:
            self.damaged(f"it announces {tensors:,} tensors and {keys:,} values")
        alignment = ALIGNMENT
        for _ in range(keys):
            name, kind = self.string(), self.number("<I")
            if name == "general.alignment" and kind == 4:
                alignment = self.number("<I")
            else:
                self.skip(kind)
        if not 0 < alignment <= 2**16:
            self.damaged(f"its alignment is {alignment}")
        found = [self.entry() for _ in range(tensors)]
        begin = -(-self.file.tell() // alignment) * alignment
        entries: dict[str, Entry] = {}
        for name, shape, kind, offset in found:
            entry = Entry(shape, kind, begin + offset)
            if name in entries:
                self.damaged(f"it has {name} twice")
            if entry.offset + entry.bytes > self.size:
                self.damaged(f"{name} ends beyond its end")
            entries[name] = entry
        return entries

    def entry(self) -> tuple[str, tuple[int, ...], int, int]:
        name, dims = self.string(), self.number("<I")
        if dims > 4:
            self.damaged(f"{name!r} has {dims} dimensions")
        shape = tuple(self.number("<Q") for _ in range(dims))[::-1]
        kind, offset = self.number("<I"), self.number("<Q")
        if kind not in PLAIN and kind != Q8_0:
            raise InputError(
                f"{self.path}: {name} is of GGUF type {kind}, which is not supported: "
                "f32, f16, bf16 and q8_0 are"
            )
        if prod(shape) > 8 * self.size or (kind == Q8_0 and (len(shape) != 2 or shape[-1] % BLOCK)):
            self.damaged(f"{name} cannot have the shape {list(shape)}")
        return name, shape, kind, offset

    def skip(self, kind: int, depth: int = 0) -> None:
        if kind in SCALAR_BYTES:
            self.take(SCALAR_BYTES[kind])
        elif kind == STRING:
            self.string()
        elif kind == ARRAY and depth < 4:
            inner, count = self.number("<I"), self.number("<Q")
            if inner in SCALAR_BYTES:
                self.take(SCALAR_BYTES[inner] * count)
            else:
                self.items += count
                if self.items > MOST_ITEMS:
                    self.damaged("its header has lists of more items than any model's")
                for _ in range(count):
                    self.skip(inner, depth + 1)
        else:
            self.damaged(f"its header has a value of type {kind}")

    def string(self) -> str:
        try:
            return self.take(self.number("<Q")).decode()
        except UnicodeDecodeError:
            self.damaged("a name is not text")
            raise

    def number(self, form: str) -> int:
        return struct.unpack(form, self.take(struct.calcsize(form)))[0]

    def take(self, count: int) -> bytes:
        if count > min(self.size, LARGEST_HEADER) - self.file.tell():
            self.damaged("its header ends early")
        return self.file.read(count)

    def damaged(self, why: str) -> None:
        raise InputError(f"{self.path} is damaged or not a GGUF file: {why}")


Plan = tuple[str, tuple[int, ...], int]  # name, shape, type


def write_gguf(path: Path, plan: list[Plan], tensors: Iterable[tuple[str, Tensor | Packed]]) -> None:
    """The tensors, one at a time and in the order of the plan, to `path`."""
    header, offset = [MAGIC, struct.pack("<IQQ", 3, len(plan), 0)], 0
    for name, shape, kind in plan:
        header += [_string(name), struct.pack("<I", len(shape)), struct.pack(f"<{len(shape)}Q", *shape[::-1])]
        header.append(struct.pack("<IQ", kind, offset))
        offset += _aligned(Entry(shape, kind, 0).bytes)
    with open(path, "wb") as file:
        head = b"".join(header)
        file.write(head.ljust(_aligned(len(head)), b"\0"))
        for (name, _, _), (given, value) in zip(plan, tensors, strict=True):
            assert name == given, (name, given)
            data = value.data if isinstance(value, Q8Blocks) else value
            assert isinstance(data, Tensor)
            raw = data.contiguous().flatten().view(torch.uint8).numpy().tobytes()
            file.write(raw.ljust(_aligned(len(raw)), b"\0"))


def _string(text: str) -> bytes:
    raw = text.encode()
    return struct.pack("<Q", len(raw)) + raw


def _aligned(size: int) -> int:
    return -(-size // ALIGNMENT) * ALIGNMENT
