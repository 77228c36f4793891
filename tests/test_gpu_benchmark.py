"""`benchmarks/gpu.py` on a machine without a GPU: every part runs, at small size, with nothing installed but torch."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.gpu_parts import packed
from duologue import presets
from duologue.data.shards import write_shards
from duologue.errors import InputError
from duologue.lm import LM
from duologue.train import checkpoint

ROOT = Path(__file__).parents[1]
# What a borrowed machine with torch need not have. Compiling is left out: it takes a minute.
ALONE = """
import sys, runpy
for name in ("soundfile", "soxr", "tyro", "jiwer", "sphn", "starlette", "uvicorn"):
    sys.modules[name] = None
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def gpu(*arguments: object) -> subprocess.CompletedProcess:
    command = [sys.executable, "-c", ALONE, str(ROOT / "benchmarks" / "gpu.py"), *map(str, arguments)]
    environment = {**os.environ, "TORCHDYNAMO_DISABLE": "1", "PYTHONPATH": str(ROOT)}
    return subprocess.run(command, capture_output=True, text=True, env=environment, cwd=ROOT)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder, rng, samples = tmp_path_factory.mktemp("data"), np.random.default_rng(0), []
    for number in range(6):
        codes = rng.integers(1, 32, (2, 8, 60)).astype(np.int16)
        words = [[" hello", [0.4, 1.2], "SPEAKER_USER"], [" yes", [1.68, 2.0], "SPEAKER_MAIN"]]
        samples.append({"key": f"talk-{number}", "codes.npy": codes, "json": {"alignments": words}})
    write_shards(folder / "shards", samples)
    # First weights as another run of the benchmark left them.
    checkpoint.write_pieces(folder, LM(presets.tiny_lm()).state_dict(), 150_000)
    vocabulary = Path(presets.__file__).parent / "assets" / "tiny" / "tokenizer.model"
    told = ("--shards", folder / "shards", "--valid", folder / "shards", "--tokenizer", vocabulary)
    done = gpu("--pack", folder / "data.tar.xz", *told, "--start", folder)
    assert done.returncode == 0, done.stderr
    first = checkpoint.load_weights(folder)
    found = checkpoint.load_weights(packed.unpack(folder / "data.tar.xz", folder / "data") / packed.START)
    assert found.keys() == first.keys() and all(torch.equal(found[name], first[name]) for name in first)
    return folder / "data.tar.xz"


def test_every_part_leaves_figures(data: Path, tmp_path: Path) -> None:
    train = ("--train", data, "--preset", "tiny", "--stage", "finetune", "--batch", 2, "--frames", 40)
    here = ("--minutes", 60, "--out", tmp_path, "--device", "cpu")
    done = gpu(*here, *train, "--steps", 4, "--workers", 0, "--piece-mib", 0.15)
    assert done.returncode == 0, done.stderr
    rows = {(row["part"], row["what"]): row for row in json.loads((tmp_path / "report.json").read_text())}
    assert not (tmp_path / "errors.txt").exists(), (tmp_path / "errors.txt").read_text()
    parity = {what: row for (part, what), row in rows.items() if part == "parity"}
    assert parity["mimi_small, float32"]["same_streamed"] == parity["lm_moshi, float32"]["same_streamed"] == 1
    assert parity["lm_moshi, float32"]["far"] < 1e-5 < parity["lm_moshi, bfloat16"]["far"] < 0.05
    assert parity["recorded step"]["same"] == parity["compiled step"]["same"] == 1
    assert rows["speed", "16 bits, 2"]["p99"] >= rows["speed", "16 bits, 2"]["p50"] > 0
    assert rows["speed", "8 bits, 2"]["p50"] > 0
    for what in ("7B, adapters, recomputed activations", "1B, all weights, kept activations"):
        assert rows["training", what]["frames_per_s"] > 0
    assert rows["train", "nano"]["steps"] == 4 and rows["train", "nano"]["pieces"] > 1
    assert max(path.stat().st_size for path in tmp_path.glob("weights-*")) < 0.2 * 2**20
    LM(presets.tiny_lm()).load_state_dict(checkpoint.load_weights(tmp_path))
    next(tmp_path.glob("weights-1-*")).unlink()
    with pytest.raises(InputError, match="pieces of weights"):
        checkpoint.load_weights(tmp_path)
    assert "| 16 bits, 2 |" in (tmp_path / "table.md").read_text()


def test_it_is_over_in_time(tmp_path: Path) -> None:
    done = gpu("--minutes", 0.05, "--out", tmp_path, "--device", "cpu")
    rows = json.loads((tmp_path / "report.json").read_text())
    # How far it comes in three seconds depends on the machine; that it leaves things out and says so does not.
    assert done.returncode in (0, 3)  # 3: the alarm, while something went on
    assert any(
        "no time was left" in row.get("skipped", "") or "0.05 minutes" in row.get("stopped", "")
        for row in rows
    )


@pytest.mark.slow
def test_trains_as_many_steps_as_the_time_allows(data: Path, tmp_path: Path) -> None:
    train = ("--train", data, "--preset", "tiny", "--stage", "finetune", "--batch", 2, "--frames", 40)
    done = gpu("--minutes", 1.5, "--parts", "", "--out", tmp_path, "--device", "cpu", *train, "--workers", 1)
    assert done.returncode == 0, done.stderr
    (row,) = (row for row in json.loads((tmp_path / "report.json").read_text()) if row["part"] == "train")
    assert row["steps"] >= 2 and row["steps_per_s"] > 0
    weights = checkpoint.load_weights(tmp_path)
    assert all(bool(torch.isfinite(value).all()) for value in weights.values())
