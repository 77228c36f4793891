"""Finding the files of a model: a folder, a single file, or a repository on the hub."""

import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ..errors import InputError
from .published import ModelConfig, model_config, read_json

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
            config = model_config(read_json(find("config.json")), f"{model}: config.json")
        except _NotInRepository:
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
            raise InputError(f"{model}: the file {name} is missing")
        return path

    path = folder / "config.json"
    config = model_config(read_json(path), str(path)) if path.exists() else model_config({})
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


class _NotInRepository(InputError):
    pass


def download(repository: str, name: str, revision: str | None) -> Path:
    """One file of a hub repository, from the local cache or fetched."""
    import huggingface_hub as hub
    from huggingface_hub import errors

    where = f"hf://{repository}" + (f"@{revision}" if revision else "")
    try:
        return Path(hub.hf_hub_download(repository, name, revision=revision))
    except errors.LocalEntryNotFoundError as error:
        if hub.try_to_load_from_cache(repository, name, revision=revision) is hub._CACHED_NO_EXIST:
            raise _NotInRepository(f"{where}: the repository has no file {name}") from error
        offline = isinstance(error.__cause__, errors.OfflineModeIsEnabled)
        reason = "HF_HUB_OFFLINE is set" if offline else "the hub cannot be reached"
        raise InputError(f"{where}: {reason} and {name} is not in the cache") from error
    except errors.EntryNotFoundError as error:
        raise _NotInRepository(f"{where}: the repository has no file {name}") from error
    except errors.GatedRepoError as error:
        raise InputError(f"{where}: accept its terms on the hub's page, then run `hf auth login`") from error
    except errors.RepositoryNotFoundError as error:
        raise InputError(f"{where}: no such repository; if it is private, run `hf auth login`") from error
    except errors.RevisionNotFoundError as error:
        raise InputError(f"{where}: the repository has no revision {revision}") from error
    except Exception as error:  # whatever a network or a full disk may do
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise InputError(f"{where}: cannot fetch {name}: {reason}") from error
