import errno
import json
import os
import pickle
import random
import resource
import shutil
import threading
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch

from duologue.errors import InputError
from duologue.train import checkpoint
from duologue.train.parallel import World

WORLD = World()


def state(value: float = 1.0, size: int = 3) -> dict:
    return {
        "module": {"a.weight": torch.full((size, 2), value), "count": torch.tensor(int(value))},
        "ema": {"average": {"a.weight": torch.full((size, 2), -value)}, "updates": int(value)},
        "loop": {"step": int(value), "data": {"place": {"epoch": 1, "names": ["x", "y"]}}},
    }


def test_what_is_saved_is_loaded(tmp_path: Path):
    folder = checkpoint.save(tmp_path, 7, state(7.5), WORLD)
    target = state(0.0)
    loaded = checkpoint.load(folder, target, WORLD)
    expected = state(7.5)
    assert loaded["loop"] == expected["loop"]
    assert loaded["ema"]["updates"] == 7
    for part in (expected["module"], expected["ema"]["average"]):
        for name, tensor in part.items():
            place = loaded["module"] if part is expected["module"] else loaded["ema"]["average"]
            assert torch.equal(place[name], tensor)
    assert torch.equal(target["module"]["a.weight"], torch.full((3, 2), 7.5))  # in place


def test_the_newest_few_stay(tmp_path: Path):
    for step in (5, 10, 100, 20):
        checkpoint.save(tmp_path, step, state(step), WORLD, keep=2)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["step-00000020", "step-00000100"]
    assert checkpoint.latest(tmp_path) == tmp_path / "step-00000100"


def test_saving_a_step_again_replaces_it(tmp_path: Path):
    checkpoint.save(tmp_path, 5, state(1), WORLD)
    folder = checkpoint.save(tmp_path, 5, state(2), WORLD)
    assert checkpoint.load(folder, state(0), WORLD)["loop"]["step"] == 2
    assert [p.name for p in tmp_path.iterdir()] == ["step-00000005"]


def test_nothing_yet(tmp_path: Path):
    assert checkpoint.latest(tmp_path) is None
    assert checkpoint.latest(tmp_path / "missing") is None
    with pytest.raises(InputError, match="no checkpoint"):
        checkpoint.load_weights(tmp_path)


def test_an_unfinished_save_is_no_checkpoint_and_is_cleaned_up(tmp_path: Path):
    folder = checkpoint.save(tmp_path, 1, state(1), WORLD)
    shutil.copytree(folder, tmp_path / ".saving-step-00000002")
    assert checkpoint.latest(tmp_path) == folder
    checkpoint.clean(tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["step-00000001"]


@pytest.mark.parametrize("name", ["manifest.json", "rank-0.json", "__0_0.distcp", ".metadata"])
@pytest.mark.parametrize("damage", ["missing", "short"])
def test_a_damaged_checkpoint_is_passed_over(tmp_path: Path, name: str, damage: str):
    good = checkpoint.save(tmp_path, 1, state(1), WORLD)
    victim = checkpoint.save(tmp_path, 2, state(2), WORLD) / name
    if damage == "missing":
        victim.unlink()
    else:
        victim.write_bytes(victim.read_bytes()[:-10])
    with pytest.warns(UserWarning, match="passed over"):
        assert checkpoint.latest(tmp_path) == good


def test_another_model_is_told_by_name_and_shape(tmp_path: Path):
    folder = checkpoint.save(tmp_path, 1, state(1), WORLD)
    with pytest.raises(
        InputError, match=r"another model.*ema/average/a.weight.*\(3, 2\) there, \(4, 2\) here"
    ):
        checkpoint.load(folder, state(size=4), WORLD)
    with pytest.raises(InputError, match="1 tensors differ.*module/b"):
        more = state()
        more["module"]["b"] = torch.zeros(1)
        checkpoint.load(folder, more, WORLD)


class Evil:
    def __reduce__(self):
        return os.system, ("touch evil",)


def test_metadata_that_names_a_function_is_refused_and_not_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    folder = checkpoint.save(tmp_path, 1, state(1), WORLD)
    (folder / ".metadata").write_bytes(pickle.dumps(Evil()))
    with pytest.raises(InputError, match="system"):
        checkpoint.load(folder, state(0), WORLD)
    assert not Path("evil").exists()


@pytest.mark.parametrize("size", [0, 1, 200, 900])
def test_torn_metadata_is_an_input_error(tmp_path: Path, size: int):
    folder = checkpoint.save(tmp_path, 1, state(1), WORLD)
    (folder / ".metadata").write_bytes((folder / ".metadata").read_bytes()[:size])
    with pytest.raises(InputError, match="cannot read"):
        checkpoint.load_weights(folder)


def test_metadata_cannot_lead_out_of_its_folder(tmp_path: Path):
    folder = checkpoint.save(tmp_path, 1, state(1), WORLD)
    (folder / "__0_0.distcp").rename(tmp_path / "elsewhere")
    metadata = (folder / ".metadata").read_bytes()
    outside = metadata.replace(b"\x0c__0_0.distcp", b"\x0c../elsewhere")
    assert outside != metadata
    (folder / ".metadata").write_bytes(outside)
    with pytest.raises(InputError, match="cannot read"):
        checkpoint.load_weights(folder)


def test_tensors_larger_than_the_files_are_not_made(tmp_path: Path):
    folder = checkpoint.save(tmp_path, 1, state(1), WORLD)
    with (folder / ".metadata").open("rb") as file:
        found = pickle.load(file)
    for tensor in found.state_dict_metadata.values():
        tensor.size = torch.Size([1 << 40])
    (folder / ".metadata").write_bytes(pickle.dumps(found))
    with pytest.raises(InputError, match="its files hold"):
        checkpoint.load_weights(folder)


def test_a_full_disk_is_an_error_that_leaves_nothing_behind(tmp_path: Path):
    good = checkpoint.save(tmp_path, 1, state(1), WORLD)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1024, hard))
    try:
        with pytest.raises(checkpoint.SaveError):
            checkpoint.save(tmp_path, 2, state(2, size=1000), WORLD)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert list(tmp_path.iterdir()) == [good]
    assert checkpoint.load(good, state(0), WORLD)["loop"]["step"] == 1


