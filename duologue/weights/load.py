"""From the name of a model to its parts, ready to run."""

from dataclasses import replace
from functools import cached_property, partial
from pathlib import Path

import torch

from .. import presets
from ..codec import Codec
from ..config import CodecConfig
from ..errors import InputError
from ..lm import LM, Sampling
from ..tokenizer import Tokenizer
from .files import ModelFiles, locate
from .names import codec_sources, lm_sources, unused_names
from .published import CODEC_FILE, ModelConfig, codec_config, read_json
from .read import fill, tensor_names

ASSETS = Path(__file__).parent.parent / "assets"


class Model:
    """A loaded model. Each part is read when it is first asked for; a part it does not have raises InputError."""

    def __init__(self, files: ModelFiles, device: torch.device, dtype: torch.dtype):
        self.files, self.device, self.dtype = files, device, dtype

    @property
    def name(self) -> str:
        return self.files.name

    @property
    def sampling(self) -> Sampling:
        """The settings the model was published with."""
        return self.files.config.sampling

    @cached_property
    def codec(self) -> Codec:
        return _codec(self.files.find(self.files.config.codec_file), self.codec_config, self.device)

    @property
    def codec_config(self) -> CodecConfig:
        config = self.files.config
        codebooks = codebooks_of(config)
        if config.codec_config_file is None:
            return presets.mimi(codebooks)
        path = self.files.find(config.codec_config_file)
        return codec_config(read_json(path), codebooks, str(path))

    @cached_property
    def lm(self) -> LM:
        config = self.files.config
        return _lm(self.files.find(config.lm_file), config, self.device, self.dtype)

    @cached_property
    def tokenizer(self) -> Tokenizer:
        return Tokenizer(self.files.find(self.files.config.tokenizer_file))


def codebooks_of(config: ModelConfig) -> int:
    """How many of its codec's codebooks a model uses."""
    lm = config.lm
    codebooks = max(lm.depth_steps, lm.heard)
    return codebooks // 2 if config.task.get("tts_config", {}).get("multistream") else codebooks


def load(model: str, device: str = "cpu", dtype: torch.dtype | None = None) -> Model:
    """Open a model: "tiny" (random, for tests), a folder, a codec's .safetensors file, or hf://owner/repo@revision.

    `dtype` is that of the language model; by default bfloat16 on an accelerator and float32 on a CPU. The codec is
    always float32. Raises InputError if anything is missing, damaged or not understood.
    """
    target = torch.device(device)
    dtype = dtype or (torch.float32 if target.type == "cpu" else torch.bfloat16)
    if model == "tiny":
        return TinyModel(target, dtype)
    path = Path(model)
    if path.is_file():
        return _single_file(path, target, dtype)
    return Model(locate(model), target, dtype)


def _single_file(path: Path, device: torch.device, dtype: torch.dtype) -> Model:
    """A codec's weights alone, or a language model's with the rest of the model around it."""
    names = tensor_names(path)
    files = locate(str(path.parent.resolve()))
    if any(name.startswith("quantizer.") for name in names):
        config = replace(files.config, codec_file=path.name)
        if path.name == CODEC_FILE or not (path.parent / "config.json").exists():
            config = replace(config, codec_config_file=None)
    elif "text_emb.weight" in names:
        config = replace(files.config, lm_file=path.name)
    else:
        raise InputError(f"{path}: unknown format; it holds neither a codec nor a language model")
    return Model(ModelFiles(str(path), config, files.find), device, dtype)


def _codec(path: Path, config: CodecConfig, device: torch.device) -> Codec:
    with torch.device("meta"):
        codec = Codec(config)
    fill(codec, path, partial(codec_sources, config=config), device, torch.float32)
    return codec.eval()


def _lm(path: Path, config: ModelConfig, device: torch.device, dtype: torch.dtype) -> LM:
    with torch.device("meta"):
        lm = LM(config.lm)
    fill(lm, path, partial(lm_sources, config=config.lm), device, dtype, unused_names(config.lm))
    if config.model_type == "hibiki":
        # The model may end its text too early: reading EOS as PAD, it goes on as long as the input does.
        lm.text_emb.weight.data[2] = lm.text_emb.weight.data[config.lm.pad_id]
    return lm.eval()


class TinyModel(Model):
    """The random test model: nothing to read but its tokenizer."""

    def __init__(self, device: torch.device, dtype: torch.dtype):
        def find(name: str) -> Path:
            return ASSETS / "tiny" / name

        config = ModelConfig(presets.tiny_lm(), tokenizer_file="tokenizer.model")
        super().__init__(ModelFiles("tiny", config, find), device, dtype)

    @property
    def codec_config(self) -> CodecConfig:
        return presets.tiny_codec()

    @cached_property
    def codec(self) -> Codec:
        return presets.random_codec(self.codec_config).to(self.device)

    @cached_property
    def lm(self) -> LM:
        return presets.random_lm(self.files.config.lm).to(self.device, self.dtype)
