"""Training shards in WebDataset's tar layout, and a reader that goes on at the very next sample.

A sample is the members of a tar that share a name up to the first dot: KEY.codes.npy (int16 [2, Q, T]: agent, user; -1
is unknown) and KEY.json (transcript and whatever the manifest said). `shards.json` beside the tars has their sizes and
hashes.
"""

import io
import json
import random
import re
import tarfile
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from duologue.data.fingerprint import fingerprint
from duologue.data.manifest import parse_transcript
from duologue.data.strict_json import one_line, parse_json, read_json
from duologue.data.tars import members
from duologue.errors import InputError
from duologue.files import atomic_write
from duologue.npy import parse_npy
from duologue.types import StrPath

Sample = dict[str, Any]
INDEX = "shards.json"
CHANGED = "the data has changed: {}; --new-data goes on at the beginning of what is there now"
LEAST = 2 * 512  # bytes of a sample in a tar: a header and a block


def write_shards(folder: StrPath, samples: Iterable[Sample], per_shard: int = 256) -> list[Path]:
    """Write samples ({"key", extension: array, json value or bytes}) to FOLDER/000000.tar and so on, then the index.

    The same samples give the same bytes. Raises InputError if two samples have one key.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    paths: list[Path] = []
    sizes: list[int] = []
    seen: set[str] = set()
    _write_index(folder, {"unfinished": True})  # who reads it now would mix old and new
    for chunk in _chunks(samples, per_shard):
        path = folder / f"{len(paths):06d}.tar"
        with (
            atomic_write(path) as temporary,
            tarfile.open(temporary, "w", format=tarfile.USTAR_FORMAT) as tar,
        ):
            for sample in chunk:
                key = re.sub(r"[^\w-]", "_", sample["key"])
                if key in seen:
                    raise InputError(f"two samples have the key {key!r}")
                seen.add(key)
                for extension, value in sample.items():
                    if extension != "key":
                        _add(tar, f"{key}.{extension}", value)
        paths.append(path)
        sizes.append(len(chunk))
    for stale in set(folder.glob("[0-9]*.tar")) - set(paths):
        stale.unlink()
    shards = [
        {"name": path.name, "samples": size, "hash": fingerprint(path)}
        for path, size in zip(paths, sizes, strict=True)
    ]
    _write_index(folder, {"shards": shards})
    return paths


def _write_index(folder: Path, index: dict[str, Any]) -> None:
    with atomic_write(folder / INDEX) as temporary:
        temporary.write_text(json.dumps(index))


def _chunks(samples: Iterable[Sample], size: int) -> Iterator[list[Sample]]:
    chunk: list[Sample] = []
    for sample in samples:
        chunk.append(sample)
        if len(chunk) == size:
            yield chunk
            chunk = []
    if chunk:
        yield chunk


def _add(tar: tarfile.TarFile, name: str, value: Any) -> None:
    if isinstance(value, np.ndarray):
        buffer = io.BytesIO()
        np.save(buffer, value, allow_pickle=False)
        body = buffer.getvalue()
    else:
        body = value if isinstance(value, bytes) else json.dumps(value).encode()
    info = tarfile.TarInfo(name)  # its times and owners are zero
    info.size = len(body)
    tar.addfile(info, io.BytesIO(body))


def read_shard(path: StrPath) -> list[Sample]:
    """All samples of one tar, in order; .npy and .json are decoded, anything else is bytes.

    Raises InputError if the tar is cut short, damaged or compressed, or a sample is not what `check_sample` asks for.
    """
    samples: OrderedDict[str, Sample] = OrderedDict()
    for name, body in members(Path(path)):
        folder, _, file = name.rpartition("/")
        stem, _, extension = file.partition(".")
        key = f"{folder}/{stem}" if folder else stem
        sample = samples.setdefault(key, {"key": key})
        try:
            if extension in sample:
                raise ValueError("it is there twice")
            sample[extension] = _decode(extension, body)
            check_sample(sample)
        except ValueError as error:
            raise InputError(f"{path}, {name[:100]}: {one_line(error)}") from None
    return list(samples.values())


def check_sample(sample: Sample) -> None:
    """Raises ValueError if the codes of a sample are no conversation's, or its json no row with a transcript."""
    codes = sample.get("codes.npy")
    if codes is not None and (
        codes.ndim != 3
        or codes.dtype.kind not in "iu"
        or codes.shape[0] != 2
        or 0 in codes.shape
        or codes.min() < -1
    ):
        raise ValueError(
            f"codes are whole numbers [2, Q, T] from -1 (unknown) up, these are {codes.dtype} {list(codes.shape)}"
        )
    body = sample.get("json")
    if isinstance(body, dict):
        for words in ("alignments", "misheard"):
            if words in body:
                parse_transcript(body | {"alignments": body[words]})
    elif codes is not None and "json" in sample:
        raise ValueError("its json is no object")


def _decode(extension: str, body: bytes) -> Any:
    if extension.endswith("npy"):
        return parse_npy(body)
    return parse_json(body) if extension.endswith("json") else body