def test_weights_are_the_averages_where_there_are_any(tmp_path: Path):
    folder = checkpoint.save(tmp_path / "checkpoints", 3, state(3), WORLD)
    for path in (tmp_path, folder):
        averaged = checkpoint.load_weights(path)
        assert torch.equal(averaged["a.weight"], torch.full((3, 2), -3.0))
        assert averaged["count"] == 3
    assert torch.equal(checkpoint.load_weights(tmp_path, ema=False)["a.weight"], torch.full((3, 2), 3.0))


def test_random_state_survives_json():
    def draw() -> list:
        arrays = np.random.rand(2), np.random.randn(1)  # noqa: NPY002
        return [random.random(), random.gauss(0, 1), *map(np.ndarray.tolist, arrays), torch.randn(3).tolist()]

    checkpoint.seed_all(3)
    draw()
    kept = json.loads(json.dumps(checkpoint.random_state(WORLD.device)))
    expected = [draw(), draw()]
    assert draw() not in expected
    checkpoint.set_random_state(kept, WORLD.device)
    assert [draw(), draw()] == expected


def test_saving_is_quiet(tmp_path: Path):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        checkpoint.load(checkpoint.save(tmp_path, 1, state(1), WORLD), state(0), WORLD)
    assert caught == []


def test_a_saver_writes_the_state_as_it_was_while_it_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    write, go_on = checkpoint.state_dict_saver.save, threading.Event()

    def slow(*args, **kwargs):
        assert go_on.wait(30)
        return write(*args, **kwargs)

    monkeypatch.setattr(checkpoint.state_dict_saver, "save", slow)
    saver, changing = checkpoint.Saver(tmp_path, WORLD), state(7.5)
    saver.start(7, changing)
    for tensor in (changing["module"]["a.weight"], changing["ema"]["average"]["a.weight"]):
        tensor.zero_()
    changing["loop"]["data"]["place"]["epoch"] = 2
    assert not saver.done and checkpoint.latest(tmp_path) is None
    go_on.set()
    assert saver.finish() and not saver.finish()
    saver.close()
    loaded = checkpoint.load(tmp_path / "step-00000007", state(0.0), WORLD)
    assert torch.equal(loaded["module"]["a.weight"], torch.full((3, 2), 7.5))
    assert torch.equal(loaded["ema"]["average"]["a.weight"], torch.full((3, 2), -7.5))
    assert loaded["loop"]["data"]["place"]["epoch"] == 1


def test_a_saver_tells_of_a_full_disk_when_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(checkpoint.state_dict_saver, "save", full)
    saver = checkpoint.Saver(tmp_path, WORLD)
    saver.start(1, state(1))
    with pytest.raises(checkpoint.SaveError, match="No space"):
        saver.finish()
    assert not saver.finish()
    saver.close()
    assert list(tmp_path.iterdir()) == []
