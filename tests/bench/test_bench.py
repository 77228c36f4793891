"""`duologue bench`: what it prints, and that it measures the model it is asked to."""

import json

import pytest
import torch

from duologue.bench.models import RandomModel, bytes_read, open_model
from duologue.bench.run import bench_step
from duologue.cli import main
from duologue.nn.linear import has_fbgemm

KEYS = {
    "codec": {"encode_ms", "decode_ms", "frame_ms_p99", "memory_mb"},
    "lm": {"step_ms", "gb_per_s", "read_gb_per_s", "memory_mb"},
    "step": {"encode_ms", "temporal_ms", "depth_ms", "decode_ms", "frame_ms_p99", "memory_mb"},
}


@pytest.fixture(autouse=True)
def same_threads():
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


@pytest.mark.parametrize("kind", KEYS)
def test_json(kind: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("duologue.bench.timing.READ", 2**20)
    main(["bench", kind, "--model", "tiny", "--threads", "1", "--batch", "2", "--frames", "3", "--json"])
    report = json.loads(capsys.readouterr().out)
    assert (report["preset"], report["threads"], report["batch"], report["frames"]) == ("tiny", 1, 2, 3)
    assert all(report[key] > 0 for key in KEYS[kind])
    if kind != "step":
        assert report["peers"] == {}


def test_table(capsys: pytest.CaptureFixture[str]) -> None:
    main(["bench", "codec", "--model", "tiny", "--threads", "1", "--frames", "2"])
    assert "encode_ms" in capsys.readouterr().out


@pytest.mark.parametrize("flags", [["--threads", "0"], ["--frames", "-1"], ["--batch", "0"]])
def test_refused(flags: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["bench", "codec", "--model", "tiny", *flags])
    assert stopped.value.code == 2
    assert flags[0] in capsys.readouterr().err


def test_bytes_that_a_step_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    full, half = (bytes_read(RandomModel("tiny", half).lm) for half in (False, True))
    lm = RandomModel("tiny", half=False).lm
    tables = sum(p.numel() for name, p in lm.named_parameters() if "_emb" in name or "norm" in name)
    assert full == 4 * (sum(p.numel() for p in lm.parameters()) - tables)
    assert half == (full // 2 if has_fbgemm() else full)
    assert bytes_read(open_model("tiny", "q8").lm) <= half  # small matrices stay in 16 bits
    monkeypatch.setattr("duologue.nn.quantized.SMALL", 0)
    assert bytes_read(open_model("tiny", "q8").lm) < 0.4 * full
    assert bytes_read(open_model("tiny", layers=1).lm) < full


def test_measuring_leaves_the_model_as_it_was() -> None:
    model = RandomModel("tiny", half=False)
    bench_step(model, 2, 1)
    assert not vars(model.codec).keys() & {"encode_step", "decode_step"}
    assert "step" not in vars(model.lm.temporal)
