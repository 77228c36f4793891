"""`duologue bench --backend mlx`."""

import json

import pytest

pytest.importorskip("mlx.core")

import torch

from duologue.cli import main

KEYS = {
    "codec": {"encode_ms", "decode_ms", "frame_ms", "frame_ms_p99", "weights_mb"},
    "lm": {"step_ms", "step_ms_p99", "weights_mb"},
    "step": {"frame_ms", "frame_ms_p99"},
}


@pytest.mark.parametrize("kind", KEYS)
def test_the_same_names_as_in_torch(kind: str, capsys, monkeypatch) -> None:
    monkeypatch.setattr("duologue.bench.timing.READ", 2**20)
    threads, reports = torch.get_num_threads(), {}
    flags = ["--model", "tiny", "--threads", "1", "--batch", "2", "--frames", "3", "--json"]
    try:
        for backend in ("torch", "mlx"):
            main(["bench", kind, "--backend", backend, *flags])
            reports[backend] = json.loads(capsys.readouterr().out)
    finally:
        torch.set_num_threads(threads)
    ours = reports["mlx"]
    assert (ours["backend"], ours["batch"], ours["frames"]) == ("mlx", 2, 3)
    assert all(ours[key] > 0 for key in KEYS[kind])
    assert set(ours) - set(reports["torch"]) == {"mlx", "device"}
