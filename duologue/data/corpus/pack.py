"""Tokens in rows of one length, in shards: OUT/train/000000.npy and so on, [rows, context], and a held-out OUT/valid.

Documents follow one another with EOS between them, across rows and shards. After each shard the place is written down,
so a run that was killed goes on there and writes the same bytes.
"""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from duologue.data.corpus.mixture import HELD_OUT, Mixer, Source
from duologue.data.strict_json import read_json
from duologue.errors import InputError
from duologue.files import atomic_write
from duologue.lm.tokenizer import Tokenizer
from duologue.npy import map_npy

EOS = 2
INDEX = "packed.json"


@dataclass(frozen=True)
class PackConfig:
    """`tokens`: how many to pack in all. The context is Helium's."""

    tokens: int
    context: int = 4096
    rows: int = 1024
    """Of a shard."""
    seed: int = 0


def pack(
    sources: list[Source],
    tokenizer: Tokenizer,
    out: Path,
    config: PackConfig,
    advance: Callable[[float], object] = lambda share: None,
) -> dict[str, Any]:
    """Pack the mixture into OUT/train, and a 200th part of it, of documents that are never trained on, into OUT/valid.

    Returns the index of OUT/train: tokens by source, rows, epochs. InputError if `out` holds other data, or documents
    have no tokens.
    """
    for name, tokens in (("valid", config.tokens // HELD_OUT), ("train", config.tokens)):
        folder = out / name
        folder.mkdir(parents=True, exist_ok=True)
        packer = _Packer(sources, tokenizer, folder, config, held=name == "valid")
        packer.run(max(tokens, config.context), advance if name == "train" else lambda share: None)
    return json.loads((out / "train" / INDEX).read_text())


class _Packer:
    def __init__(
        self, sources: list[Source], tokenizer: Tokenizer, folder: Path, config: PackConfig, held: bool
    ):
        self.tokenizer, self.folder, self.config = tokenizer, folder, config
        self.mixer = Mixer(sources, config.seed, held)
        self.rest: list[int] = []  # tokens of the last document that did not fit
        self.which = {
            "sources": [source.name for source in sources],
            "config": asdict(config),
            "vocabulary": tokenizer.size,
        }

    def run(self, tokens: int, advance: Callable[[float], object]) -> None:
        size = self.config.context
        total = tokens // size
        shards = self._resume()
        advance(sum(shards) / total)
        while sum(shards) < total:
            rows = min(self.config.rows, total - sum(shards))
            row_RT = self._rows(rows)
            if not len(row_RT):
                break
            with atomic_write(self.folder / f"{len(shards):06d}.npy") as temporary:
                np.save(temporary, row_RT)
            shards.append(len(row_RT))
            self._write(shards)
            advance(len(row_RT) / total)
        if not shards:
            raise InputError(f"{self.folder}: the documents have fewer than {size} tokens; lower --context")

    def _rows(self, rows: int) -> np.ndarray:
        """The next rows; fewer where held-out documents run out."""
        want = rows * self.config.context
        tokens = self.rest
        while len(tokens) < want and (found := self.mixer.next()):
            which, document = found
            new = [*self.tokenizer.encode(document.text), EOS]
            self.mixer.took(which, len(new))
            tokens += new
        rows = min(rows, len(tokens) // self.config.context)
        cut = rows * self.config.context
        self.rest = tokens[cut:]
        kind = np.uint16 if self.tokenizer.size <= 1 << 16 else np.uint32
        return np.array(tokens[:cut], kind).reshape(rows, self.config.context)

    def _write(self, shards: list[int]) -> None:
        tokens = {s.source.name: n for s, n in zip(self.mixer.sources, self.mixer.tokens, strict=True)}
        index = self.which | {"rows": shards, "tokens": tokens, "epochs": self.mixer.epochs}
        index |= {"place": self.mixer.state_dict(), "rest": self.rest}
        with atomic_write(self.folder / INDEX) as temporary:
            temporary.write_text(json.dumps(index))

    def _resume(self) -> list[int]:
        path = self.folder / INDEX
        if not path.exists():
            return []
        index = read_json(path)
        try:
            if any(index[key] != value for key, value in self.which.items()):
                raise InputError(f"{self.folder} holds other data: choose another folder, or delete it")
            self.mixer.load_state_dict(index["place"])
            self.rest = index["rest"]
            return [int(rows) for rows in index["rows"]]
        except (KeyError, TypeError, ValueError, AttributeError):
            raise InputError(f"{path} is damaged: delete {self.folder} to pack the text again") from None


class PackedRows:
    """Rows of the shards of one or more packed folders, memory-mapped: `rows[i]` is int64 [context]."""

    def __init__(self, *folders: Path):
        self._shards: list[np.ndarray] = []
        for folder in folders:
            if not (folder / INDEX).is_file():
                raise InputError(f"{folder} holds no packed text: make it with `duologue data text pack`")
            try:
                count = len(read_json(folder / INDEX)["rows"])
                self._shards += [map_npy(folder / f"{k:06d}.npy") for k in range(count)]
            except (KeyError, TypeError, ValueError, OSError) as error:
                raise InputError(f"{folder} is damaged ({error}): pack the text again") from None
        if not self._shards or any(shard.ndim != 2 or shard.dtype.kind != "u" for shard in self._shards):
            raise InputError(f"{folders[0]} holds no rows of packed text: pack it again")
        self._ends = np.cumsum([len(shard) for shard in self._shards])
        self.context = min(shard.shape[1] for shard in self._shards)

    def __len__(self) -> int:
        return int(self._ends[-1])

    def __getitem__(self, row: int) -> np.ndarray:
        shard = int(np.searchsorted(self._ends, row, side="right"))
        first = int(self._ends[shard - 1]) if shard else 0
        return self._shards[shard][row - first].astype(np.int64)
