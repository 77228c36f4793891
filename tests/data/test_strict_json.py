"""Text files by lines, and json in them."""

import gzip

import pytest

from duologue.data import strict_json
from duologue.data.strict_json import read_lines, read_rows
from duologue.errors import InputError


def test_a_line_ends_at_a_line_feed_alone(tmp_path):
    lines = ["one\u2028more\u0085and\x0bmore", "", "two"]
    for name, ending in (("a.txt", "\n"), ("b.txt", "\r\n"), ("c.txt.gz", "\n")):
        body = ("\ufeff" + ending.join(lines)).encode()
        (tmp_path / name).write_bytes(gzip.compress(body) if name.endswith(".gz") else body)
        assert list(read_lines(tmp_path / name)) == list(enumerate(lines, 1))


def test_rows_may_hold_any_text_and_empty_lines_are_left_out(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"a": "x\u2028y"}\n\n{"a": "z"}\n', "utf-8")
    assert list(read_rows(tmp_path / "a.jsonl", lambda row: row["a"], "a")) == ["x\u2028y", "z"]


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (b'{"a": 1}\n{"b": 1}\n', "line 2: expected an a"),
        (b'{"a": 1}\n[[[\n', "line 2: expected an a"),
        (b"[" * 100_000, "line 1: expected an a"),
        (b'{"a": 1}\n\xff\n', "line 2: it is not in UTF-8"),
        (b'{"a": "' + 3000 * b"a", "line 1: longer than"),
    ],
)
def test_a_bad_line_is_named(tmp_path, monkeypatch, body, told):
    if "longer" in told:
        monkeypatch.setattr(strict_json, "LARGEST", 2000)
    (tmp_path / "a.jsonl").write_bytes(body)
    with pytest.raises(InputError, match=told):
        list(read_rows(tmp_path / "a.jsonl", lambda row: row["a"], "an a"))


def test_a_missing_file_is_an_input_error(tmp_path):
    with pytest.raises(InputError, match="there is no file"):
        list(read_lines(tmp_path / "a.jsonl"))
