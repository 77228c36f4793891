"""Finding the files of a model: a folder, a single file, or a repository on the hub."""

import logging
import os
import re
import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from duologue.errors import InputError
from duologue.weights.fields import read_json
from duologue.weights.hf_config import hf_model_config, is_hf
from duologue.weights.published import (
    CODEC_FILE,
    LM_FILE,
    ModelConfig,
    as_its_tensors_say,
    model_config,
)
from duologue.weights.read import tensor_names

# What a language model's file may be called where the configuration names none (or is not there).
LM_FILES = (
    LM_FILE, "consolidated.safetensors", "model.safetensors.index.json", "model.q8.safetensors",
    "model.q4.safetensors", "model.q8.gguf",
)  # fmt: skip
REPOSITORY = r"[\w.-]+/[\w.-]+"  # owner/name
ADAPTER = "lora.safetensors"  # as moshi-finetune saves it


@dataclass(frozen=True)
class ModelFiles:
    """Where the parts of a model are. `find` raises InputError for a file that is not there."""

    name: str
    config: ModelConfig
    find: Callable[[str], Path]

    def optional(self, name: str) -> Path | None:
        """A file that the model may do without; None if it has none, or if the hub cannot be asked."""
        try:
            path = self.find(name)
        except (Missing, Unreachable):
            return None
        return path if path.is_file() else None


def locate(model: str, weights: str | None = None) -> ModelFiles:
    """The files of `model`: a folder, or `hf://owner/repo` with an optional `@revision`. `weights`: the file in the
    folder that counts as the model's.

    Nothing but `config.json` is downloaded before `find` asks for it.
    """
    if model.startswith("hf://"):
        return _on_the_hub(model)
    folder = Path(model)
    if not model or not folder.is_dir():
        raise InputError(
            f"there is no model {model}: give a name, a folder, a .safetensors file or hf://owner/repo"
        )

    def find(name: str) -> Path:
        path = _named(model, folder, name)
        if not path.is_file():
            raise Missing(f"{model}: the file {name} is missing")
        return path

    there = [name for name in ([weights] if weights else LM_FILES) if (folder / name).is_file()]
    path = folder / "config.json"
    if path.exists():
        config = read_config(path, str(path))
    elif there or (folder / CODEC_FILE).is_file():
        config = model_config({})
    else:
        raise InputError(f"{model} holds no model: it has neither a config.json nor weights ({LM_FILE})")
    if not there and (folder / ADAPTER).is_file() and config.lm_file == LM_FILE:
        raise InputError(
            f"{model} holds an adapter without its model: give the model it was trained on, and "
            f"--lora {folder / ADAPTER}"
        )
    if config.guessed and there and not there[0].endswith(".json"):
        config = as_its_tensors_say(config, tensor_names(folder / there[0]))
    return ModelFiles(str(folder), config, find)


def _on_the_hub(model: str) -> ModelFiles:
    """All files of a repository come from one commit: the one its first file was found in."""
    repository, _, asked = model.removeprefix("hf://").partition("@")
    if not re.fullmatch(REPOSITORY, repository):
        raise InputError(f"{model}: a hub model is written hf://owner/repo or hf://owner/repo@revision")
    revision = asked or None

    def find(name: str) -> Path:
        nonlocal revision
        inside = _inside(model, name.removeprefix(f"hf://{repository}/"))
        path = download(repository, inside, revision, model)
        revision = _commit(path, inside) or revision
        return path

    try:
        config = read_config(find("config.json"), f"{model}: config.json")
    except Missing:
        if not any(on_hub(repository, name, revision) for name in (*LM_FILES, CODEC_FILE)):
            raise InputError(
                f"{model} holds no model: it has neither a config.json nor weights ({LM_FILE})"
            ) from None
        config = model_config({})
    return ModelFiles(model, config, find)


def _commit(path: Path, name: str) -> str | None:
    """Which commit a file in the hub's cache is of."""
    snapshot = path.parents[len(Path(name).parts) - 1].name
    return snapshot if re.fullmatch("[0-9a-f]{40}", snapshot) else None


def _named(model: str, folder: Path, name: str) -> Path:
    """A file that the configuration of a folder names: in it, or on the hub at a revision that is said."""
    if name.startswith("file://"):
        path = Path(os.path.normpath(folder.absolute() / name.removeprefix("file://")))
        if not path.is_relative_to(os.path.normpath(folder.absolute())):
            raise InputError(f"{model}: the file name {name!r} leads out of the model's folder")
        return path
    if name.startswith("hf://"):
        found = re.fullmatch(rf"hf://({REPOSITORY})@([^/]+)/(.+)", name)
        if not found:
            raise InputError(
                f"{model}: {name} must say which revision: a file on the hub is written "
                "hf://owner/repo@revision/file"
            )
        return download(found[1], _inside(name, found[3]), found[2])
    return folder / _inside(model, name)


