import io
import tracemalloc
import zipfile

import numpy as np
import pytest

from duologue.codec.codes import Codes, load_codes, save_codes
from duologue.errors import InputError

CODES = Codes(np.arange(24).reshape(8, 3) * 80, 24_000, 12.5, "tiny")


def test_codes_come_back_as_they_were(tmp_path):
    save_codes(tmp_path / "x.npz", CODES)
    again = load_codes(tmp_path / "x.npz")
    np.testing.assert_array_equal(again.codes_QT, CODES.codes_QT)
    assert again.codes_QT.dtype == np.int64
    assert (again.sample_rate, again.frame_rate, again.model) == (24_000, 12.5, "tiny")
    with np.load(tmp_path / "x.npz") as arrays:
        assert set(arrays) == {"codes", "sample_rate", "frame_rate", "model"}
        assert arrays["codes"].dtype == np.int16


def test_a_name_that_is_no_npz_is_refused(tmp_path):
    with pytest.raises(InputError, match="must end in .npz"):
        save_codes(tmp_path / "x.npy", CODES)


def test_a_damaged_file_is_an_input_error(tmp_path):
    path = tmp_path / "x.npz"
    save_codes(path, CODES)
    whole = path.read_bytes()
    for content in (b"", b"hello", whole[:100], whole[: len(whole) // 2], whole[:-30]):
        path.write_bytes(content)
        with pytest.raises(InputError, match="damaged"):
            load_codes(path)
    with pytest.raises(InputError, match="there is no file"):
        load_codes(tmp_path / "absent.npz")


@pytest.mark.parametrize(
    "codes",
    [
        np.zeros(3, int),
        np.zeros((8, 0), int),
        np.zeros((8, 3)),
        np.full((8, 3), -1),
        np.zeros((1, 8, 3), int),
    ],
)
def test_arrays_of_another_shape_or_kind_are_an_input_error(tmp_path, codes):
    np.savez(tmp_path / "x.npz", codes=codes, sample_rate=24_000, frame_rate=12.5, model="tiny")
    with pytest.raises(InputError, match="`codes` must be"):
        load_codes(tmp_path / "x.npz")


def test_other_arrays_and_pickles_are_an_input_error(tmp_path):
    np.savez(tmp_path / "x.npz", weights=np.zeros(3))
    np.save(tmp_path / "y.npy", np.zeros(3))
    np.savez(tmp_path / "z.npz", codes=np.array([{}]), sample_rate=24_000, frame_rate=12.5, model="tiny")
    for name in ("x.npz", "y.npy", "z.npz"):
        with pytest.raises(InputError, match="damaged or not"):
            load_codes(tmp_path / name)


def zipped(path, compression=zipfile.ZIP_DEFLATED, **arrays):
    with zipfile.ZipFile(path, "w", compression) as file:
        for name, body in arrays.items():
            file.writestr(f"{name}.npy", body)


def npy(array):
    body = io.BytesIO()
    np.save(body, array)
    return body.getvalue()


GOOD = {"sample_rate": npy(24_000), "frame_rate": npy(12.5), "model": npy("tiny")}


def test_a_bomb_is_refused_before_it_is_unpacked(tmp_path, monkeypatch):
    monkeypatch.setattr("duologue.npy.LARGEST", {zipfile.ZIP_DEFLATED: 1 << 20})
    codes = npy(np.zeros((8, 100_000), np.int16))  # 1.6 MB in 2 KB
    zipped(tmp_path / "x.npz", codes=codes, **GOOD)
    tracemalloc.start()
    with pytest.raises(InputError, match="damaged or not"):
        load_codes(tmp_path / "x.npz")
    assert tracemalloc.get_traced_memory()[1] < 1e6
    tracemalloc.stop()
    monkeypatch.undo()
    assert load_codes(tmp_path / "x.npz").codes_QT.shape == (8, 100_000)


def test_other_damage_is_an_input_error(tmp_path):
    codes, path = npy(np.zeros((8, 3), np.int16)), tmp_path / "x.npz"
    for bad in (
        {"frame_rate": npy(np.nan)}, {"frame_rate": npy(0.0)}, {"sample_rate": npy(-1)}, {"sample_rate": npy([1, 2])},
        {"sample_rate": npy(np.inf)}, {"codes": codes.replace(b"(8, 3)", b"(8, 9)")}, {"codes": codes[:-1]},
    ):  # fmt: skip
        zipped(path, **GOOD | {"codes": codes} | bad)
        with pytest.raises(InputError, match="damaged or not"):
            load_codes(path)
    zipped(path, zipfile.ZIP_LZMA, codes=codes, **GOOD)
    with pytest.raises(InputError, match="damaged or not"):
        load_codes(path)
    zipped(path, codes=npy(np.full((8, 3), 2**15)), **GOOD)
    with pytest.raises(InputError, match="more than any codec has"):
        load_codes(path)
    zipped(path, codes=codes, **GOOD)
    body = bytearray(path.read_bytes())
    body[60:70] = bytes(10)  # inside the packed data: zlib's own error
    path.write_bytes(body)
    with pytest.raises(InputError, match="damaged or not"):
        load_codes(path)
