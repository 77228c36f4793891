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
