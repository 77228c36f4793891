"""An adapter given on the command line is in what the model says."""

import json
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file

from duologue.audio.files import write_audio
from duologue.cli import main
from duologue.weights.convert import convert


def test_talk_with_an_adapter(tmp_path: Path) -> None:
    """It adds so much to the logit of one piece of text that nothing else is said."""
    convert("tiny", tmp_path / "tiny", "pytorch")
    write_audio(tmp_path / "in.wav", 0.1 * np.sin(np.arange(5 * 1920) / 7).astype(np.float32), 24_000)
    piece = 300
    up = torch.zeros(420, 32)
    up[piece] = 1000.0
    names = ("text_linear.lora_A.weight", "text_linear.lora_B.weight")
    save_file(dict(zip(names, (torch.eye(32), up), strict=True)), tmp_path / "lora.safetensors")
    said = []
    for extra in ([], ["--lora", str(tmp_path / "lora.safetensors")]):
        out, report = str(tmp_path / "out.wav"), tmp_path / "out.json"
        main(["talk", str(tmp_path / "in.wav"), out, "--model", str(tmp_path / "tiny"), "--tail", "0",
              "--json", str(report), "--greedy", *extra])  # fmt: skip
        said.append(json.loads(report.read_text())["words"])
    assert said[0] != said[1]
