"""Read tar files of samples and clips safely: no more memory than the size of the file, whatever it contains."""

import tarfile
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from pathlib import Path

from duologue.data.strict_json import LARGEST, one_line
from duologue.errors import InputError


def members(path: Path, wanted: Callable[[str], bool] = lambda name: True) -> Iterator[tuple[str, bytes]]:
    """(name, content) of each file in a tar that is not compressed, without the content of those that are not `wanted`.
    Raises InputError if it is damaged or cut short."""
    with _opened(path) as tar:
        for member in tar:
            if member.isfile():
                start, end = _stretch(path, member)
                if member.name.endswith("json") and end - start > LARGEST:
                    raise ValueError(f"{member.name[:80]} is longer than {LARGEST >> 20} MiB")
                file = tar.extractfile(member) if wanted(member.name) else None
                body = b"" if file is None else file.read(end - start)
                yield member.name, body


def where_in(path: Path, name: str) -> tuple[int, int]:
    """The stretch of a tar that is the content of a file in it. Raises InputError if it is damaged, or has none."""
    with _opened(path) as tar:
        return _stretch(path, tar.getmember(name))


@contextmanager
def _opened(path: Path) -> Generator[tarfile.TarFile]:
    try:
        with tarfile.open(path, "r:") as tar:
            yield tar
    except (tarfile.TarError, EOFError, OSError, ValueError, KeyError, OverflowError) as error:
        raise InputError(f"{path} is damaged or no tar of ours: {one_line(error)}") from None


def _stretch(path: Path, member: tarfile.TarInfo) -> tuple[int, int]:
    end = member.offset_data + member.size
    if member.issparse() or member.size < 0 or end > path.stat().st_size:
        raise ValueError(f"{member.name[:80]} is longer than the tar")
    return member.offset_data, end
