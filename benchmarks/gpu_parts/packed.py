"""Training data small enough to be sent: shards, vocabulary and first weights in one compressed file."""

import sys
import tarfile
import tempfile
from pathlib import Path

TRAIN, VALID, TOKENIZER, START = "train", "valid", "tokenizer.model", "start"


def pack(out: Path, shards: list[Path], valid: list[Path], tokenizer: Path, start: Path | None) -> None:
    from duologue.files import atomic_write
    from duologue.train import checkpoint

    out.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(out) as temporary, tarfile.open(temporary, "w:xz", preset=6) as tar:
        for name, folders in ((TRAIN, shards), (VALID, valid)):
            for number, folder in enumerate(folders):
                for file in sorted([*folder.glob("*.tar"), *folder.glob("shards.json")]):
                    tar.add(file, f"{name}/{number}/{file.name}")
        tar.add(tokenizer, TOKENIZER)
        if start is not None:
            with tempfile.TemporaryDirectory() as folder:
                checkpoint.write_pieces(folder, checkpoint.load_weights(start), sys.maxsize)
                tar.add(folder, START)
    print(f"{out}: {out.stat().st_size / 2**20:.1f} MiB")


def unpack(data: Path, folder: Path) -> Path:
    """The content of a packed file, or the folder that `data` is already."""
    if data.is_dir():
        return data
    with tarfile.open(data, "r:xz") as tar:
        tar.extractall(folder, filter="data")
    return folder
