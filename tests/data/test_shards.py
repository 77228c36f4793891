import gzip
import io
import json
import tarfile
import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from duologue.data.fingerprint import fingerprint
from duologue.data.shards import ShardReader, read_shard, write_shards
from duologue.errors import InputError


def samples(count):
    return [
        {"key": f"talk-{n:03d}", "codes.npy": np.full((2, 8, n + 1), n, np.int16), "json": {"n": n}}
        for n in range(count)
    ]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("shards")
    write_shards(place, samples(23), per_shard=4)
    return place


def numbers(reader, count):
    return [next(reader)["json"]["n"] for _ in range(count)]


def test_samples_come_back_as_they_were_written(folder):
    found = [sample for path in sorted(folder.glob("*.tar")) for sample in read_shard(path)]
    assert len(found) == 23
    for sample, wanted in zip(found, samples(23), strict=True):
        np.testing.assert_array_equal(sample["codes.npy"], wanted["codes.npy"])
        assert sample["codes.npy"].dtype == np.int16
        assert {k: v for k, v in sample.items() if k != "codes.npy"} == {
            "key": wanted["key"],
            "json": wanted["json"],
        }


def test_the_layout_is_webdatasets(folder):
    with tarfile.open(folder / "000000.tar") as tar:
        names = tar.getnames()
    assert names[:4] == ["talk-000.codes.npy", "talk-000.json", "talk-001.codes.npy", "talk-001.json"]
    last = json.loads((folder / "shards.json").read_text())["shards"][-1]
    assert last == {"name": "000005.tar", "samples": 3, "hash": fingerprint(folder / "000005.tar")}


def test_the_same_samples_give_the_same_bytes(folder, tmp_path):
    write_shards(tmp_path, samples(40), per_shard=4)
    write_shards(tmp_path, samples(23), per_shard=4)
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(p.name for p in folder.iterdir())
    for path in folder.iterdir():
        assert path.read_bytes() == (tmp_path / path.name).read_bytes()


def test_keys_are_made_safe_and_must_differ(tmp_path):
    write_shards(tmp_path, [{"key": "a.b/c", "json": 1}])
    assert read_shard(tmp_path / "000000.tar") == [{"key": "a_b_c", "json": 1}]
    with pytest.raises(InputError, match="two samples"):
        write_shards(tmp_path, [{"key": "a.b", "json": 1}, {"key": "a_b", "json": 2}])
    with pytest.raises(InputError, match="not finished"):
        ShardReader(tmp_path)


def test_an_epoch_is_a_permutation_and_each_differs(folder):
    reader = ShardReader(folder, seed=1, mix=2)
    first, second = numbers(reader, 23), numbers(reader, 23)
    assert sorted(first) == sorted(second) == list(range(23))
    assert first != second
    assert first != list(range(23))
    assert numbers(ShardReader(folder, seed=1, mix=2), 46) == first + second
    assert numbers(ShardReader(folder, seed=2, mix=2), 23) != first
    assert numbers(ShardReader(folder, shuffle=False), 23) == list(range(23))


@given(taken=st.integers(0, 60), seed=st.integers(0, 3))
def test_a_reader_goes_on_at_the_very_next_sample(folder, taken, seed):
    whole = numbers(ShardReader(folder, seed=seed, mix=2), taken + 30)
    reader = ShardReader(folder, seed=seed, mix=2)
    assert numbers(reader, taken) == whole[:taken]
    state = json.loads(json.dumps(reader.state_dict()))
    again = ShardReader(folder, seed=seed, mix=2)
    again.load_state_dict(state)
    assert numbers(again, 30) == whole[taken:]


def test_ranks_share_an_epoch_and_may_change_in_number(folder):
    alone = numbers(ShardReader(folder, seed=5), 46)
    ranks = [ShardReader(folder, seed=5, rank=rank, world=3) for rank in range(3)]
    together = [next(reader)["json"]["n"] for _ in range(7) for reader in ranks]
    assert together == alone[:21]  # the last two of 23 are dropped
    assert [next(reader)["json"]["n"] for reader in ranks] == alone[23:26]
    state = ranks[0].state_dict()
    two = [ShardReader(folder, seed=5, rank=rank, world=2) for rank in range(2)]
    for reader in two:
        reader.load_state_dict(state)
    assert [next(reader)["json"]["n"] for reader in two] == alone[26:28]


def test_changed_data_and_too_many_ranks_are_refused(folder, tmp_path):
    write_shards(tmp_path, samples(5))
    state = ShardReader(tmp_path).state_dict()
    with pytest.raises(InputError, match="data has changed"):
        ShardReader(folder).load_state_dict(state)
    with pytest.raises(InputError, match="data has changed"):
        ShardReader(tmp_path, seed=1).load_state_dict(state)
    write_shards(tmp_path / "other", [one | {"json": {"n": "other" * 300}} for one in samples(5)])
    with pytest.raises(InputError, match="data has changed: other shards"):
        ShardReader(tmp_path / "other").load_state_dict(state)
    del state["shards"]  # of an older version
    ShardReader(tmp_path / "other").load_state_dict(state)
    with pytest.raises(InputError, match="shared among"):
        ShardReader(tmp_path, world=6)
    assert len(ShardReader(tmp_path, folder)) == 28