class ShardReader:
    """Endless samples of the shards in one or more folders, shuffled anew each epoch; a value to save and restore.

    The order depends on `seed` and the epoch alone: shards are shuffled, then the samples of each `mix` neighbouring
    shards among themselves. Rank r of n takes every n-th sample, so that all ranks together see the whole order; what
    is left at the end of an epoch after an equal share for each is dropped. `state_dict` counts samples over all
    ranks, so a run may go on with another number of ranks.
    """

    def __init__(
        self,
        *folders: StrPath,
        seed: int = 0,
        rank: int = 0,
        world: int = 1,
        mix: int = 16,
        shuffle: bool = True,
    ):
        self._shards = [shard for folder in folders for shard in _list_shards(Path(folder))]
        self._indexes = [Path(folder) / INDEX for folder in folders]
        self._seed, self._rank, self._world, self._mix, self._shuffle = seed, rank, world, mix, shuffle
        if len(self) < world:
            raise InputError(f"{len(self)} samples cannot be shared among {world} ranks")
        self.epoch = 0
        self.position = 0  # samples taken in this epoch, by all ranks together
        self._order: list[tuple[int, int]] = []
        self._order_epoch = -1
        self._open: OrderedDict[int, list[Sample]] = OrderedDict()

    def __len__(self) -> int:
        """Samples in an epoch, over all ranks."""
        return sum(size for _, size in self._shards)

    def __iter__(self) -> Iterator[Sample]:
        return self

    def __next__(self) -> Sample:
        self.epoch, self.position = next(self.places(self.epoch, self.position))
        sample = self.sample(self.epoch, self.position)
        self.position += self._world
        return sample

    def places(self, epoch: int, position: int) -> Iterator[tuple[int, int]]:
        """(epoch, position) of every sample from there on."""
        while True:
            if position + self._world > len(self):
                epoch, position = epoch + 1, 0
            yield epoch, position
            position += self._world

    def sample(self, epoch: int, position: int) -> Sample:
        """This rank's sample at a place of `places`."""
        shard, index = self._epoch_order(epoch)[position + self._rank]
        return dict(self._load(shard)[index])

    def state_dict(self) -> dict[str, Any]:
        """Where the next sample is."""
        where = {"epoch": self.epoch, "position": self.position, "samples": len(self), "seed": self._seed}
        return where | {"shards": self._fingerprint}

    @cached_property
    def _fingerprint(self) -> str:
        return fingerprint(*(path.name for path, _ in self._shards), *self._indexes)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from there. InputError if the shards or the seed are not those of the state."""
        if state.get("shards", now := self._fingerprint) != now:
            raise InputError(CHANGED.format("other shards are there than when the state was saved"))
        if (state["samples"], state["seed"]) != (len(self), self._seed):
            then = f"{state['samples']} samples and seed {state['seed']} when the state was saved"
            raise InputError(CHANGED.format(f"{then}, {len(self)} and {self._seed} now"))
        self.epoch, self.position = state["epoch"], state["position"]

    def _epoch_order(self, epoch: int) -> list[tuple[int, int]]:
        if self._order_epoch != epoch:
            rng = random.Random(f"{self._seed} {epoch}")
            shards = list(range(len(self._shards)))
            if self._shuffle:
                rng.shuffle(shards)
            self._order = []
            for start in range(0, len(shards), self._mix):
                group = [(s, k) for s in shards[start : start + self._mix] for k in range(self._shards[s][1])]
                if self._shuffle:
                    rng.shuffle(group)
                self._order += group
            self._order_epoch = epoch
        return self._order

    def _load(self, shard: int) -> list[Sample]:
        if shard not in self._open:
            path, size = self._shards[shard]
            samples = read_shard(path)
            if len(samples) != size:
                raise InputError(
                    f"{path} has {len(samples)} samples, its index says {size}: write the shards again"
                )
            self._open[shard] = samples
            while len(self._open) > self._mix:
                self._open.popitem(last=False)
        self._open.move_to_end(shard)
        return self._open[shard]


def _list_shards(folder: Path) -> list[tuple[Path, int]]:
    """Tars of a folder with their numbers of samples, by the index or else by reading them.

    Raises InputError if the index names anything but tars that are there, and may hold as many samples.
    """
    if (folder / INDEX).exists():
        index = read_json(folder / INDEX)
        if isinstance(index, dict) and index.get("unfinished"):
            raise InputError(f"{folder}: the shards are not finished: run `duologue data encode` again")
        shards = index.get("shards") if isinstance(index, dict) else None
        if not isinstance(shards, list):
            raise InputError(
                f'{folder / INDEX} is no index: expected {{"shards": [{{"name", "samples"}}, ...]}}'
            )
        return [_listed(folder, shard) for shard in shards]
    found = [(path, len(read_shard(path))) for path in sorted(folder.glob("*.tar"))]
    if not found:
        raise InputError(f"{folder}: there are no shards (.tar) here")
    return found


def _listed(folder: Path, shard: Any) -> tuple[Path, int]:
    name, samples = (shard.get("name"), shard.get("samples")) if isinstance(shard, dict) else (None, None)
    if not isinstance(name, str) or not re.fullmatch(r"[\w.-]+\.tar", name):
        raise InputError(f"{folder / INDEX} names {name!r}: expected the tars beside it".replace("\n", " "))
    path = folder / name
    if not path.is_file():
        raise InputError(f"{folder / INDEX} names {name}, which is not there: write the shards again")
    if (
        not isinstance(samples, int)
        or isinstance(samples, bool)
        or not 0 <= samples <= path.stat().st_size // LEAST
    ):
        raise InputError(
            f"{folder / INDEX} says that {name} holds {samples!r} samples: write the shards again"[:300]
        )
    return path, samples
