import os
import stat

import pytest

from duologue.errors import InputError
from duologue.files import atomic_write, check_writable


def test_the_file_is_there_only_at_the_end_and_only_once(tmp_path):
    target = tmp_path / "out.json"
    with atomic_write(target) as temporary:
        temporary.write_text("new")
        assert temporary.parent == tmp_path
        assert temporary.suffix == ".json"
        assert not target.exists()
    assert target.read_text() == "new"
    assert list(tmp_path.iterdir()) == [target]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
def test_whatever_goes_wrong_the_old_file_stays_and_nothing_is_left(tmp_path, error):
    target = tmp_path / "out.json"
    target.write_text("old")
    with pytest.raises(error), atomic_write(target) as temporary:
        temporary.write_text("half")
        raise error
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_a_writer_that_wrote_nothing_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError), atomic_write(tmp_path / "out.json"):
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_link_is_followed_and_permissions_are_those_of_any_new_file(tmp_path):
    (tmp_path / "there").mkdir()
    link = tmp_path / "link.txt"
    link.symlink_to(tmp_path / "there" / "real.txt")
    with atomic_write(link) as temporary:
        temporary.write_text("x")
    assert link.is_symlink()
    (tmp_path / "plain.txt").write_text("x")
    mode = stat.S_IMODE((tmp_path / "there" / "real.txt").stat().st_mode)
    assert mode == stat.S_IMODE((tmp_path / "plain.txt").stat().st_mode)


def test_places_where_no_file_can_be_are_input_errors(tmp_path):
    for path, complaint in [
        (tmp_path, "not a plain file"),
        (os.devnull, "not a plain file"),
        (tmp_path / "absent" / "x", "no folder"),
    ]:
        with pytest.raises(InputError, match=complaint):
            check_writable(path)


def test_a_folder_closed_to_us_is_an_input_error(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "access", lambda *_: False)  # the superuser may write anywhere
    with pytest.raises(InputError, match="no permission"):
        check_writable(tmp_path / "x")
