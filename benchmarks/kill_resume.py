"""Kills training at random points, half of them inside a save, and checks that nothing but time is lost.

    python benchmarks/kill_resume.py [--points 50] [--seed 0]

Every point is a fresh run of the tests' toy stage (dropout, averages, buffers that change) that is killed with
SIGKILL, started again to its end and compared bit for bit with a run that nobody touched: weights, moments,
averages, random state, place in the data, metrics. Then the same once for one of two processes, which `torchrun`
restarts, and for a disk that fills up (needs root, to mount a small one). Exits with 1 on any difference.
"""

import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import tyro

TESTS = Path(__file__).parents[1] / "tests" / "train"
sys.path.insert(0, str(TESTS))

from toy_stage import Processes, assert_same_run  # noqa: E402

KILLED = -9


@dataclass(frozen=True)
class Settings:
    points: int = 50
    seed: int = 0


def kill_inside_save(processes: Processes, out: Path, draw: random.Random) -> str:
    """Kills between two file operations of a save."""
    while True:
        point = f"save:{draw.randint(1, 7)}:{draw.randint(1, 22)}"
        shutil.rmtree(out, ignore_errors=True)
        if processes.run(out, die=point) == [KILLED]:
            return point


def kill_any_time(processes: Processes, out: Path, draw: random.Random, seconds: float) -> str:
    """Kills after a random part of the time that a run takes, counted from its first sign of life."""
    while True:
        shutil.rmtree(out, ignore_errors=True)
        (process,) = processes.start(out)
        while process.exitcode is None and not (out / "checkpoints").exists():
            time.sleep(0.001)
        delay = draw.uniform(0, seconds)
        process.join(delay)
        if process.exitcode is None:
            process.kill()
            process.join()
            return f"after {delay:.2f} s"


def restarted_by_torchrun(folder: Path) -> None:
    """One of two processes is killed; torchrun starts both again."""
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2", "--max-restarts=2"]
    script = str(TESTS / "toy_stage.py")
    for name, more in (("whole", []), ("killed", ["die=step:18"])):
        arguments = [*command, script, str(folder / name), "sharded=true", *more]
        subprocess.run(arguments, check=True, capture_output=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    assert_same_run(folder / "whole", folder / "killed")


FULL_DISK = """
mount -t tmpfs -o size=400k tmpfs "$1" || exit 77
cd "$1"
"$2" "$3" run keep=1000 steps=100 1>&2
"$2" -c "
from duologue.train.checkpoint import latest, load_weights
print(latest('run/checkpoints').name, len(load_weights('run')))"
"""


def full_disk(folder: Path) -> str:
    """A run on a disk that holds only a part of its checkpoints: trains on, asks for room at the end."""
    folder.mkdir()
    script = str(TESTS / "toy_stage.py")
    command = ["unshare", "-m", "sh", "-c", FULL_DISK, "sh", str(folder), sys.executable, script]
    try:
        done = subprocess.run(command, capture_output=True, text=True)
    except FileNotFoundError:
        return "not run: no unshare here"
    if done.returncode == 77 or "Operation not permitted" in done.stderr:
        return "not run: needs root"
    refused = done.stderr.count("could not write the checkpoint")
    assert done.returncode == 0, done.stderr
    assert refused > 0 and "cannot write the checkpoint of step 100" in done.stderr, done.stderr
    return f"{refused} saves found no room, training went on to step 100; {done.stdout.split()[0]} loads"


def main(settings: Settings) -> None:
    draw, processes = random.Random(settings.seed), Processes()
    folder = Path(tempfile.mkdtemp(prefix="kill-resume-"))
    reference, out = folder / "reference", folder / "point"
    processes.run(folder / "warm")  # imports are not part of the time that a run takes
    began = time.monotonic()
    assert processes.run(reference) == [0]
    seconds = time.monotonic() - began
    failures = inside = 0
    for number in range(1, settings.points + 1):
        if number % 2:
            where = kill_inside_save(processes, out, draw)
        else:
            where = kill_any_time(processes, out, draw, seconds)
        inside += any((out / "checkpoints").glob(".saving-*"))
        try:
            assert processes.run(out) == [0]
            assert_same_run(reference, out)
            result = "same"
        except AssertionError as error:
            failures, result = failures + 1, f"DIFFERENT {error}"
        print(f"{number:3} killed {where:16} {result}", flush=True)
    print(f"{settings.points} kills, {inside} with a save on the disk half done: {failures} runs differ")
    restarted_by_torchrun(folder / "torchrun")
    print("1 of 2 processes killed, restarted by torchrun: same")
    print(f"full disk: {full_disk(folder / 'full')}")
    shutil.rmtree(folder)
    sys.exit(failures > 0)


if __name__ == "__main__":
    main(tyro.cli(Settings))
