"""Finding the files of a model: a folder, a single file, or a repository on the hub."""

import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from duologue.errors import InputError
from duologue.weights.hf_config import hf_model_config, is_hf
from duologue.weights.published import LM_FILE, ModelConfig, model_config, read_json

# What a language model's file may be called where the configuration names none (or is not there).
LM_FILES = (
    LM_FILE, "model.safetensors.index.json", "model.q8.safetensors", "model.q4.safetensors", "model.q8.gguf",
)  # fmt: skip
REPOSITORY = r"[\w.-]+/[\w.-]+"  # owner/name


@dataclass(frozen=True)
class ModelFiles:
    """Where the parts of a model are. `find` raises InputError for a file that is not there."""

    name: str
    config: ModelConfig
    find: Callable[[str], Path]


def locate(model: str) -> ModelFiles:
    """The files of `model`: a folder, or `hf://owner/repo` with an optional `@revision`.

    Nothing but `config.json` is downloaded before `find` asks for it.
    """
    if model.startswith("hf://"):
        repository, _, revision = model.removeprefix("hf://").partition("@")
        if not re.fullmatch(REPOSITORY, repository):
            raise InputError(f"{model}: a hub model is written hf://owner/repo or hf://owner/repo@revision")

        def find(name: str) -> Path:
            return _named(name) or download(repository, _inside(model, name), revision or None)

        try:
            config = read_config(find("config.json"), f"{model}: config.json")
        except Missing:
            config = model_config({})
        return ModelFiles(model, config, find)
    folder = Path(model)
    if not model or not folder.is_dir():
        raise InputError(
            f"there is no model {model}: give a name, a folder, a .safetensors file or hf://owner/repo"
        )

    def find_local(name: str) -> Path:
        path = _named(name) or folder / _inside(model, name)
        if not path.is_file():
            raise Missing(f"{model}: the file {name} is missing")
        return path

    path = folder / "config.json"
    config = read_config(path, str(path)) if path.exists() else model_config({})
    return ModelFiles(str(folder), config, find_local)


def _named(name: str) -> Path | None:
    """A file that the configuration names outside its own folder."""
    if name.startswith("file://"):
        return Path(name.removeprefix("file://"))
    if name.startswith("hf://"):
        found = re.fullmatch(rf"hf://({REPOSITORY})/(.+)", name)
        if not found:
            raise InputError(f"{name}: a file on the hub is written hf://owner/repo/file")
        return download(found[1], _inside(name, found[2]), None)
    return None


def _inside(model: str, name: str) -> str:
    """The name of a file, refused if it leads out of the model's folder (a link that the folder's owner made may)."""
    path = os.path.normpath(name)
    if os.path.isabs(path) or Path(path).parts[:1] == ("..",):
        raise InputError(f"{model}: the file name {name!r} leads out of the model's folder")
    return path


class Missing(InputError):
    """A model does not have a file."""


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


def download(repository: str, name: str, revision: str | None) -> Path:
    """One file of a hub repository, from the local cache or fetched."""
    import huggingface_hub as hub
    from huggingface_hub import errors

    where = f"hf://{repository}" + (f"@{revision}" if revision else "")
    try:
        return Path(hub.hf_hub_download(repository, name, revision=revision))
    except errors.LocalEntryNotFoundError as error:
        if hub.try_to_load_from_cache(repository, name, revision=revision) is hub._CACHED_NO_EXIST:
            raise Missing(f"{where}: the repository has no file {name}") from error
        offline = isinstance(error.__cause__, errors.OfflineModeIsEnabled)
        reason = "HF_HUB_OFFLINE is set" if offline else "the hub cannot be reached"
        raise InputError(f"{where}: {reason} and {name} is not in the cache") from error
    except errors.EntryNotFoundError as error:
        raise Missing(f"{where}: the repository has no file {name}") from error
    except errors.GatedRepoError as error:
        raise InputError(f"{where}: accept its terms on the hub's page, then run `hf auth login`") from error
    except errors.RepositoryNotFoundError as error:
        raise InputError(f"{where}: no such repository; if it is private, run `hf auth login`") from error
    except errors.RevisionNotFoundError as error:
        raise InputError(f"{where}: the repository has no revision {revision}") from error
    except Exception as error:  # whatever a network or a full disk may do
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise InputError(f"{where}: cannot fetch {name}: {reason}") from error
