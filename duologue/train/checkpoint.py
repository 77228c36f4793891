"""Atomic checkpoints.

A checkpoint is the folder `step-00001000`: the tensors as torch.distributed.checkpoint writes them (any number of
processes reads what any other number wrote), and one JSON file a process for everything else: step, place in the data,
random state. It is written under a temporary name, flushed to the disk and renamed, so a folder with this name is
always complete; sizes are recorded to detect later damage. `Saver` writes it while training goes on.
"""

import json
import os
import random
import re
import shutil
import warnings
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.distributed.checkpoint import state_dict_loader, state_dict_saver
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.metadata import TensorStorageMetadata
from torch.distributed.checkpoint.staging import DefaultStager, StagingOptions

from duologue.errors import InputError
from duologue.files import atomic_write
from duologue.train.checkpoint_reader import TensorReader, last_line
from duologue.train.parallel import World
from duologue.types import StrPath

_FOLDER = re.compile(r"step-(\d{8,})")
_MANIFEST = "manifest.json"


class SaveError(Exception):
    """A checkpoint could not be written; the ones before it are untouched."""


def save(root: StrPath, step: int, state: Mapping[str, Any], world: World, keep: int = 3) -> Path:
    """Writes `state` as the checkpoint of `step` under `root`, then removes all but the newest `keep`.

    `state` is nested dicts with leaves that are tensors, or values for JSON (these are kept by process).
    Called by all processes together. Raises SaveError on all of them if any failed, leaving nothing behind.
    """
    root = Path(root)
    folder, temporary = root / f"step-{step:08d}", root / f".saving-step-{step:08d}"
    tensors, values = _split(state)

    def prepare() -> None:
        if world.is_main:
            root.mkdir(parents=True, exist_ok=True)
            shutil.rmtree(temporary, ignore_errors=True)
            temporary.mkdir()

    def write() -> None:
        # That it writes alone is meant. (`catch_warnings` is not for threads.)
        warnings.filterwarnings("ignore", "torch.distributed is disabled")
        alone = world.size == 1
        state_dict_saver.save(tensors, checkpoint_id=temporary, process_group=world.group, no_dist=alone)
        _write_json(temporary / f"rank-{world.rank}.json", values)

    def publish() -> None:
        if world.is_main:
            sizes = {file.name: file.stat().st_size for file in sorted(temporary.iterdir())}
            _write_json(temporary / _MANIFEST, {"step": step, "world_size": world.size, "sizes": sizes})
            _flush(temporary)
            if folder.exists():
                _remove(folder)
            os.replace(temporary, folder)
            _flush(root)

    for action in (prepare, write, publish):
        problem: str | None = None
        try:
            action()
        except (OSError, RuntimeError, CheckpointException) as error:
            problem = last_line(error)
        problems = [p for p in world.gather(problem) if p is not None]
        if problems:
            if world.is_main:
                shutil.rmtree(temporary, ignore_errors=True)
            raise SaveError(problems[0])
    if world.is_main:
        for _, old in _folders(root)[: -max(1, keep)]:
            _remove(old)
    return folder


class Saver:
    """Saves checkpoints under `root` in a thread: training waits for a copy in the CPU's memory, not for the disk.

    All processes call its methods together.
    """

    def __init__(self, root: StrPath, world: World, keep: int = 3) -> None:
        self._root, self._world, self._keep = root, world.apart(), keep
        self._stager = DefaultStager(StagingOptions(False, False, False, False))
        self._thread = ThreadPoolExecutor(1)
        self._saving: Future[Path] | None = None

    @property
    def done(self) -> bool:
        """Whether a save has ended of which `finish` has not told yet."""
        return self._saving is not None and self._saving.done()

    def start(self, step: int, state: Mapping[str, Any]) -> None:
        """Begins to save `state` as it is now, as `save` would; first waits for the save before it, if need be."""
        if self._saving is not None:
            wait([self._saving])
        tensors, values = _split(state)
        copied: Any = self._stager.stage(tensors)
        copy = _join(copied, json.loads(json.dumps(values)))
        self._saving = self._thread.submit(save, self._root, step, copy, self._world, self._keep)

    def finish(self) -> bool:
        """Waits for the save under way; whether there was one. Raises SaveError if it failed."""
        saving, self._saving = self._saving, None
        if saving is None:
            return False
        saving.result()
        return True

    def close(self) -> None:
        self._thread.shutdown()
        self._stager.close()


