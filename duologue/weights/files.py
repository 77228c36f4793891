"""Finding the files of a model: a folder, a single file, or a repository on the hub."""

import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ..errors import InputError
from .published import ModelConfig, model_config, read_json


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
        if not re.fullmatch(r"[\w.-]+/[\w.-]+", repository):
            raise InputError(f"{model}: a hub model is written hf://owner/repo or hf://owner/repo@revision")

        def find(name: str) -> Path:
            return _named(name) or download(repository, name, revision or None)

        try:
            config = model_config(read_json(find("config.json")), f"{model}: config.json")
        except _NotInRepository:
            config = model_config({})
        return ModelFiles(model, config, find)
    folder = Path(model)
    if not folder.is_dir():
        raise InputError(
            f"there is no model {model}: give a name, a folder, a .safetensors file or hf://owner/repo"
        )

    def find_local(name: str) -> Path:
        path = _named(name) or _inside(folder, name)
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
        owner, repo, *rest = name.removeprefix("hf://").split("/")
        return download(f"{owner}/{repo}", "/".join(rest), None)
    return None


def _inside(folder: Path, name: str) -> Path:
    """`folder / name`, refused if it leads out of the folder (a link that the owner of the folder made may)."""
    path = Path(os.path.normpath(folder / name))
    if Path(name).is_absolute() or not path.is_relative_to(os.path.normpath(folder)):
        raise InputError(f"{folder}: the file name {name!r} leads out of the model's folder")
    return path


class _NotInRepository(InputError):
    pass


def download(repository: str, name: str, revision: str | None) -> Path:
    """One file of a hub repository, from the local cache or fetched."""
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import (
        EntryNotFoundError,
        HfHubHTTPError,
        LocalEntryNotFoundError,
        OfflineModeIsEnabled,
    )

    where = f"hf://{repository}" + (f"@{revision}" if revision else "")
    try:
        return Path(hf_hub_download(repository, name, revision=revision))
    except LocalEntryNotFoundError as error:
        raise InputError(f"{where}: the hub cannot be reached and {name} is not in the cache") from error
    except EntryNotFoundError as error:
        raise _NotInRepository(f"{where}: the repository has no file {name}") from error
    except OfflineModeIsEnabled as error:
        raise InputError(f"{where}: HF_HUB_OFFLINE is set and {name} is not in the cache") from error
    except (HfHubHTTPError, OSError, ValueError) as error:
        reason = str(error).strip().splitlines()[0]
        raise InputError(f"{where}: cannot fetch {name}: {reason}") from error
