"""Convert a model between formats: the result opens in this package and in the format's own programs."""

import os
import secrets
import shutil
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from duologue import presets
from duologue.codec import Codec
from duologue.config import CodecConfig
from duologue.errors import InputError
from duologue.lm import LM
from duologue.lm.tokenizer import Tokenizer
from duologue.weights.card_files import copy_card
from duologue.weights.hf_config import hf_codec_json, hf_model_json, hf_recording_json
from duologue.weights.hf_names import CODEC_PREFIX
from duologue.weights.layouts import hf_codec_layout, lm_layout
from duologue.weights.model import Model, load
from duologue.weights.names import Source, codec_sources, fillers
from duologue.weights.onnx_files import write_onnx
from duologue.weights.published import CODEC_FILE, LM_FILE
from duologue.weights.read import Sources
from duologue.weights.save import Encode, as_int8, as_mlx, as_stored, save_gguf, save_tensors
from duologue.weights.slices import check_candle
from duologue.weights.write import codec_json, lm_json, write_json

Format = Literal["pytorch", "mlx", "candle", "hf", "onnx"]
Quantize = Literal["q8", "q4"]

# The names that the formats' own programs look for.
LM_NAMES: dict[tuple[str, str | None], str] = {
    ("pytorch", None): LM_FILE,
    ("pytorch", "q8"): "model.q8.safetensors",
    ("mlx", None): LM_FILE,
    ("mlx", "q8"): "model.q8.safetensors",
    ("mlx", "q4"): "model.q4.safetensors",
    ("candle", None): LM_FILE,
    ("candle", "q8"): "model.q8.gguf",
    ("hf", None): LM_FILE,
    ("onnx", None): "lm.onnx",
    ("onnx", "q8"): "lm.onnx",
}


@dataclass(frozen=True)
class Job:
    """What to make of a model: everything is checked before anything is written."""

    model: Model
    format: Format
    quantize: Quantize | None
    parts: tuple[str, ...]  # lm | codec | tokenizer: what the model has
    lm_name: str


def convert(
    source: str,
    target: Path,
    format: Format,
    quantize: Quantize | None = None,
    lora: Path | None = None,
) -> list[Path]:
    """Write the model `source` (anything `load` opens) as the new folder `target`; returns the files in it.

    Weights keep their exact values and precision, unless `quantize` is given; those packed in another way become
    float32. An adapter is merged. Language model, codec and tokenizer are converted as far as the source has them; its
    card and the recordings that the card names are copied.
    Raises InputError if the format has no place for the model, and leaves nothing behind.
    """
    target = _new_folder(target)
    job = _plan(source, format, quantize, lora)
    temporary = target.with_name(f".{target.name}.{secrets.token_hex(4)}")
    temporary.mkdir()
    try:
        if format == "onnx":
            write_onnx(job.model, job.quantize, temporary)
        else:
            (_write_hf if format == "hf" else _write_published)(job, temporary)
            copy_card(job.model.files, temporary)
        os.replace(temporary, target)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    return sorted(target.iterdir())


def _new_folder(target: Path) -> Path:
    resolved = target.resolve()
    if resolved.exists():
        raise InputError(f"{target} is there already: name a new folder")
    if not resolved.parent.is_dir():
        raise InputError(f"cannot write {target}: there is no folder {resolved.parent}")
    if not os.access(resolved.parent, os.W_OK | os.X_OK):
        raise InputError(f"cannot write {target}: no permission to write in {resolved.parent}")
    return resolved


def _plan(source: str, format: Format, quantize: Quantize | None, lora: Path | None) -> Job:
    lm_name = LM_NAMES.get((format, quantize))
    if lm_name is None:
        kinds = [f"--quantize {kind}" for family, kind in LM_NAMES if family == format and kind]
        raise InputError(
            f"--format {format} has no {quantize}: {' or '.join(kinds) or 'leave out --quantize'}"
        )
    model = load(source, lora=lora)
    parts = model.parts()
    config = model.files.config.lm
    if "lm" not in parts and (quantize or lora):
        raise InputError(f"{source} has no language model: leave out --quantize and --lora")
    if format == "hf" and "codec" not in parts:
        raise InputError(f"{source} has no codec, which the Hugging Face format has inside")
    if format == "onnx" and len(parts) < 3:
        raise InputError(
            f"{source} is no whole model, which --format onnx needs: it has {' and '.join(parts)}"
        )
    if format == "candle" and "lm" in parts:
        check_candle(config)
    if format == "hf":
        hf_model_json(config, model.codec_config, {}) if "lm" in parts else hf_codec_json(model.codec_config)
    return Job(model, format, quantize, parts, lm_name)


