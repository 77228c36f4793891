"""Read npy and npz files safely: numpy allocates what a header claims before it checks the data, and may unpickle (run)
what a file holds."""

import math
import re
import struct
import zlib
from pathlib import Path
from typing import Literal
from zipfile import ZIP_DEFLATED, ZIP_STORED, BadZipFile, ZipFile

import numpy as np

from duologue.types import StrPath

MAGIC = b"\x93NUMPY"
# The header that numpy writes; numbers and text only.
HEADER = re.compile(
    rb"\{\s*'descr':\s*'([<>|=]?[?biufU]\d*)',\s*'fortran_order':\s*(True|False),\s*'shape':\s*\(([\d, ]*)\),?\s*\}\s*"
)

LONGEST_HEADER = 1 << 16
LARGEST = {ZIP_STORED: 1 << 29, ZIP_DEFLATED: 1 << 26}  # bytes of an array in an npz, unpacked
DAMAGED = (
    BadZipFile, EOFError, KeyError, NotImplementedError, OSError, OverflowError, TypeError, ValueError,
    struct.error, zlib.error,
)  # fmt: skip


def parse_npy(body: bytes) -> np.ndarray:
    """The array in the bytes of an npy file. Raises ValueError if they are not exactly what its header promises."""
    dtype, shape, order, start = _layout(body, len(body))
    return np.frombuffer(body, dtype, offset=start).reshape(shape, order=order).copy()


def map_npy(path: StrPath) -> np.ndarray:
    """The array in an npy file, memory-mapped, read-only. Raises ValueError as `parse_npy` does."""
    with Path(path).open("rb") as file:
        dtype, shape, order, start = _layout(file.read(LONGEST_HEADER), Path(path).stat().st_size)
    if 0 in shape:
        return np.zeros(shape, dtype)
    return np.memmap(path, dtype, "r", start, shape, order)


def read_npz(path: StrPath, *names: str) -> list[np.ndarray]:
    """Arrays of an npz file. Raises ValueError if it is damaged, or one is missing, or unpacks to more than 64 MiB (512
    MiB where it is not compressed)."""
    try:
        with ZipFile(path) as file:
            return [_member(file, name) for name in names]
    except DAMAGED as error:
        raise ValueError(str(error)) from error


def _member(file: ZipFile, name: str) -> np.ndarray:
    info = file.getinfo(f"{name}.npy")
    if info.file_size > LARGEST.get(info.compress_type, -1) or info.flag_bits & 1:
        raise ValueError(f"{name} is encrypted, too large or packed in an unusual way")
    return parse_npy(file.read(info))


def _layout(body: bytes, size: int) -> tuple[np.dtype, tuple[int, ...], Literal["C", "F"], int]:
    """What the first bytes of a file of `size` bytes say: type, shape and order of the array, and where it starts."""
    wide = body[6:7] != b"\x01"
    start = 12 if wide else 10
    if body[:6] != MAGIC or body[6:7] not in (b"\x01", b"\x02", b"\x03"):
        raise ValueError("it is not an npy file")
    end = start + int.from_bytes(body[8:start], "little")
    found = HEADER.fullmatch(body[start:end]) if end <= min(len(body), LONGEST_HEADER) else None
    if found is None:
        raise ValueError("the header of its npy file is damaged, or does not describe an array of numbers")
    try:
        dtype = np.dtype(found[1].decode())
        shape = tuple(int(size) for size in found[3].split(b",") if size.strip())
    except (TypeError, ValueError):
        raise ValueError("the header of its npy file is damaged") from None
    if dtype.itemsize == 0 or math.prod(shape) * dtype.itemsize != size - end or len(shape) > 32:
        raise ValueError(
            f"its npy file claims the shape {found[3].decode()[:80]} and holds {size - end} bytes"
        )
    return dtype, shape, "F" if found[2] == b"True" else "C", end
