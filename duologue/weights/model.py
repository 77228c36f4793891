"""From the name of a model to its parts, ready to run."""

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from functools import cached_property
from pathlib import Path

import torch

from duologue import presets
from duologue.codec import Codec
from duologue.config import CodecConfig
from duologue.errors import InputError
from duologue.lm import LM, Sampling
from duologue.lm.tokenizer import Tokenizer
from duologue.weights.fields import read_json
from duologue.weights.files import Missing, ModelFiles, find_weights, locate
from duologue.weights.layouts import codec_layout, holds_codec, lm_family, lm_layout
from duologue.weights.lora import Adapter, attach, read_adapter
from duologue.weights.published import CODEC_FILE, TOLD, ModelConfig, codec_config
from duologue.weights.random import random_codec, random_lm
from duologue.weights.read import (
    Stored,
    TensorFile,
    check_parts,
    fill_values,
    open_tensors,
    stored_tensors,
    tensor_names,
)

ASSETS = Path(__file__).parent.parent / "assets"


class Model:
    """A loaded model. Each part is read when it is first asked for; a part it does not have raises InputError."""

    def __init__(
        self,
        files: ModelFiles,
        device: torch.device,
        dtype: torch.dtype,
        lora: Path | None = None,
        merge_lora: bool = True,
    ):
        self.files, self.device, self.dtype = files, device, dtype
        self.lora, self.merge_lora = lora, merge_lora

    @property
    def name(self) -> str:
        return self.files.name

    @property
    def sampling(self) -> Sampling:
        """The settings the model was published with."""
        return self.files.config.sampling

    @property
    def conditions(self) -> dict[str, str]:
        """The default conditions: what the model is told whatever it does."""
        known = {c.name: c.values or () for c in self.files.config.lm.conditioning.conditioners}
        return {name: value for name, value in TOLD.items() if value in known.get(name, ())}

    @property
    def has_lm(self) -> bool:
        """Whether there is more than a codec."""
        return bool(self.files.config.lm_file)

    @cached_property
    def codec(self) -> Codec:
        values = self.stored_codec()  # checks sizes, before anything is built
        with torch.device("meta"):
            codec = Codec(self.codec_config)
        fill_values(codec, values, self.device, torch.float32)
        return codec.eval()

    @property
    def codec_config(self) -> CodecConfig:
        config = self.files.config
        if config.codec is not None:
            return config.codec
        codebooks = codebooks_of(config)
        if config.codec_config_file is None:
            return presets.mimi(codebooks)
        path = self.files.find(config.codec_config_file)
        return codec_config(read_json(path), codebooks, str(path))

    @cached_property
    def lm(self) -> LM:
        config = self.files.config
        adapter = self._adapter()
        values = self._stored_lm(adapter if self.merge_lora else None, rounded=False)
        with torch.device("meta"):
            lm = LM(config.lm)
        fill_values(lm, values, self.device, self.dtype)
        if adapter is not None and not self.merge_lora:
            attach(lm, adapter)
        if config.model_type == "hibiki":
            # The model may end its text too early. With EOS read as PAD it continues as long as the input does.
            lm.text_emb.weight.data[2] = lm.text_emb.weight.data[config.lm.pad_id]
        return lm.eval()

    @cached_property
    def tokenizer(self) -> Tokenizer:
        config = self.files.config
        return Tokenizer(self.files.find(config.tokenizer_file), config.lm.retrieval_token)

    def stored_lm(self) -> Iterator[tuple[str, Stored]]:
        """The language model's tensors by our names, one at a time, as its files store them: plain, or packed in few
        bits (`weights.packed`). Adapters are merged in, in the precision of the file. All are on the CPU and may be
        views of the mapped file."""
        return self._stored_lm(self._adapter(), rounded=True)

    def stored_codec(self) -> Iterator[tuple[str, Stored]]:
        """The codec's tensors, as `stored_lm` gives them."""
        config = self.codec_config
        file = open_tensors(*find_weights(self.files, self.files.config.codec_file))
        check_parts(file, config.parts)
        with torch.device("meta"):
            shapes = Codec(config).state_dict()
        layout = codec_layout(file.names(), config)
        return _closing(file, stored_tensors(file, shapes, layout.sources, layout.unused))

    def parts(self) -> tuple[str, ...]:
        """Which of "lm", "codec" and "tokenizer" there are. Raises InputError if there are no weights."""
        config = self.files.config
        wanted = {"lm": config.lm_file} if self.has_lm else {}
        wanted |= {"codec": config.codec_file, "tokenizer": config.tokenizer_file}
        found, missing = [], None
        for part, name in wanted.items():
            try:
                find_weights(self.files, name)
                found.append(part)
            except Missing as error:
                missing = missing or error
        if missing and not {"lm", "codec"} & set(found):
            raise missing
        return tuple(found)

    def _adapter(self) -> Adapter | None:
        config = self.files.config
        if self.lora is not None:
            return read_adapter(self.lora, config.lm)
        if config.lora_file is None:
            return None
        return read_adapter(self.files.find(config.lora_file), config.lm, config.task.get("lora_scaling"))

    def _stored_lm(self, adapter: Adapter | None, rounded: bool) -> Iterator[tuple[str, Stored]]:
        config = self.files.config
        if not self.has_lm:
            raise InputError(f"{self.name} is a codec, without a language model")
        file = open_tensors(*find_weights(self.files, config.lm_file))
        check_parts(file, config.lm.parts)
        with torch.device("meta"):
            shapes = LM(config.lm).state_dict()
        layout = lm_layout(lm_family(file.names()) or "pytorch", config.lm)
        values = stored_tensors(file, shapes, layout.sources, layout.unused)
        return _closing(file, values if adapter is None else adapter.merged(values, rounded))