def load(folder: StrPath, state: Mapping[str, Any], world: World) -> dict[str, Any]:
    """The state saved in `folder`, in the form of `state`, whose tensors are overwritten in place.

    With another number of processes than at saving, tensors are sharded anew and the other values are those
    of the first process. Raises InputError if the checkpoint is damaged or is not of the tensors of `state`.
    """
    folder = Path(folder)
    tensors, _ = _split(state)
    _check_same_tensors(folder, tensors)
    _read(folder, tensors, alone=world.size == 1)
    same = _manifest(folder).get("world_size") == world.size
    place = folder / f"rank-{world.rank if same else 0}.json"
    try:
        return _join(tensors, json.loads(place.read_text()))
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise InputError(f"cannot read the checkpoint {folder}: {place.name}: {last_line(error)}") from None


def latest(root: StrPath) -> Path | None:
    """The newest complete checkpoint under `root`, or None. Damaged ones are skipped with a warning."""
    for _, folder in reversed(_folders(Path(root))):
        damage = _damage(folder)
        if damage is None:
            return folder
        warnings.warn(f"the checkpoint {folder} is passed over: {damage}", stacklevel=2)
    return None


def load_weights(path: StrPath, ema: bool = True) -> dict[str, Tensor]:
    """The module's weights and buffers, by name, on the CPU: from a checkpoint folder, a run's newest one, or a folder
    of what `write_pieces` wrote.

    With `ema`, averages replace the parameters that have one. Raises InputError if there is no checkpoint.
    """
    path = Path(path)
    folder = path if _FOLDER.fullmatch(path.name) else latest(path / "checkpoints")
    if folder is None:
        if pieces := sorted(path.glob("weights-*-of-*.safetensors")):
            return _read_pieces(pieces)
        raise InputError(f"there is no checkpoint in {path}")
    weights = read_tensors(folder, "module/")
    return weights | (read_tensors(folder, "ema/average/") if ema else {})


def write_pieces(folder: StrPath, weights: Mapping[str, Tensor], limit: int) -> list[Path]:
    """`weights` in float16 as files of at most about `limit` bytes each, for where no larger ones pass."""
    pieces, size = [{}], 0
    for name, weight in weights.items():
        half = weight.to(torch.float16) if weight.is_floating_point() else weight
        if pieces[-1] and size + half.nbytes > limit:
            pieces.append({})
            size = 0
        pieces[-1][name] = half.contiguous()
        size += half.nbytes
    paths = [Path(folder) / f"weights-{n}-of-{len(pieces)}.safetensors" for n in range(1, len(pieces) + 1)]
    for path, piece in zip(paths, pieces, strict=True):
        with atomic_write(path) as temporary:
            save_file(piece, temporary)
    return paths


def _read_pieces(paths: list[Path]) -> dict[str, Tensor]:
    count = int(paths[0].stem.rpartition("-")[2])
    if len(paths) != count:
        raise InputError(f"{paths[0].parent} holds {len(paths)} of {count} pieces of weights")
    try:
        found = {name: tensor for path in paths for name, tensor in load_file(path).items()}
    except (OSError, SafetensorError) as error:
        raise InputError(f"cannot read the weights in {paths[0].parent}: {last_line(error)}") from None
    return {name: t.float() if t.is_floating_point() else t for name, t in found.items()}


def read_tensors(folder: StrPath, prefix: str = "") -> dict[str, Tensor]:
    """The tensors of a checkpoint whose path begins with `prefix`, whole and on the CPU, by the rest of their path."""
    found = {n: m for n, m in _tensor_metadata(Path(folder)).items() if n.startswith(prefix)}
    tensors = {n: torch.empty(m.size, dtype=m.properties.dtype) for n, m in found.items()}
    _read(Path(folder), tensors, alone=True)
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items()}


def clean(root: StrPath) -> None:
    """Removes unfinished saves under `root`."""
    for path in Path(root).glob(".saving-step-*"):
        shutil.rmtree(path, ignore_errors=True)


def random_state(device: torch.device) -> dict[str, Any]:
    """The state of the generators of python, numpy and torch (and the device's), as JSON values."""
    version, key, gauss = random.getstate()
    kind, np_key, *np_rest = np.random.get_state()  # noqa: NPY002
    state = {
        "python": [version, list(key), gauss],
        "numpy": [kind, np.asarray(np_key).tolist(), *np_rest],
        "torch": bytes(torch.get_rng_state().tolist()).hex(),
    }
    if device.type != "cpu":
        state[device.type] = bytes(_generators(device).get_rng_state().tolist()).hex()
    return state


