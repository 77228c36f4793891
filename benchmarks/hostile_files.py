"""Malicious files at full size: time and memory until a reader refuses them.

    python -m benchmarks.hostile_files             # all, some 2 minutes
    python -m benchmarks.hostile_files --only npz  # those that have this in their name

Each is read in a process of its own. Prints what was done, what must hold, and what was measured; exits with 1 if
something did not hold. Mutated files are tests: `make test ARGS="-m slow tests/data/test_fuzz.py"`.
"""

import gzip
import io
import json
import struct
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
import tyro

REFUSED = "refused in a line, <= 2 s, <= 64 MiB"
CHILD = """
import resource, sys, time
from pathlib import Path
from duologue.errors import InputError
from duologue.audio.files import open_audio
from duologue.codec.codes import load_codes
from duologue.data.manifest import read_manifest
from duologue.data.shards import ShardReader, read_shard
from duologue.data.voices import read_index
path = Path(sys.argv[1])
used = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
before, began, told = used(), time.monotonic(), ""
try:
    told = f"read: {READ}"
except InputError as error:
    told = "refused" if len(str(error).splitlines()) == 1 else "many lines"
except BaseException as error:
    told = type(error).__name__
print(told, time.monotonic() - began, used() - before)
"""
CODES, SHARD, SHARDS = (
    "load_codes(path).codes_QT.shape",
    "len(read_shard(path))",
    "next(ShardReader(path))['key']",
)
LISTEN = "sum(block.shape[1] for block in open_audio(path).blocks()) / 24_000"


@dataclass
class HostileFiles:
    only: str = ""


def npy(shape: str, body: bytes) -> bytes:
    head = f"{{'descr': '<i2', 'fortran_order': False, 'shape': {shape}, }}".encode()
    head = head.ljust(118 - 1) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(head)) + head + body


def npz_that_claims(folder: Path) -> Path:
    """npz: an array that claims 5 GB in 1 MB"""
    with zipfile.ZipFile(folder / "x.npz", "w") as file:
        file.writestr("codes.npy", npy("(8, 312500000)", bytes(1 << 20)))
    return folder / "x.npz"


def npz_that_unpacks(folder: Path) -> Path:
    """npz: 1 GiB of zeros, deflated to 1 MB"""
    with (
        zipfile.ZipFile(folder / "x.npz", "w", zipfile.ZIP_DEFLATED) as file,
        file.open("codes.npy", "w") as member,
    ):
        member.write(npy(f"(8, {1 << 26})", b""))
        for _ in range(1 << 10):
            member.write(bytes(1 << 20))
    return folder / "x.npz"


def gzip_named_tar(folder: Path) -> Path:
    """shard: 1 GiB of zeros, gzipped to 1 MB and named .tar"""
    with gzip.open(folder / "x.tar", "wb", 6) as file:
        for _ in range(1 << 10):
            file.write(bytes(1 << 20))
    return folder / "x.tar"


def tar_of(folder: Path, name: str, body: bytes) -> Path:
    with tarfile.open(folder / "000000.tar", "w") as tar:
        info = tarfile.TarInfo(name)
        info.size = len(body)
        tar.addfile(info, io.BytesIO(body))
    return folder / "000000.tar"


def npy_in_a_shard(folder: Path) -> Path:
    """shard: codes that claim 5 GB"""
    return tar_of(folder, "a.codes.npy", npy("(2, 8, 156250000)", bytes(100)))


def index_of(folder: Path, **changes: object) -> Path:
    tar_of(folder, "a.codes.npy", npy("(2, 8, 1)", bytes(32)))
    (folder / "shards.json").write_text(
        json.dumps({"shards": [{"name": "000000.tar", "samples": 1} | changes]})
    )
    return folder


def many_samples(folder: Path) -> Path:
    """index of shards: 2^31 samples"""
    return index_of(folder, samples=2**31)


def another_folder(folder: Path) -> Path:
    """index of shards: a tar of another folder"""
    tar_of(folder, "a.json", b"1")
    (folder / "in").mkdir()
    return index_of(folder / "in", name="../000000.tar")


