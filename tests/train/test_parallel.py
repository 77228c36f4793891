import dataclasses
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
import torch.distributed as dist
from torch import nn
from toy_stage import ToyModel, state_of

from benchmarks.ranks import Ranks, measured
from duologue.errors import InputError
from duologue.train import parallel
from duologue.train.parallel import World

QUIET = {"dropout": 0.0}


@pytest.fixture(scope="module")
def alone(processes, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("alone")
    assert processes.run(out, **QUIET) == [0]
    return out


def assert_close_runs(one: Path, other: Path) -> None:
    """The same but for the rounding of sums in another order."""
    (tensors, _, rows), (tensors_2, _, rows_2) = state_of(one), state_of(other)
    assert [row["step"] for row in rows] == [row["step"] for row in rows_2]
    for row, row_2 in zip(rows, rows_2, strict=True):
        assert row == pytest.approx(row_2, rel=1e-5)
    for name in tensors:
        if not name.startswith("module/seen"):  # each process keeps its own
            torch.testing.assert_close(tensors[name], tensors_2[name], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("settings", [{"sharded": False}, {"sharded": True}, {"accumulate": 2, "rows": 4}])
def test_two_processes_are_one(processes, alone: Path, tmp_path: Path, settings: dict):
    if "accumulate" in settings:
        # The same rows a step, in another order: only sums over the step are the same.
        assert processes.run(tmp_path / "one", rows=4, accumulate=2, **QUIET) == [0]
        alone = tmp_path / "one"
    assert processes.run(tmp_path / "two", size=2, **QUIET, **settings) == [0, 0]
    assert_close_runs(alone, tmp_path / "two")


def test_the_sharded_language_model_is_the_whole_one(processes, tmp_path: Path):
    settings = {"kind": "lm", "steps": 3, "save_every": 0, "log_every": 1, "rows": 4}
    assert processes.run(tmp_path / "one", **settings) == [0]
    assert processes.run(tmp_path / "two", size=2, sharded=True, **settings) == [0, 0]
    assert_close_runs(tmp_path / "one", tmp_path / "two")


@pytest.mark.parametrize(("before", "after"), [(2, 1), (1, 2)])
def test_a_run_goes_on_with_another_number_of_processes(
    processes, alone: Path, tmp_path: Path, before: int, after: int
):
    first = processes.run(tmp_path, size=before, die="step:18", sharded=True, **QUIET)
    assert first != [0] * before
    assert processes.run(tmp_path, size=after, sharded=True, **QUIET) == [0] * after
    assert_close_runs(alone, tmp_path)


def test_places_that_differ_between_processes_are_not_mixed_up(processes, tmp_path: Path):
    processes.run(tmp_path, size=2, die="step:8", own_places=True)
    assert processes.run(tmp_path, own_places=True) == [1]
    assert "go on with as many" in (tmp_path / "output-0.txt").read_text()
    assert processes.run(tmp_path, size=2, own_places=True) == [0, 0]


def meet(store: dist.Store, delays: list[float]) -> list[str]:
    """What each of several processes, that come after these delays, writes into its fresh store, read by the first."""

    def come(rank: int) -> dist.Store:
        time.sleep(delays[rank])
        return parallel.fresh_store(store, rank, len(delays), patience=20)

    with ThreadPoolExecutor(len(delays)) as pool:
        stores = list(pool.map(come, range(len(delays))))
    assert not stores[0].check(["rank-0"])
    for rank, own in enumerate(stores):
        own.set(f"rank-{rank}", str(delays))
    return [stores[0].get(f"rank-{rank}").decode() for rank in range(len(delays))]


def test_processes_that_are_restarted_do_not_meet_those_that_are_gone():
    store = dist.HashStore()
    for delays in ([0, 0, 0], [0, 0.1, 0.05], [0.1, 0, 0], [0.1, 0.2, 0]):
        assert meet(store, delays) == [str(delays)] * 3


def test_a_process_that_does_not_come_is_missed():
    store = dist.HashStore()
    meet(store, [0, 0])
    with pytest.raises(InputError, match="not all 2 processes"):
        parallel.fresh_store(store, 0, 2, patience=0.1)


def test_means_divide_sums_by_weights():
    terms = {
        "loss": (torch.tensor(6.0), 4),
        "seconds": (2.5, 0),
        "none": (torch.tensor(0.0), torch.tensor(0)),
    }
    assert World().means(terms) == {"loss": 1.5, "seconds": 2.5, "none": 0.0}
    assert World().means({}) == {}


class Pair(NamedTuple):
    x: torch.Tensor
    name: str


@dataclasses.dataclass(frozen=True)
class Batch:
    pairs: list[Pair]
    more: dict[str, torch.Tensor]
    seconds: float


def test_to_device_reaches_every_tensor_and_keeps_the_containers():
    batch = Batch([Pair(torch.ones(2), "a")], {"y": torch.ones(1)}, 2.5)
    moved = parallel.to_device(batch, torch.device("meta"))
    assert isinstance(moved, Batch)
    assert isinstance(moved.pairs[0], Pair)
    assert moved.pairs[0].x.is_meta
    assert moved.more["y"].is_meta
    assert (moved.pairs[0].name, moved.seconds) == ("a", 2.5)


def test_recompute_needs_a_model_that_can():
    with pytest.raises(InputError, match="recompute"):
        parallel.parallelize(ToyModel(), World(), recompute=True)
    model = ToyModel()
    model.layers[0].checkpointing = False
    parallel.parallelize(model, World(), recompute=True)
    assert model.layers[0].checkpointing


def test_shard_needs_such_layers():
    with pytest.raises(InputError, match="Conv1d"):
        parallel.parallelize(ToyModel(), World(), shard=(nn.Conv1d,))


def test_replicas_fit_the_processes():
    with pytest.raises(InputError, match="3 replicas"):
        parallel.parallelize(ToyModel(), World(size=4), shard=(nn.Linear,), replicas=3)


def test_a_device_that_is_not_here_is_refused():
    with pytest.raises(InputError, match="tpu"):
        parallel.start("tpu")
    assert parallel.start("cpu") == World(device=torch.device("cpu"))


@pytest.mark.parametrize(("ranks", "replicas"), [(1016, 1), (1016, 8)])
def test_a_thousand_processes_share_a_model_that_none_of_them_holds(ranks: int, replicas: int):
    found = measured(Ranks(ranks, replicas, "moshi"))
    assert found["parameters"] == 7_687_729_152
    assert 0 < found["above_equal_share"] < (0.3 if replicas == 1 else 0.05)
    assert found["own_gb"] < (0.2 if replicas == 1 else 1.3)
