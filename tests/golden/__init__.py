"""Reads the golden tensors (see README.md)."""

import json
from functools import partial
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor

from duologue.codec import Codec
from duologue.lm import LM
from duologue.weights.layouts import lm_layout
from duologue.weights.names import codec_sources
from duologue.weights.published import codec_config, model_config
from duologue.weights.read import fill

FOLDER = Path(__file__).parent


def io(case: str) -> dict[str, Tensor]:
    """Inputs and outputs of a case; tokens as int64."""
    tensors = load_file(FOLDER / case / "io.safetensors")
    return {name: t.long() if t.dtype == torch.int32 else t for name, t in tensors.items()}


def codec(case: str, codebooks: int) -> Codec:
    config = codec_config(json.loads((FOLDER / case / "config.json").read_text()), codebooks)
    with torch.device("meta"):
        model = Codec(config)
    path = FOLDER / case / "model.safetensors"
    fill(model, path, partial(codec_sources, config=config), torch.device("cpu"), torch.float32)
    return model.eval()


def lm(case: str) -> LM:
    config = model_config(json.loads((FOLDER / case / "config.json").read_text())).lm
    with torch.device("meta"):
        model = LM(config)
    path = FOLDER / case / "model.safetensors"
    layout = lm_layout("pytorch", config)
    fill(model, path, layout.sources, torch.device("cpu"), torch.float32, layout.unused)
    return model.eval()
