"""A run that is killed and started again is, bit for bit, the run that nobody touched."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import toy_stage
from toy_stage import assert_same_run, state_of

KILLED = -signal.SIGKILL


@pytest.mark.parametrize(
    "die",
    [
        "step:1",  # before anything but the first checkpoint
        "step:13",
        "save:1:6",  # while the first checkpoint is written
        "save:4:5",  # while tensors are written
        "save:4:9",  # before it gets its name
        "save:6:16",  # while an old one is removed
    ],
)
def test_killed_and_started_again(processes, reference: Path, tmp_path: Path, die: str):
    assert processes.run(tmp_path, die=die) == [KILLED]
    assert processes.run(tmp_path) == [0]
    assert_same_run(tmp_path, reference)
    assert not list((tmp_path / "checkpoints").glob(".*"))


def test_killed_twice_with_two_optimizers_and_reading_ahead(processes, tmp_path: Path):
    settings = {"kind": "alternating", "prefetch": 3, "accumulate": 2}
    assert processes.run(tmp_path / "whole", kind="alternating", accumulate=2) == [0]
    assert processes.run(tmp_path / "killed", die="step:24", **settings) == [KILLED]
    assert processes.run(tmp_path / "killed", die="step:19", **settings) == [KILLED]
    assert processes.run(tmp_path / "killed", **settings) == [0]
    assert_same_run(tmp_path / "whole", tmp_path / "killed")


def test_killed_while_another_process_makes_the_batches(processes, tmp_path: Path):
    assert processes.run(tmp_path / "whole", workers=1) == [0]
    assert processes.run(tmp_path / "killed", die="step:13", workers=1) == [KILLED]
    assert processes.run(tmp_path / "killed", workers=1) == [0]
    assert_same_run(tmp_path / "whole", tmp_path / "killed")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_with_a_checkpoint(processes, reference: Path, tmp_path: Path, number: int):
    (process,) = processes.start(tmp_path, pause=0.05)
    metrics = tmp_path / "metrics.jsonl"
    while not (metrics.exists() and metrics.read_text().count("\n") >= 3):
        assert process.exitcode is None
        time.sleep(0.01)
    os.kill(process.pid, number)
    process.join(30)
    assert process.exitcode == 0
    step = json.loads((tmp_path / "outcome.json").read_text())
    assert step[0] == "signal"
    assert state_of(tmp_path)[1][0]["loop"]["step"] == step[1] < 30
    assert processes.run(tmp_path) == [0]
    assert_same_run(tmp_path, reference)


def test_a_full_disk_during_saves_costs_only_these(processes, reference: Path, tmp_path: Path):
    assert processes.run(tmp_path, die="full:3:6") == [0]
    assert_same_run(tmp_path, reference)
    saved = sorted(path.name for path in (tmp_path / "checkpoints").iterdir())
    assert saved == ["step-00000000", "step-00000005", "step-00000030"]
    assert (tmp_path / "output-0.txt").read_text().count("could not write the checkpoint") == 4


def test_a_full_disk_at_the_start_is_told(processes, tmp_path: Path):
    assert processes.run(tmp_path, die="full:1:1") == [1]
    assert "InputError: cannot write the checkpoint of step 0" in (tmp_path / "output-0.txt").read_text()


def test_a_full_disk_at_the_end_is_told_and_made_good(processes, reference: Path, tmp_path: Path):
    assert processes.run(tmp_path, die="full:7:8") == [1]
    assert "InputError: cannot write the checkpoint of step 30" in (tmp_path / "output-0.txt").read_text()
    assert processes.run(tmp_path) == [0]
    assert_same_run(tmp_path, reference)


@pytest.mark.parametrize("sharded", [False, True])
def test_two_processes_one_killed(processes, tmp_path: Path, sharded: bool):
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    assert processes.run(whole, size=2, sharded=sharded) == [0, 0]
    assert KILLED in processes.run(killed, size=2, die="step:18", sharded=sharded)
    assert processes.run(killed, size=2, sharded=sharded) == [0, 0]
    assert_same_run(whole, killed)


def test_torchrun_starts_both_processes_again_when_one_is_killed(processes, tmp_path: Path):
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    assert processes.run(whole, size=2, sharded=True) == [0, 0]
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    script = [toy_stage.__file__, str(killed), "sharded=true", "die=step:18"]
    done = subprocess.run(
        [*launcher, "--max-restarts=1", "--monitor-interval=0.1", *script],
        capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"}, timeout=600,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    assert re.search(r"going on from .*step-000000(05|10|15)", done.stderr), done.stderr
    assert_same_run(whole, killed)
