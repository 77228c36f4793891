"""An adapter given on the command line is in the model that talks, and in the one that is served."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from duologue.audio.files import write_audio
from duologue.cli import commands, live, main
from duologue.engine.options import Options
from duologue.lm.sampling import Sampling
from duologue.serve.run import open_service
from duologue.serve.settings import Settings
from duologue.weights.convert import convert

PIECE = 300


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small model, and an adapter that moves the logit of one piece of text far up, or far down."""
    folder = tmp_path_factory.mktemp("adapter")
    convert("tiny", folder / "tiny", "pytorch")
    up = torch.zeros(420, 32)
    up[PIECE] = 1000.0
    names = ("text_linear.lora_A.weight", "text_linear.lora_B.weight")
    save_file(dict(zip(names, (torch.eye(32), up), strict=True)), folder / "lora.safetensors")
    write_audio(folder / "in.wav", 0.1 * np.sin(np.arange(5 * 1920) / 7).astype(np.float32), 24_000)
    return folder


@pytest.fixture(params=["torch", "mlx"])
def backend(request: pytest.FixtureRequest) -> Any:
    if request.param == "mlx":
        pytest.importorskip("mlx.core")
    return request.param


def test_talk(folder: Path, tmp_path: Path, backend: str) -> None:
    said = []
    for extra in ([], ["--lora", str(folder / "lora.safetensors")]):
        out, report = str(tmp_path / "out.wav"), tmp_path / "out.json"
        main(["talk", str(folder / "in.wav"), out, "--model", str(folder / "tiny"), "--tail", "0",
              "--json", str(report), "--greedy", "--backend", backend, *extra])  # fmt: skip
        said.append(json.loads(report.read_text())["words"])
    assert said[0] != said[1]


def test_talk_by_microphone(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    weights = []
    monkeypatch.setattr(live, "talk", lambda model, *_, **__: weights.append(model.lm.text_head.weight))
    for lora in (None, folder / "lora.safetensors"):
        commands.talk_live(str(folder / "tiny"), 0, True, Options(lora=lora))
    assert (weights[1] - weights[0])[PIECE].abs().max() > 1


def test_serve(folder: Path, backend: Any) -> None:
    wrote = []
    for lora in (None, folder / "lora.safetensors"):
        options = Options(backend, device="cpu", lora=lora)
        service = open_service(str(folder / "tiny"), "cpu", Settings(sessions=2), options)
        served = service.engine.backend
        served.start({0: Sampling.greedy(), 1: Sampling.greedy()})
        wav_BS, everyone_B = np.zeros((2, served.frame_size), np.float32), np.ones(2, bool)
        wrote.append(np.stack([served.step(wav_BS, everyone_B).text_B for _ in range(12)]))
    plain, adapted = wrote
    assert (adapted == PIECE).any()
    assert not (plain == PIECE).any()