def test_a_damaged_shard_is_named(folder, tmp_path):
    whole = (folder / "000000.tar").read_bytes()
    (tmp_path / "000000.tar").write_bytes(whole[:700])
    with pytest.raises(InputError, match=r"000000.tar"):
        read_shard(tmp_path / "000000.tar")
    (tmp_path / "000000.tar").write_bytes(whole)
    (tmp_path / "shards.json").write_text('{"shards": [{"name": "000000.tar", "samples": 5}]}')
    with pytest.raises(InputError, match="write the shards again"):
        next(ShardReader(tmp_path))


def test_foreign_tars_without_an_index_are_read(tmp_path):
    with tarfile.open(tmp_path / "foreign.tar", "w") as tar:
        tar.addfile(tarfile.TarInfo("set"))
        for name, body in (("set/a.txt", b"hi"), ("set/a.json", b"[1]"), ("set/b.txt", b"yo")):
            info = tarfile.TarInfo(name)
            info.size = len(body)
            tar.addfile(info, io.BytesIO(body))
    reader = ShardReader(tmp_path, shuffle=False)
    assert [next(reader) for _ in range(len(reader))][-2:] == [
        {"key": "set/a", "txt": b"hi", "json": [1]},
        {"key": "set/b", "txt": b"yo"},
    ]
    with pytest.raises(InputError, match="no shards"):
        ShardReader(tmp_path / "nothing")


def tar_of(path, *members):
    with tarfile.open(path, "w") as tar:
        for name, body in members:
            info = tarfile.TarInfo(name)
            info.size = len(body)
            tar.addfile(info, io.BytesIO(body))
    return path


def npy_of(array, **options):
    body = io.BytesIO()
    np.save(body, array, **options)
    return body.getvalue()


def test_a_shard_that_would_be_run_is_refused(tmp_path):
    pickled = npy_of(np.array([[[{}]]], object), allow_pickle=True)
    path = tar_of(tmp_path / "x.tar", ("a.codes.npy", pickled))
    with pytest.raises(InputError, match=r"x.tar, a.codes.npy: .*array of numbers"):
        read_shard(path)


CODES = npy_of(np.zeros((2, 8, 3), np.int16))


@pytest.mark.parametrize(
    ("name", "body"),
    [
        ("a.codes.npy", npy_of(np.zeros((2, 8), np.int16))),
        ("a.codes.npy", npy_of(np.zeros((3, 8, 4), np.int16))),
        ("a.codes.npy", npy_of(np.zeros((2, 8, 0), np.int16))),
        ("a.codes.npy", npy_of(np.zeros((2, 8, 4)))),
        ("a.codes.npy", npy_of(np.full((2, 8, 4), -2))),
        ("a.codes.npy", CODES[:-1]),
        ("b.json", b"[]"),
        ("b.json", b'{"alignments": [[" 42", [null, null], "SPEAKER_MAIN"]]}'),
        ("b.json", b'{"alignments": null}'),
        ("b.json", b"[" * 100_000),
        ("b.codes.npy", CODES),
    ],
)
def test_a_sample_of_another_kind_is_named(tmp_path, name, body):
    path = tar_of(tmp_path / "x.tar", ("b.codes.npy", CODES), (name, body))
    with pytest.raises(InputError, match=rf"x.tar, {name}: ") as caught:
        read_shard(path)
    assert "\n" not in str(caught.value)


def test_a_tar_that_unpacks_to_more_than_it_is_is_refused(tmp_path):
    """Compressed, sparse, or longer by its header than the file."""
    whole = tar_of(tmp_path / "x.tar", ("a.json", b"1"))
    for compressed in (gzip.compress(bytes(10_000_000)), gzip.compress(whole.read_bytes())):
        (tmp_path / "z.tar").write_bytes(compressed)
        with pytest.raises(InputError, match=r"z.tar is damaged or no tar"):
            read_shard(tmp_path / "z.tar")
    info = tarfile.TarInfo("a.json")
    info.type, info.size = tarfile.GNUTYPE_SPARSE, 512
    header = bytearray(info.tobuf(tarfile.GNU_FORMAT))
    header[386:398] = header[398:410] = b"00000000000\0"  # where the one piece lies, and its length
    header[483:495] = b"00400000000\0"  # 64 MiB, unpacked
    header[148:156] = b"%06o\0 " % (sum(header[:148]) + 8 * 32 + sum(header[156:512]))
    info.type, info.size = tarfile.REGTYPE, 1 << 32
    for head in (bytes(header), info.tobuf(tarfile.GNU_FORMAT)):
        (tmp_path / "s.tar").write_bytes(head + bytes(512 * 10))
        with pytest.raises(InputError, match="longer than the tar"):
            read_shard(tmp_path / "s.tar")


def test_long_json_is_refused_before_it_is_read(tmp_path):
    path = tar_of(tmp_path / "x.tar", ("a.json", b"[" * ((1 << 24) + 1)))
    tracemalloc.start()
    with pytest.raises(InputError, match=r"a.json is longer than 16 MiB"):
        read_shard(path)
    assert tracemalloc.get_traced_memory()[1] < 1e6
    tracemalloc.stop()


def test_shards_that_were_being_written_are_not_read(tmp_path):
    write_shards(tmp_path, samples(10), per_shard=2)

    def killed():
        yield from samples(3)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_shards(tmp_path, killed(), per_shard=2)
    with pytest.raises(InputError, match="not finished: run"):
        ShardReader(tmp_path)
    write_shards(tmp_path, samples(3), per_shard=2)
    assert len(ShardReader(tmp_path)) == 3
