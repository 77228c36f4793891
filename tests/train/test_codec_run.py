"""The codec's three stages from the command line, one after the other, to a file that loads."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from duologue import presets
from duologue.audio.files import read_mono
from duologue.cli import main
from duologue.codec import Codec
from duologue.config import FramesConfig
from duologue.train import codec_run
from duologue.weights import load

from .test_codec_stages import segments as segments


@pytest.fixture(scope="module")
def runs(segments: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    (folder / "segments").mkdir()
    for part in ("train", "valid", "valid-agent"):
        (folder / "segments" / part).symlink_to(segments)
    for stage, start in (("semantic", None), ("joint", "semantic"), ("decoder", "joint")):
        train(folder, stage, start)
    return folder


def train(folder: Path, stage: str, start: str | None, out: str = "", seconds: str = "3.2") -> None:
    main(
        ["train", "codec", "--stage", stage, "--preset", "tiny", "--segments", str(folder / "segments"), "--out",
         str(folder / (out or stage)), "--steps", "2", "--batch", "2", "--device", "cpu", "--seconds",
         "0.96" if stage == "decoder" else seconds, *(("--start", str(folder / start)) if start else ())]
    )  # fmt: skip


def test_one_stage_goes_on_from_the_other_to_a_file(runs: Path, tmp_path: Path) -> None:
    for stage, term in (("semantic", "distill"), ("joint", "mel"), ("decoder", "mel")):
        rows = [json.loads(line) for line in (runs / stage / "metrics.jsonl").read_text().splitlines()]
        assert any(term in row for row in rows), stage
    out = tmp_path / "codec.safetensors"
    main(["train", "export-codec", "--start", str(runs / "decoder"), "--preset", "tiny", "--out", str(out)])
    codec = load(str(out)).codec
    trained = codec_run.trained(runs / "decoder", "tiny")
    torch.testing.assert_close(codec.state_dict(), trained.state_dict())
    question = Path(presets.__file__).parent / "assets" / "question.opus"
    wav_BS = torch.from_numpy(read_mono(question))[None, :48_000]
    assert torch.equal(codec.encode(wav_BS), codec_run.trained(runs / "joint", "tiny").encode(wav_BS))


def test_the_decoder_may_be_of_another_kind(
    runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    joint = codec_run.trained(runs / "joint", "tiny")

    def by_frames() -> object:
        return replace(presets.tiny_codec(), frames=FramesConfig(24, 48, 2, 5, 240))

    monkeypatch.setitem(codec_run.PRESETS, "tiny", by_frames)
    train(runs, "decoder", "joint", "frames")
    codec: Codec = codec_run.trained(runs / "frames", "tiny")
    assert codec.config.frames is not None
    wav_BS = 0.1 * torch.randn(1, 19_200)
    codes = codec.encode(wav_BS)
    assert torch.equal(codes, joint.encode(wav_BS))
    out = tmp_path / "codec.safetensors"
    main(["train", "export-codec", "--start", str(runs / "frames"), "--preset", "tiny", "--out", str(out)])
    torch.testing.assert_close(load(str(out)).codec.decode(codes), codec.decode(codes))


def test_a_run_of_another_shape_is_refused(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(
            [
                "train",
                "export-codec",
                "--start",
                str(runs / "decoder"),
                "--preset",
                "nano",
                "--out",
                "x.safetensors",
            ]
        )
    assert stopped.value.code == 2
    assert "another codec than nano" in capsys.readouterr().err
