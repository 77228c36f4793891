import json
import math
import os
import resource
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from duologue.train.log import Meter, RunLog


def lines(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def test_metrics_are_json_lines_that_any_reader_takes(tmp_path: Path):
    log = RunLog(tmp_path, total=10)
    log.metrics(1, {"loss": 2.0, "bad": math.nan})
    log.metrics(2, {"loss": 1.5, "bad": math.inf})
    rows = lines(tmp_path)
    assert [(r["step"], r["loss"], r["bad"]) for r in rows] == [(1, 2.0, None), (2, 1.5, None)]
    assert all(r["time"] > 1.7e9 for r in rows)


def test_going_on_drops_later_and_torn_lines(tmp_path: Path):
    log = RunLog(tmp_path, total=10)
    for step in (1, 2, 3):
        log.metrics(step, {"loss": 1.0})
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 2, "lo')
    log.resume(2)
    assert [row["step"] for row in lines(tmp_path)] == [1, 2]


def test_the_terminal_gets_plain_lines(tmp_path: Path, capsys: pytest.CaptureFixture):
    log = RunLog(tmp_path, total=10)
    log.metrics(3, {"loss": 0.12345})
    log.note("hello")
    assert capsys.readouterr().err == "step 3/10  loss 0.1235\nhello\n"


def test_a_terminal_that_can_gets_a_bar(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    log = RunLog(tmp_path, total=10)
    log.metrics(3, {"loss": 0.12345})
    log.note("hello")
    log.close()
    shown = capsys.readouterr().err
    assert "hello" in shown
    assert "3/10" in shown


def test_a_quiet_log_leaves_nothing(tmp_path: Path, capsys: pytest.CaptureFixture):
    log = RunLog(tmp_path, total=10, quiet=True)
    log.metrics(1, {"loss": 1.0})
    log.samples(1, {"a": (np.zeros(10), 24000)})
    log.note("x")
    log.plot()
    log.resume(0)
    assert list(tmp_path.iterdir()) == []
    assert capsys.readouterr().err == ""


def test_samples_are_wav_files(tmp_path: Path):
    wav = np.linspace(-0.5, 0.5, 480, dtype=np.float32)
    RunLog(tmp_path, total=10).samples(5, {"mono": (wav, 24000), "stereo": (np.stack([wav, -wav]), 16000)})
    read, rate = soundfile.read(tmp_path / "samples" / "00000005-mono.wav", dtype="float32")
    assert rate == 24000
    np.testing.assert_allclose(read, wav, atol=1e-4)
    read, rate = soundfile.read(tmp_path / "samples" / "00000005-stereo.wav", dtype="float32")
    assert rate == 16000
    np.testing.assert_allclose(read, np.stack([wav, -wav]).T, atol=1e-4)


def test_the_plot_is_a_picture_of_the_losses(tmp_path: Path):
    pytest.importorskip("matplotlib")
    log = RunLog(tmp_path, total=10)
    log.plot()
    assert not (tmp_path / "loss.png").exists()
    for step in range(1, 5):
        log.metrics(step, {"loss": 1 / step, "text_loss": None or math.nan, "lr": 0.1})
        log.metrics(step, {"eval_loss": 2 / step})
    log.plot()
    picture = (tmp_path / "loss.png").read_bytes()
    assert picture.startswith(b"\x89PNG")
    assert len(picture) > 5000


def test_a_log_that_cannot_be_written_stops_nothing(tmp_path: Path, capsys: pytest.CaptureFixture):
    (tmp_path / "metrics.jsonl").mkdir()
    (tmp_path / "samples").write_text("")
    log = RunLog(tmp_path, total=10)
    log.metrics(1, {"loss": 1.0})
    log.samples(1, {"a": (np.zeros(10), 24000)})
    log.plot()
    assert capsys.readouterr().err.count("training goes on") == 1


def test_a_line_is_written_whole_or_not_at_all(tmp_path: Path):
    log = RunLog(tmp_path, total=10)
    log.metrics(1, {"loss": 1.0})
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, ((tmp_path / "metrics.jsonl").stat().st_size + 20, hard))
    try:
        log.metrics(2, {"loss": 2.0})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    log.metrics(3, {"loss": 3.0})
    assert [row["step"] for row in lines(tmp_path)] == [1, 3]


def test_a_closed_terminal_stops_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "w", buffering=1) as stream, monkeypatch.context() as patch:
        patch.setattr(sys, "stderr", stream)
        RunLog(tmp_path, total=10).metrics(1, {"loss": 1.0})
        RunLog(tmp_path, total=10).note("hello")
        os.dup2(os.open(os.devnull, os.O_WRONLY), write)
    assert len(lines(tmp_path)) == 1


def test_meter_leaves_out_what_is_not_finite_and_goes_on_from_its_state():
    meter = Meter()
    meter.add({"a": 1.0, "b": math.nan})
    meter.add({"a": math.inf, "b": math.nan})
    other = Meter()
    other.load_state_dict(json.loads(json.dumps(meter.state_dict())))
    other.add({"a": 4.0})
    means = other.take()
    assert means["a"] == 2.5
    assert math.isnan(means["b"])
    assert other.take() == {}