def long_line(folder: Path) -> Path:
    """manifest: one line of 512 MiB"""
    with (folder / "set.jsonl").open("wb") as file:
        file.write(b'{"path": "')
        for _ in range(512):
            file.write(b"a" * (1 << 20))
    return folder / "set.jsonl"


def packed_line(folder: Path) -> Path:
    """manifest: one line of 1 GiB, gzipped"""
    with gzip.open(folder / "set.jsonl.gz", "wb", 6) as file:
        for _ in range(1 << 10):
            file.write(b"a" * (1 << 20))
    return folder / "set.jsonl.gz"


def sound(folder: Path, name: str, **options: str) -> bytearray:
    soundfile.write(folder / name, 0.1 * np.random.default_rng(0).standard_normal(48_000), 48_000, **options)
    return bytearray((folder / name).read_bytes())


def long_flac(folder: Path) -> Path:
    """flac: a second that claims 400 hours"""
    body = sound(folder, "x.flac")
    body[21] |= 0x0F
    body[22:26] = b"\xff\xff\xff\xf0"
    (folder / "x.flac").write_bytes(body)
    return folder / "x.flac"


def long_mp3(folder: Path) -> Path:
    """mp3: a second that claims 700 hours"""
    body = sound(folder, "x.mp3", format="MP3", subtype="MPEG_LAYER_III")
    at = max(body.find(b"Xing"), body.find(b"Info"))
    body[at + 8 : at + 12] = struct.pack(">I", 105_000_000)
    (folder / "x.mp3").write_bytes(body)
    return folder / "x.mp3"


def long_wav(folder: Path) -> Path:
    """w64: a second that claims 2^62 bytes"""
    body = sound(folder, "x.w64", format="W64", subtype="PCM_16")
    at = body.index(b"data\xf3") + 16
    body[at : at + 8] = struct.pack("<Q", 1 << 62)
    (folder / "x.w64").write_bytes(body)
    return folder / "x.w64"


def long_silence(folder: Path) -> Path:
    """opus: two hours of silence | heard whole, <= 64 MiB"""
    soundfile.write(folder / "minute.opus", np.zeros(60 * 24_000), 24_000, "OPUS", format="OGG")
    (folder / "x.opus").write_bytes(120 * (folder / "minute.opus").read_bytes())
    return folder / "x.opus"


def clips(folder: Path) -> Path:
    """clips: a json of 60 million brackets"""
    return tar_of(folder, "a.json", b"[" * 60_000_000)


ALL: list[tuple[Callable[[Path], Path], str]] = [
    (npz_that_claims, CODES), (npz_that_unpacks, CODES), (gzip_named_tar, SHARD), (npy_in_a_shard, SHARD),
    (many_samples, SHARDS), (another_folder, SHARDS), (long_line, "len(read_manifest(path))"),
    (packed_line, "len(read_manifest(path))"), (long_flac, LISTEN), (long_mp3, LISTEN), (long_wav, LISTEN),
    (long_silence, LISTEN), (clips, "len(read_index(path))"),
]  # fmt: skip


def main(options: HostileFiles) -> None:
    held = True
    for make, read in ALL:
        done, _, must = (make.__doc__ or "").partition(" | ")
        if options.only not in done:
            continue
        with tempfile.TemporaryDirectory() as folder:
            command = [sys.executable, "-c", CHILD.replace("READ", read), str(make(Path(folder)))]
            out = subprocess.run(command, capture_output=True, text=True).stdout.split("\n")[-2]
        told, seconds, grown = out.rsplit(" ", 2)
        fine = told == "read: 7200.0" if must else told == "refused" and float(seconds) <= 2
        good = fine and float(grown) <= 64
        held &= good
        figures = f"{told}, {float(seconds):.2f} s, {float(grown):.0f} MiB"
        print(f"{'held' if good else 'BROKEN':6}  {done} | {must or REFUSED} | {figures}", flush=True)
    sys.exit(not held)


if __name__ == "__main__":
    main(tyro.cli(HostileFiles))
