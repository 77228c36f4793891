"""A short hash of what an output was made from, so that files with the same name are never confused."""

import hashlib
import json
import re
from pathlib import Path
from typing import Any

import numpy as np

LONGEST_STEM = 48  # bytes: names in a tar have at most 100


def fingerprint(*parts: Any) -> str:
    """32 hexadecimal digits. A Path is hashed by the file's content, not its name or date; a missing file counts as
    None; anything that is not an array is hashed as json."""
    whole = hashlib.blake2b(digest_size=16)
    for part in parts:
        whole.update(_digest(part))
    return whole.hexdigest()


def _digest(part: Any) -> bytes:
    if isinstance(part, Path):
        if not part.is_file():
            return b"no file"
        with part.open("rb") as file:
            return hashlib.file_digest(file, "sha256").digest()
    if isinstance(part, np.ndarray):
        head = f"{part.dtype} {part.shape}".encode()
        return hashlib.sha256(head + np.ascontiguousarray(part).tobytes()).digest()
    return hashlib.sha256(json.dumps(part, sort_keys=True, default=str).encode()).digest()


def output_name(path: str | Path, *parts: Any) -> str:
    """A file name without suffix for what is made of the recording at `path`: its stem, for people, and a hash of the
    recording and of `parts`, which tells recordings of one name in several folders apart."""
    stem = re.sub(r"-[0-9a-f]{16}$", "", Path(path).stem)  # the hash of the step before
    stem = re.sub(r"[^\w-]", "_", stem).encode()[:LONGEST_STEM].decode(errors="ignore")
    return f"{stem}-{fingerprint(Path(path), *parts)[:16]}"