def _write_published(job: Job, folder: Path) -> None:
    """PyTorch, MLX and Candle: files and a config.json that names them."""
    model = job.model
    names: dict[str, Any] = {}
    if "codec" in job.parts:
        codec = model.codec_config
        names["mimi_name"], described = codec_name(codec)
        meta = _meta(Codec, codec)
        _save(model.stored_codec(), folder / names["mimi_name"], meta, _codec_sources(codec))
        if described:
            names["mimi_config_name"] = described
            write_json(folder / described, codec_json(codec))
    if "tokenizer" in job.parts:
        names["tokenizer_name"] = _copy_tokenizer(model, folder)
    if "lm" in job.parts:
        names["moshi_name"] = job.lm_name
        _write_lm(job, folder / job.lm_name)
        write_json(folder / "config.json", _config_json(job, names))


def codec_name(config: CodecConfig) -> tuple[str, str | None]:
    """What a codec's files are called: its weights, and its configuration unless it is Mimi."""
    if config == presets.mimi(config.codebooks):
        return CODEC_FILE, None
    return "codec.safetensors", "codec.json"


def _config_json(job: Job, names: dict[str, Any]) -> dict[str, Any]:
    config, how = job.model.files.config, job.model.sampling
    values = lm_json(config.lm) | names
    values["model_type"] = config.model_type
    values["lm_gen_config"] = {
        "temp": how.temperature,
        "temp_text": how.text_temperature,
        "top_k": how.top_k,
        "top_k_text": how.text_top_k,
        **({"cfg_coef": how.guidance} if how.guidance != 1 else {}),
    }
    kept = {
        key: value for key, value in config.task.items() if key in ("tts_config", "stt_config", "model_id")
    }
    if job.format == "pytorch" and job.quantize:
        values["quantize"] = True
    return values | kept


def _write_lm(job: Job, path: Path) -> None:
    config = job.model.files.config.lm
    with torch.device("meta"):
        lm = LM(config)
    layout = lm_layout(job.format, config)
    extra = {name: torch.zeros(shape, dtype=torch.bfloat16) for name, shape in fillers(config).items()}
    meta, values = {**lm.state_dict(), **extra}, chain(job.model.stored_lm(), extra.items())
    if job.lm_name.endswith(".gguf"):
        return save_gguf(path, values, meta, layout.sources)
    encode: Encode = as_stored()
    if job.quantize:
        encode = as_mlx(lm, int(job.quantize[1:])) if job.format == "mlx" else as_int8(lm)
    return save_tensors(path, values, meta, layout.sources, encode)


def _write_hf(job: Job, folder: Path) -> None:
    """One file and one config.json for all; the tokenizer is copied as it is."""
    model = job.model
    codec = model.codec_config
    write_json(folder / "preprocessor_config.json", hf_recording_json(codec))
    if "lm" not in job.parts:
        write_json(folder / "config.json", hf_codec_json(codec))
        layout = hf_codec_layout(codec)
        return _save(model.stored_codec(), folder / LM_FILE, _meta(Codec, codec), layout.sources)
    config = model.files.config.lm
    names = {"tokenizer_name": _copy_tokenizer(model, folder)} if "tokenizer" in job.parts else {}
    write_json(folder / "config.json", hf_model_json(config, codec, _config_json(job, names)))
    layouts = {"lm": lm_layout("hf", config), "codec": hf_codec_layout(codec, CODEC_PREFIX)}

    def sources(ours: str) -> list[Source]:
        part, _, name = ours.partition(" ")
        return layouts[part].sources(name)

    def labelled(part: str, values: Any) -> Any:
        return ((f"{part} {ours}", value) for ours, value in values)

    meta = dict(labelled("lm", _meta(LM, config).items())) | dict(
        labelled("codec", _meta(Codec, codec).items())
    )

    def values() -> Any:
        yield from labelled("lm", model.stored_lm())
        yield from labelled("codec", model.stored_codec())

    return _save(values(), folder / LM_FILE, meta, sources)


def _save(values: Any, path: Path, meta: dict[str, Tensor], sources: Sources) -> None:
    save_tensors(path, values, meta, sources, as_stored())


def _codec_sources(config: CodecConfig) -> Sources:
    return lambda ours: codec_sources(ours, config)


def _meta(kind: type[LM] | type[Codec], config: Any) -> dict[str, Tensor]:
    with torch.device("meta"):
        return kind(config).state_dict()


def _copy_tokenizer(model: Model, folder: Path) -> str:
    path = model.files.find(model.files.config.tokenizer_file)
    Tokenizer(path)  # check the file before copying it
    shutil.copyfile(path, folder / path.name)
    return path.name