def set_random_state(state: Mapping[str, Any], device: torch.device) -> None:
    version, key, gauss = state["python"]
    random.setstate((version, tuple(key), gauss))
    kind, np_key, *np_rest = state["numpy"]
    np.random.set_state((kind, np.array(np_key, dtype=np.uint32), *np_rest))  # noqa: NPY002
    torch.set_rng_state(_bytes(state["torch"]))
    if device.type in state:
        _generators(device).set_rng_state(_bytes(state[device.type]))


def seed_all(seed: int) -> None:
    """Seeds python, numpy and torch (every device)."""
    random.seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002
    torch.manual_seed(seed)


def _read(folder: Path, tensors: dict[str, Tensor], alone: bool) -> None:
    """Fills `tensors`, by all processes together or by one alone."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that it reads alone is meant
            state_dict_loader.load(tensors, storage_reader=TensorReader(folder), no_dist=alone)
    except (OSError, RuntimeError, CheckpointException) as error:
        raise InputError(f"cannot read the checkpoint {folder}: {last_line(error)}") from None


def _split(state: Mapping[str, Any], prefix: str = "") -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The tensors of a nested state by path, and the rest, nested as it was."""
    tensors, values = {}, {}
    for key, value in state.items():
        if isinstance(value, Tensor):
            tensors[prefix + key] = value.detach()
        elif isinstance(value, Mapping):
            inner, values[key] = _split(value, f"{prefix}{key}/")
            tensors |= inner
        else:
            values[key] = value
    return tensors, values


def _join(tensors: Mapping[str, Tensor], values: dict[str, Any]) -> dict[str, Any]:
    for path, tensor in tensors.items():
        *parents, name = path.split("/")
        place = values
        for parent in parents:
            place = place[parent]
        place[name] = tensor
    return values


def _check_same_tensors(folder: Path, tensors: Mapping[str, Tensor]) -> None:
    saved = {name: tuple(m.size) for name, m in _tensor_metadata(folder).items()}
    here = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    if saved != here:
        odd = sorted(n for n in saved.keys() | here.keys() if saved.get(n) != here.get(n))
        raise InputError(
            f"the checkpoint {folder} is of another model: {len(odd)} tensors differ, first {odd[0]!r}: "
            f"{saved.get(odd[0], 'missing')} there, {here.get(odd[0], 'missing')} here"
        )


def _tensor_metadata(folder: Path) -> dict[str, TensorStorageMetadata]:
    items = TensorReader(folder).read_metadata().state_dict_metadata
    return {name: item for name, item in items.items() if isinstance(item, TensorStorageMetadata)}


def _damage(folder: Path) -> str | None:
    try:
        sizes = _manifest(folder)["sizes"]
        for name, size in sizes.items():
            if (folder / name).stat().st_size != size:
                return f"{name} is not of its size"
    except (InputError, OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        return last_line(error)
    return None


def _manifest(folder: Path) -> dict[str, Any]:
    try:
        found = json.loads((folder / _MANIFEST).read_text())
        if not isinstance(found, dict):
            raise ValueError("it is no object")
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"cannot read {folder / _MANIFEST}: {last_line(error)}") from None
    return found


def _folders(root: Path) -> list[tuple[int, Path]]:
    if not root.is_dir():
        return []
    return sorted((int(m[1]), path) for path in root.iterdir() if (m := _FOLDER.fullmatch(path.name)))


def _remove(folder: Path) -> None:
    """Gone in one rename; the files follow."""
    doomed = folder.with_name(f".saving-{folder.name}-old")
    shutil.rmtree(doomed, ignore_errors=True)
    try:
        os.replace(folder, doomed)
    except OSError:
        return
    shutil.rmtree(doomed, ignore_errors=True)


def _write_json(path: Path, value: Any) -> None:
    with path.open("w") as file:
        json.dump(value, file)
        file.flush()
        os.fsync(file.fileno())


def _flush(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _generators(device: torch.device) -> Any:
    return torch.get_device_module(device)


def _bytes(text: str) -> Tensor:
    return torch.tensor(list(bytes.fromhex(text)), dtype=torch.uint8)
