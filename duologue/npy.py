"""Read npy files safely: numpy allocates what a header claims before it checks the data, and may unpickle (run) what a
file holds."""

import math
import re

import numpy as np

MAGIC = b"\x93NUMPY"
# The header that numpy writes; numbers and text only.
HEADER = re.compile(
    rb"\{\s*'descr':\s*'([<>|=]?[?biufU]\d*)',\s*'fortran_order':\s*(True|False),\s*'shape':\s*\(([\d, ]*)\),?\s*\}\s*"
)


def parse_npy(body: bytes) -> np.ndarray:
    """The array in the bytes of an npy file. Raises ValueError if they are not exactly what its header promises."""
    wide = body[6:7] != b"\x01"
    start = 12 if wide else 10
    if body[:6] != MAGIC or body[6:7] not in (b"\x01", b"\x02", b"\x03"):
        raise ValueError("it is not an npy file")
    end = start + int.from_bytes(body[8:start], "little")
    found = HEADER.fullmatch(body[start:end]) if end <= min(len(body), 1 << 16) else None
    if found is None:
        raise ValueError("the header of its npy file is damaged, or does not describe an array of numbers")
    try:
        dtype = np.dtype(found[1].decode())
        shape = tuple(int(size) for size in found[3].split(b",") if size.strip())
    except (TypeError, ValueError):
        raise ValueError("the header of its npy file is damaged") from None
    if dtype.itemsize == 0 or math.prod(shape) * dtype.itemsize != len(body) - end or len(shape) > 32:
        raise ValueError(
            f"its npy file claims the shape {found[3].decode()[:80]} and holds {len(body) - end} bytes"
        )
    return (
        np.frombuffer(body, dtype, offset=end)
        .reshape(shape, order="F" if found[2] == b"True" else "C")
        .copy()
    )