def _inside(model: str, name: str) -> str:
    """The name of a file, refused if it leads out of the model's folder (a link that the folder's owner made may)."""
    path = os.path.normpath(name)
    if name.startswith(("file://", "hf://")) or os.path.isabs(path) or Path(path).parts[:1] == ("..",):
        raise InputError(f"{model}: the file name {name!r} leads out of the model's folder")
    return path


class Missing(InputError):
    """A model does not have a file."""


class Unreachable(InputError):
    """A file is not in the cache, and the hub cannot be reached."""


def read_config(path: Path, where: str) -> ModelConfig:
    """A `config.json`, the published one or that of a Hugging Face port."""
    values = read_json(path)
    return hf_model_config(values, where) if is_hf(values) else model_config(values, where)


def find_weights(files: ModelFiles, name: str) -> tuple[Path, list[Path] | None]:
    """The file of a model's weights; if they are in several, the list of all and those."""
    path = _first(files, LM_FILES if name == LM_FILE else (name,))
    if not path.name.endswith(".index.json"):
        return path, None
    shards = read_json(path).get("weight_map")
    if not isinstance(shards, dict) or not shards or not all(isinstance(s, str) for s in shards.values()):
        raise InputError(f"{path} does not say where the weights are")
    return path, [files.find(shard) for shard in sorted(set(shards.values()))]


def _first(files: ModelFiles, names: tuple[str, ...]) -> Path:
    missing: Missing | None = None
    for name in names:
        try:
            return files.find(name)
        except Missing as error:
            missing = missing or error
    assert missing is not None
    raise missing


def check_repository(repository: str) -> None:
    """Raises InputError unless it is OWNER/NAME."""
    if not re.fullmatch(REPOSITORY, repository):
        raise InputError(f"{repository}: a hub repository is written OWNER/NAME")


def download(repository: str, name: str, revision: str | None, where: str = "") -> Path:
    """One file of a hub repository, from the local cache or fetched. `where`: its name in error messages."""
    import huggingface_hub as hub
    from huggingface_hub import errors

    where = where or f"hf://{repository}" + (f"@{revision}" if revision else "")
    try:
        with _quiet_retries(where):
            return Path(hub.hf_hub_download(repository, name, revision=revision))
    except errors.LocalEntryNotFoundError as error:
        if hub.try_to_load_from_cache(repository, name, revision=revision) is hub._CACHED_NO_EXIST:
            raise Missing(f"{where}: the repository has no file {name}") from error
        offline = isinstance(error.__cause__, errors.OfflineModeIsEnabled)
        reason = "HF_HUB_OFFLINE is set" if offline else "the hub cannot be reached"
        raise Unreachable(f"{where}: {reason} and {name} is not in the cache") from error
    except errors.EntryNotFoundError as error:
        raise Missing(f"{where}: the repository has no file {name}") from error
    except errors.GatedRepoError as error:
        raise InputError(f"{where}: accept its terms on the hub's page, then run `hf auth login`") from error
    except errors.RepositoryNotFoundError as error:
        raise InputError(f"{where}: no such repository; if it is private, run `hf auth login`") from error
    except errors.RevisionNotFoundError as error:
        raise InputError(f"{where}: the repository has no revision {revision}") from error
    except Exception as error:  # any error of the network or the disk
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise InputError(f"{where}: cannot fetch {name}: {reason}") from error


@contextmanager
def _quiet_retries(where: str) -> Generator[None]:
    """Inside, the hub client's messages about retries become one line on stderr."""
    said = False

    def once(record: logging.LogRecord) -> bool:
        nonlocal said
        if not said:
            print(f"{where}: the hub does not answer, trying again", file=sys.stderr)
        said = True
        return False

    client = logging.getLogger("huggingface_hub.utils._http")
    client.addFilter(once)
    try:
        yield
    finally:
        client.removeFilter(once)


def on_hub(repository: str, name: str, revision: str | None) -> bool:
    """Whether a repository has a file; InputError where it cannot be known."""
    import huggingface_hub as hub

    if isinstance(hub.try_to_load_from_cache(repository, name, revision=revision), str):
        return True
    try:
        return hub.file_exists(repository, name, revision=revision)
    except Exception as error:  # any error of the network
        raise InputError(
            f"hf://{repository}: the hub cannot be reached and no weights are in the cache"
        ) from error
