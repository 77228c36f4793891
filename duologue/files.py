"""Writing files so that a reader finds either the whole file or none."""

import os
import secrets
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from duologue.errors import InputError
from duologue.types import StrPath


def check_writable(path: StrPath) -> Path:
    """The resolved `path`, after checking that a file can be written there. Call it before long work.

    Raises InputError if its folder is missing or not writable, or if it names anything but a plain file.
    """
    target = Path(path).resolve()
    if target.exists() and not target.is_file():
        raise InputError(f"cannot write {path}: it is not a plain file")
    if not target.parent.is_dir():
        raise InputError(f"cannot write {path}: there is no folder {target.parent}")
    if not os.access(target.parent, os.W_OK | os.X_OK):
        raise InputError(f"cannot write {path}: no permission to write in {target.parent}")
    return target


@contextmanager
def atomic_write(path: StrPath) -> Generator[Path]:
    """Yields a path to write to, in the same folder and with the same suffix; it becomes `path` at the end.

    On any exception, Ctrl-C included, what was written is removed and `path` is as it was before. The data is
    on the disk before the name is, so a power cut leaves the old file or the new one.
    Raises InputError as `check_writable` does.
    """
    target = check_writable(path)
    temporary = target.with_name(f".{target.stem}.{secrets.token_hex(4)}{target.suffix}")
    try:
        yield temporary
        with open(temporary, "rb+") as file:
            os.fsync(file.fileno())
        os.replace(temporary, target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    if os.name == "posix":  # the rename is on the disk only after the folder is synced
        folder = os.open(target.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
