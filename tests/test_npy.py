"""Arrays in files: what numpy writes, and nothing else."""

import io
import pickle

import numpy as np
import pytest

from duologue import npy as module
from duologue.npy import map_npy, parse_npy, read_npz


def npy(array: np.ndarray, version=None) -> bytes:
    body = io.BytesIO()
    np.lib.format.write_array(body, array, version)
    return body.getvalue()


ARRAYS = [
    np.arange(24, dtype=np.int16).reshape(2, 3, 4), np.array(12.5), np.array("tiny"), np.zeros((2, 0)),
    np.ones(3, bool),
    np.asfortranarray(np.arange(6.0).reshape(2, 3)), np.arange(3, dtype=">u4"),
]  # fmt: skip


@pytest.mark.parametrize("array", ARRAYS)
@pytest.mark.parametrize("version", [(1, 0), (2, 0), (3, 0)])
def test_what_numpy_writes_is_read(array, version):
    read = parse_npy(npy(array, version))
    np.testing.assert_array_equal(read, array)
    assert read.dtype == array.dtype and read.flags.writeable


class Runs:
    def __reduce__(self):
        return print, ("a file has run",)


def test_nothing_in_a_file_is_run(capsys):
    body = npy(np.array([1], "i8"))
    objects = body[:-8].replace(b"'<i8'", b"'|O' ") + pickle.dumps(Runs())
    for bad in (objects, npy(np.array([Runs()], object))):
        with pytest.raises(ValueError, match="npy"):
            parse_npy(bad)
    assert "has run" not in capsys.readouterr().out


@pytest.mark.parametrize(
    "shape", [b"(10000000000,)", b"(1000000, 1000000)", b"(2,)", b"()", b"(3, 0)", b"(-1,)", b"(3"]
)
def test_a_shape_that_is_not_there_costs_no_memory(shape):
    body = npy(np.arange(3))
    at = body.index(b"(3,)")
    bad = body[:at] + (shape + b", }").ljust(len(body) - 24 - at - 1) + b"\n" + body[-24:]
    with pytest.raises(ValueError, match="npy"):
        parse_npy(bad)


@pytest.mark.parametrize("dtype", [b"<f3", b"<i0", b"<U0", b"|V8", b"<m8", b"<c8"])
def test_other_kinds_are_refused(dtype):
    with pytest.raises(ValueError, match="npy"):
        parse_npy(npy(np.arange(3, dtype="<i8")).replace(b"<i8", dtype))


@pytest.mark.parametrize("array", ARRAYS)
def test_a_mapped_file_is_the_same(tmp_path, array):
    np.save(tmp_path / "x.npy", array)
    mapped = map_npy(tmp_path / "x.npy")
    np.testing.assert_array_equal(mapped, array)
    assert mapped.dtype == array.dtype


def test_what_is_mapped_is_as_long_as_it_claims(tmp_path):
    (tmp_path / "x.npy").write_bytes(npy(np.arange(3)) + b"\0")
    with pytest.raises(ValueError, match="claims the shape"):
        map_npy(tmp_path / "x.npy")


def test_an_archive_is_read_within_its_limit(tmp_path, monkeypatch):
    np.savez_compressed(tmp_path / "x.npz", a=np.arange(4), b=np.zeros(1 << 12))
    a, b = read_npz(tmp_path / "x.npz", "a", "b")
    assert a.tolist() == [0, 1, 2, 3] and len(b) == 1 << 12
    monkeypatch.setattr(module, "LARGEST", dict.fromkeys(module.LARGEST, 1 << 12))
    with pytest.raises(ValueError, match="too large"):
        read_npz(tmp_path / "x.npz", "a", "b")
    with pytest.raises(ValueError, match="c.npy"):
        read_npz(tmp_path / "x.npz", "c")
