"""NIST SPHERE files (.sph), in which the LDC distributes speech."""

import io
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import soundfile

from duologue.audio.files import clean
from duologue.errors import InputError
from duologue.types import StrPath


def read_sphere(path: StrPath) -> tuple[np.ndarray, int]:
    """All channels of a sphere file, float32 [C, S], and its rate. PCM and mu-law are read here; what is compressed
    with shorten needs the program sph2pipe.

    InputError if the file is missing, no sphere file, cut short or compressed in a way that cannot be read.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"there is no file {path}")
    header = sphere_header(path)
    if "shorten" in header.get("sample_coding", ""):
        return _shortened(path)
    promised = int(header["sample_count"]) * int(header["channel_count"]) * int(header["sample_n_bytes"])
    missing = int(header["header_bytes"]) + promised - path.stat().st_size
    if missing > 0:
        raise InputError(f"{path} is cut short: its header promises {missing} bytes more")
    return _decoded(path, path)


def sphere_header(path: Path) -> dict[str, str]:
    """The fields of the header, and "header_bytes". InputError if it is no sphere file."""
    with path.open("rb") as file:
        start = file.read(16)
        lines = start.split(b"\n")
        if lines[0] != b"NIST_1A" or len(lines) < 2 or not lines[1].strip().isdigit():
            raise InputError(f"{path} is no NIST SPHERE file")
        size = int(lines[1])
        text = (start + file.read(size - len(start))).decode("latin-1")
    fields = dict(re.findall(r"^(\w+) -\w+ (.*)$", text, re.MULTILINE))
    if absent := {"sample_count", "channel_count", "sample_n_bytes"} - set(fields):
        raise InputError(f"{path}: its SPHERE header has no {min(absent)}")
    return fields | {"header_bytes": str(size)}


def _shortened(path: Path) -> tuple[np.ndarray, int]:
    program = shutil.which("sph2pipe")
    if program is None:
        raise InputError(f"{path} is compressed with shorten: install the program sph2pipe")
    done = subprocess.run([program, "-f", "wav", str(path)], capture_output=True)
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip().splitlines() or ["no message"]
        raise InputError(f"{path}: sph2pipe failed: {said[-1]}")
    return _decoded(io.BytesIO(done.stdout), path)


def _decoded(source: Path | io.BytesIO, path: Path) -> tuple[np.ndarray, int]:
    try:
        with soundfile.SoundFile(source) as file:
            wav_SC, rate = file.read(dtype="float32", always_2d=True), file.samplerate
    except soundfile.LibsndfileError:
        raise InputError(f"{path} is damaged, or coded in a way that cannot be read") from None
    if not len(wav_SC):
        raise InputError(f"{path} has no samples")
    return np.ascontiguousarray(clean(wav_SC).T), rate
