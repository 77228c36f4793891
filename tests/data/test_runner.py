import json

import pytest

from duologue.data.manifest import read_manifest
from duologue.data.runner import run, run_in_place
from duologue.errors import InputError


class Doubles:
    """Counts its calls; fails on rows marked bad, and dies on the row `dies`."""

    def __init__(self, dies=None):
        self.seen, self.dies = [], dies

    def __call__(self, rows):
        for row in rows:
            if row["id"] == self.dies:
                raise KeyboardInterrupt
            if row.get("bad"):
                raise RuntimeError("cut short")
            self.seen.append(row["id"])
        return [row | {"twice": 2 * row["n"]} for row in rows]


def rows_of(tmp_path, count, bad=()):
    for n in range(count):
        (tmp_path / f"{n}.wav").write_text(str(n))
    return [
        {"path": str(tmp_path / f"{n}.wav"), "id": f"r{n}", "n": n} | ({"bad": True} if n in bad else {})
        for n in range(count)
    ]


def test_a_bad_row_in_the_middle_is_reported_and_left_out(tmp_path, capsys):
    out = tmp_path / "out.jsonl"
    result = run(Doubles(), rows_of(tmp_path, 5, bad=[2]), out, batch=2)
    assert [row["n"] for row in read_manifest(out)] == [0, 1, 3, 4]
    assert result.bad == [{"id": "r2", "error": "RuntimeError: cut short"}]
    assert json.loads((tmp_path / "out.errors").read_text()) == result.bad[0]
    assert "1 of the rows failed" in capsys.readouterr().err
    again = Doubles()
    result = run(again, rows_of(tmp_path, 5), out)
    assert again.seen == ["r2"]
    assert result.resumed == 4
    assert [row["twice"] for row in read_manifest(out)] == [0, 2, 4, 6, 8]
    assert not (tmp_path / "out.errors").exists()


def test_a_killed_run_goes_on_where_it_stopped(tmp_path):
    out = tmp_path / "out.jsonl"
    with pytest.raises(KeyboardInterrupt):
        run(Doubles(dies="r3"), rows_of(tmp_path, 5), out)
    assert not out.exists()
    part = tmp_path / "out.jsonl.part"
    with part.open("a") as file:
        file.write('{"id": "r3", "tw')  # the kill came inside a line
    with pytest.raises(KeyboardInterrupt):
        run(Doubles(dies="r4"), rows_of(tmp_path, 5), out)
    rest = Doubles()
    result = run(rest, rows_of(tmp_path, 5), out)
    assert rest.seen == ["r4"]
    assert result.resumed == 4
    assert [row["twice"] for row in read_manifest(out)] == [0, 2, 4, 6, 8]
    assert not part.exists()


def test_finished_rows_are_in_the_file_at_once(tmp_path):
    found = []

    def stage(rows):
        found.append((tmp_path / "out.jsonl.part").read_text().count("\n"))
        return rows

    run(stage, rows_of(tmp_path, 3), tmp_path / "out.jsonl")
    assert found == [0, 1, 2]


def test_a_stage_in_place_writes_no_manifest(tmp_path):
    rows = rows_of(tmp_path, 3, bad=[1])
    result = run_in_place(Doubles(), rows, tmp_path / "set.jsonl")
    assert [row["twice"] for row in result.rows] == [0, 4]
    assert sorted(path.name for path in tmp_path.iterdir() if path.suffix != ".wav") == ["set.errors"]


def test_rows_without_an_id_go_by_their_path(tmp_path):
    class Moves:
        def __call__(self, rows):
            return [{"path": str(tmp_path / "moved.wav")} for _ in rows]

    source = str(tmp_path / "a.wav")
    (tmp_path / "moved.wav").touch()
    run(Moves(), [{"path": source}], tmp_path / "out.jsonl")
    assert read_manifest(tmp_path / "out.jsonl")[0]["id"] == source
    assert run(Moves(), [{"path": source}], tmp_path / "out.jsonl").resumed == 1
    with pytest.raises(InputError, match="share the id"):
        run(Moves(), [{"path": source}, {"path": source}], tmp_path / "twice.jsonl")


class Settled(Doubles):
    def __init__(self, **settings):
        super().__init__()
        self.settings = settings


def test_what_changed_is_made_again(tmp_path):
    out, rows = tmp_path / "out.jsonl", rows_of(tmp_path, 4)
    run(Settled(take=1), rows, out)
    (tmp_path / "1.wav").write_text("another recording")
    (tmp_path / "2.json").write_text("another transcript")
    rows[3]["n"] = 30
    again = Settled(take=1)
    result = run(again, rows, out)
    assert again.seen == ["r1", "r2", "r3"]
    assert [row["twice"] for row in result.rows] == [0, 2, 4, 60]
    rows[1]["bad"] = True  # what cannot be made again is not there in its old form either
    assert [row["id"] for row in run(Settled(take=1), rows, out).rows] == ["r0", "r2", "r3"]


def test_an_output_that_is_gone_is_made_again(tmp_path):
    class Writes(Doubles):
        def __call__(self, rows):
            for row in super().__call__(rows):
                (tmp_path / f"{row['n']}.npy").touch()
            return [row | {"codes": str(tmp_path / f"{row['n']}.npy")} for row in rows]

    out, rows = tmp_path / "out.jsonl", rows_of(tmp_path, 2)
    run(Writes(), rows, out)
    (tmp_path / "1.npy").unlink()
    again = Writes()
    assert (run(again, rows, out).resumed, again.seen) == (1, ["r1"])


def test_a_folder_holds_outputs_of_one_setting(tmp_path):
    out, rows = tmp_path / "out.jsonl", rows_of(tmp_path, 2)
    run(Settled(take=1, seed=0), rows, out)
    whole = out.read_text()
    with pytest.raises(InputError, match="other settings .take was 1, is 2.: name another folder"):
        run(Settled(take=2, seed=0), rows, out)
    assert out.read_text() == whole
    (tmp_path / "out.settings.json").unlink()  # an older version wrote none
    with pytest.raises(InputError, match="other settings"):
        run(Settled(take=1), rows, out)
    assert run(Settled(take=1), rows, tmp_path / "new.jsonl").resumed == 0


@pytest.mark.parametrize("part", ['{"id": 3}\n{"no": 1}\n', "[[\n", "\x00\n", '"x"\n', "[1]\n"])
def test_a_damaged_part_is_an_input_error(tmp_path, part):
    (tmp_path / "out.jsonl.part").write_text(part)
    with pytest.raises(InputError, match="out.jsonl.part is damaged"):
        run(Doubles(), rows_of(tmp_path, 2), tmp_path / "out.jsonl")


def test_a_stage_that_loses_rows_is_an_error(tmp_path):
    result = run(lambda rows: [], [{"path": "a", "id": "a"}], tmp_path / "out.jsonl")
    assert "1 rows in, 0 out" in result.bad[0]["error"]
