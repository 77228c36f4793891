"""The codec's tokens in a file: what `duologue encode` writes and `duologue decode` reads."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from duologue.errors import InputError
from duologue.files import atomic_write, check_writable
from duologue.npy import read_npz
from duologue.types import StrPath


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
    """Reads such an .npz. InputError if it is missing, damaged, holds anything else or unpacks to more than 512 MiB."""
    if not Path(path).is_file():
        raise InputError(f"there is no file {path}")
    try:
        codes_QT, *rest = read_npz(path, "codes", "sample_rate", "frame_rate", "model")
        rates, model = (int(rest[0]), float(rest[1])), str(rest[2])
        if not (rates[0] > 0 and 0 < rates[1] < rates[0]):
            raise ValueError("rates that are not positive numbers")
    except (ValueError, TypeError, OverflowError) as error:
        raise InputError(f"{path} is damaged or not a file of codes: `duologue encode` writes one") from error
    if codes_QT.ndim != 2 or 0 in codes_QT.shape or codes_QT.dtype.kind not in "iu" or codes_QT.min() < 0:
        raise InputError(f"{path}: `codes` must be whole numbers from 0 up of shape [codebooks, frames]")
    if codes_QT.max() > np.iinfo(np.int16).max:
        raise InputError(f"{path}: its codes go up to {codes_QT.max()}, more than any codec has")
    return Codes(codes_QT.astype(np.int64), *rates, model)


def check_codes_path(path: StrPath) -> Path:
    """`path`, after checking that codes can be written there; InputError otherwise."""
    if Path(path).suffix != ".npz":
        raise InputError(f"cannot write {path}: the name must end in .npz")
    return check_writable(path)
