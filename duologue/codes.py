"""The codec's tokens in a file: what `duologue encode` writes and `duologue decode` reads."""

from dataclasses import dataclass
from math import prod
from pathlib import Path
from zipfile import ZIP_STORED, ZipFile

import numpy as np

from duologue.errors import InputError
from duologue.files import atomic_write, check_writable
from duologue.types import StrPath

LARGEST = 2**26  # bytes of codes that are packed: a day of them
MOST = 2**20  # of a rate


@dataclass(frozen=True)
class Codes:
    """Codes of one recording. `codes_QT` int64 [Q, T], the semantic codebook first; rates in Hz."""

    codes_QT: np.ndarray
    sample_rate: int
    frame_rate: float
    model: str


def save_codes(path: StrPath, codes: Codes) -> None:
    """Writes an .npz with `codes` (int16 [Q, T]), `sample_rate`, `frame_rate` and `model`."""
    with atomic_write(check_codes_path(path)) as temporary:
        np.savez(
            temporary,
            codes=codes.codes_QT.astype(np.int16),
            sample_rate=np.int64(codes.sample_rate),
            frame_rate=np.float64(codes.frame_rate),
            model=np.str_(codes.model),
        )


def load_codes(path: StrPath) -> Codes:
    """Reads such an .npz. InputError if it is missing, damaged or holds anything else."""
    if not Path(path).is_file():
        raise InputError(f"there is no file {path}")
    try:
        with ZipFile(path) as archive:
            codes_QT = _array(archive, "codes")
            rates = int(_array(archive, "sample_rate")), float(_array(archive, "frame_rate"))
            model = str(_array(archive, "model"))
    except Exception as error:  # a zip file can be broken in ways that three modules raise a dozen errors for
        raise InputError(f"{path} is damaged or not a file of codes: `duologue encode` writes one") from error
    if not 0 < rates[0] <= MOST or not 0 < rates[1] <= MOST:
        raise InputError(f"{path}: its rates cannot be {rates[0]} and {rates[1]}")
    if (
        codes_QT.ndim != 2
        or 0 in codes_QT.shape
        or codes_QT.dtype.kind not in "iu"
        or codes_QT.min() < 0
        or codes_QT.max() > MOST
    ):
        raise InputError(f"{path}: `codes` must be whole numbers from 0 up of shape [codebooks, frames]")
    return Codes(codes_QT.astype(np.int64), *rates, model)


def _array(archive: ZipFile, name: str) -> np.ndarray:
    """One array. What it takes is known from its header before it is read, and bounded."""
    info = archive.getinfo(f"{name}.npy")
    if info.file_size > LARGEST and info.compress_type != ZIP_STORED:
        raise ValueError("it is larger than a day of codes")
    with archive.open(info) as file:
        version = np.lib.format.read_magic(file)
        read = (
            np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        )
        shape, fortran, dtype = read(file)
        if dtype.hasobject or prod(shape) * dtype.itemsize != info.file_size - file.tell():
            raise ValueError("its header does not say what it holds")
        values = np.frombuffer(file.read(), dtype)
    return values.reshape(shape[::-1]).T if fortran else values.reshape(shape)


def check_codes_path(path: StrPath) -> Path:
    """`path` once it is sure that codes can be written there; InputError otherwise."""
    if Path(path).suffix != ".npz":
        raise InputError(f"cannot write {path}: the name must end in .npz")
    return check_writable(path)