def _closing(file: TensorFile, values: Iterator[tuple[str, Stored]]) -> Iterator[tuple[str, Stored]]:
    with closing(file):
        yield from values


def codebooks_of(config: ModelConfig) -> int:
    """How many of its codec's codebooks a model uses."""
    lm = config.lm
    codebooks = max(lm.spoken, lm.heard)
    return codebooks // 2 if config.task.get("tts_config", {}).get("multistream") else codebooks


def load(
    model: str,
    device: str = "cpu",
    dtype: torch.dtype | None = None,
    lora: str | Path | None = None,
    merge_lora: bool = True,
) -> Model:
    """Open a model: "nano" (which comes with the package), "tiny" (random, for tests), a folder, a file of weights, or
    hf://owner/repo@revision.

    Any published format is read: PyTorch (also q8), MLX (also q8 and q4), Candle (also GGUF q8_0) and the Hugging Face
    ports; packed weights are unpacked. `dtype` is that of the language model; by default bfloat16 on an accelerator and
    float32 on a CPU. The codec is always float32. `lora` is an adapter of moshi-finetune (by default the one that
    config.json names), merged into the weights or, with `merge_lora` false, kept beside them (`lm.lora.LoRALinear`).
    Raises InputError if anything is missing, damaged or not understood.
    """
    target = torch.device(device)
    dtype = dtype or (torch.float32 if target.type == "cpu" else torch.bfloat16)
    adapter = None if lora is None else Path(lora)
    if model == "tiny":
        if adapter is not None:
            raise InputError("tiny takes no adapter")
        return TinyModel(target, dtype)
    path = Path(model)
    if model == "nano":
        files = replace(locate(str(ASSETS / "nano")), name="nano")
    else:
        files = _single_file(path) if path.is_file() else locate(model)
    return Model(files, target, dtype, adapter, merge_lora)


def _single_file(path: Path) -> ModelFiles:
    """A codec's weights alone, or a language model's with the rest of the model around it."""
    names = tensor_names(path)
    files = locate(str(path.parent.resolve()), path.name)
    if holds_codec(names):
        config = replace(files.config, codec_file=path.name, lm_file="")
        if path.with_suffix(".json").is_file():  # as `train export-codec` writes it
            config = replace(config, codec_config_file=path.with_suffix(".json").name)
        elif path.name == CODEC_FILE or not (path.parent / "config.json").exists():
            config = replace(config, codec_config_file=None)
    elif lm_family(names):
        config = replace(files.config, lm_file=path.name)
    else:
        raise InputError(f"{path}: unknown format; it holds neither a codec nor a language model")
    return ModelFiles(str(path), config, files.find)


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
        return random_codec(self.codec_config).to(self.device)

    @cached_property
    def lm(self) -> LM:
        return random_lm(self.files.config.lm).to(self.device, self.dtype)

    def parts(self) -> tuple[str, ...]:
        return "codec", "lm", "tokenizer"

    def stored_lm(self) -> Iterator[tuple[str, Stored]]:
        yield from random_lm(self.files.config.lm).state_dict().items()

    def stored_codec(self) -> Iterator[tuple[str, Stored]]:
        yield from random_codec(self.codec_config).state_dict().items()
