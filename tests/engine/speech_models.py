"""Models of synthesis and recognition for tests: the golden language models beside a small random codec."""

import json
from collections.abc import Iterator
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from duologue import presets
from duologue.codec import Codec
from duologue.config import CodecConfig
from duologue.interfaces import channels
from duologue.lm import LM
from duologue.weights import Model
from duologue.weights.files import ModelFiles
from duologue.weights.published import model_config
from duologue.weights.random import random_codec
from tests import golden
from tests.golden.speech_cases import Letters

SPEECH = golden.FOLDER / "speech"


class GoldenModel(Model):
    """A language model of `tests/golden`, with `Letters` or another tokenizer. `multistream`: its codebooks are two
    speakers'."""

    def __init__(self, case: str, tokenizer: Any = None, multistream: bool = False):
        values = json.loads((golden.FOLDER / case / "config.json").read_text())
        if multistream:
            values["tts_config"]["multistream"] = True
        config = model_config(values)

        def find(name: str) -> Path:
            return golden.FOLDER / case / name

        super().__init__(ModelFiles(case, config, find), torch.device("cpu"), torch.float32)
        self._letters = tokenizer or Letters()

    @property
    def codec_config(self) -> CodecConfig:
        tiny, lm = presets.tiny_codec(), self.files.config.lm
        books = max(lm.depth_steps, lm.heard) // channels(self)
        quantizer = replace(tiny.quantizer, entries=lm.card, codebooks=books)
        return replace(tiny, codebooks=books, quantizer=quantizer)

    @cached_property
    def codec(self) -> Codec:
        return random_codec(self.codec_config)

    @cached_property
    def lm(self) -> LM:
        return golden.lm(self.files.name)

    @property
    def tokenizer(self) -> Any:
        return self._letters

    def stored_codec(self) -> Iterator[tuple[str, Any]]:
        yield from self.codec.state_dict().items()

    def stored_lm(self) -> Iterator[tuple[str, Any]]:
        yield from self.lm.state_dict().items()
