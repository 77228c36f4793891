"""The texts that accompany a model in its folder, and the recordings that they name."""

import shutil
from pathlib import Path
from typing import Any

from duologue.errors import InputError
from duologue.weights.fields import read_json
from duologue.weights.files import ModelFiles

CARD = "card.json"  # what the page says of the model; `serve.card` checks it
ABOUT = "card.toml"  # texts of the model card


def copy_card(files: ModelFiles, folder: Path) -> dict[str, Any] | None:
    """Copy `card.json`, the recordings of its questions, and `card.toml` to `folder`, as far as the model has them.

    Returns what `card.json` says, None without one. Raises InputError if it is damaged or a recording is missing.
    """
    if (about := files.optional(ABOUT)) is not None:
        shutil.copyfile(about, folder / ABOUT)
    if (path := files.optional(CARD)) is None:
        return None
    card: dict[str, Any] = read_json(path)
    shutil.copyfile(path, folder / CARD)
    for name in _recordings(card, path):
        source, target = files.find(name), folder / name
        if target.exists():
            raise InputError(f"{path}: a recording cannot be called {name}")
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target)
    return card


def _recordings(card: dict[str, Any], path: Path) -> set[str]:
    """The names of the recordings. `serve.card` checks the rest of the card."""
    questions = card.get("questions", [])
    if not isinstance(questions, list) or not all(isinstance(each, dict) for each in questions):
        raise InputError(f"{path}: questions is not a list of questions")
    names = [question["sound"] for question in questions if question.get("sound")]
    if not all(isinstance(name, str) for name in names):
        raise InputError(f"{path}: a sound is not the name of a file")
    return set(names)
