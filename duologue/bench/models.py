"""The models to measure: a shape with random weights, which take as long as trained ones, or a real model."""

from collections.abc import Iterator
from dataclasses import replace
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor, nn

from duologue import presets
from duologue.codec import Codec
from duologue.config import CodecConfig, LMConfig
from duologue.errors import InputError
from duologue.lm import LM
from duologue.nn.linear import Linear, kept_half
from duologue.nn.quantized import Int4Linear, Int8Linear
from duologue.nn.quantized import quantized as quantized_layer
from duologue.weights import Model, load
from duologue.weights.files import ModelFiles
from duologue.weights.published import ModelConfig
from duologue.weights.quantized import quantized_lm
from duologue.weights.random import random_codec, random_lm

SHAPES = {
    "mimi": (presets.mimi, presets.moshi_7b),
    "moshi": (presets.mimi, presets.moshi_7b),
    "nano": (presets.nano_codec, presets.nano_lm),
    "tiny": (presets.tiny_codec, presets.tiny_lm),
}


class RandomModel(Model):
    """A named shape with random weights. `half`: float16, as nano's are published. `layers`: how many of its temporal
    transformer, if not all."""

    def __init__(self, shape: str, half: bool, layers: int | None = None):
        def find(name: str) -> Path:
            raise InputError(f"{shape} with random weights has no file {name}")

        make_codec, make_lm = SHAPES[shape]
        codec, lm = make_codec(), make_lm()
        temporal = replace(lm.temporal, layers=layers or lm.temporal.layers)
        config = ModelConfig(replace(lm, temporal=temporal))
        super().__init__(ModelFiles(shape, config, find), torch.device("cpu"), torch.float32)
        self._codec_config, self._half = codec, half

    @property
    def codec_config(self) -> CodecConfig:
        return self._codec_config

    @cached_property
    def codec(self) -> Codec:
        codec = random_codec(self._codec_config)
        return codec.half().float() if self._half else codec

    @cached_property
    def lm(self) -> LM:
        lm = random_lm(self.files.config.lm)
        return lm.half().float() if self._half else lm

    def stored_codec(self) -> Iterator[tuple[str, Tensor]]:
        yield from self.codec.state_dict().items()

    def stored_lm(self) -> Iterator[tuple[str, Tensor]]:
        yield from self.lm.state_dict().items()


def open_model(model: str, quantized: str | None = None, layers: int | None = None) -> Model:
    """A named shape (`SHAPES`, with random weights), or anything that `load` takes."""
    if model in SHAPES:
        opened: Model = RandomModel(model, model == "nano", layers)
    elif layers is None:
        opened = load(model)
    else:
        raise InputError("--layers is for a shape with random weights: " + ", ".join(SHAPES))
    if quantized is not None:
        config = opened.files.config.lm
        opened.lm = (
            random_quantized(config, quantized) if model in SHAPES else quantized_lm(opened, quantized)
        )
    return opened


def random_quantized(config: LMConfig, kind: str) -> LM:
    """A language model with random 8- or 4-bit layers, made layer by layer so that memory never holds more than it."""
    with torch.device("meta"):
        lm = LM(config)
    for parent in list(lm.modules()):
        for name, child in parent.named_children():
            if isinstance(child, Linear):
                rows, columns = child.weight.shape
                setattr(parent, name, _random_layer(rows, columns, kind))
    for module in lm.modules():
        for name, value in list(module.named_parameters(recurse=False)):
            setattr(module, name, nn.Parameter(torch.empty(value.shape).uniform_(-0.05, 0.05)))
    return lm.eval()


def _random_layer(rows: int, columns: int, kind: str) -> nn.Module:
    if kind == "q4":
        return quantized_layer(torch.empty(rows, columns).uniform_(-1, 1) / columns**0.5, kind)
    words = torch.randint(-(2**62), 2**62, (rows * columns // 8 + 1,))  # eight weights each
    data_NK = words.view(torch.int8)[: rows * columns].view(rows, columns).clamp(min=-127)
    return Int8Linear(data_NK, torch.full((rows,), columns**-0.5))


def bytes_read(lm: LM) -> int:
    """Bytes of weights that a step reads, each counted once, without the embeddings, of which it reads a few rows."""
    parts = [lm.temporal, lm.text_head, *([lm.depth] if lm.depth is not None else [])]
    return sum(_kept(module) for part in parts for module in part.modules())


def _kept(module: nn.Module) -> int:
    if isinstance(module, Int8Linear | Int4Linear):
        return module.nbytes
    if isinstance(module, Linear):
        return module.weight.nbytes // 2 if kept_half(module.weight) else module.weight.nbytes
    return 0
