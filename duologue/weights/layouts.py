"""The family of a weights file, detected from its tensor names, and the location of our tensors in it."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from duologue.config import CodecConfig, LMConfig
from duologue.weights.hf_names import CODEC_PREFIX, hf_codec_sources, hf_lm_sources
from duologue.weights.names import codec_sources, encoder_prefix, lm_sources, unused_names
from duologue.weights.read import Sources
from duologue.weights.slices import candle_sources, mlx_sources


@dataclass(frozen=True)
class Layout:
    """How a family names tensors. `unused` tells what in the same file is no part of the model."""

    family: str  # pytorch | candle | mlx | hf
    sources: Sources
    unused: Callable[[str], bool]


def lm_family(names: set[str]) -> str | None:
    """The family of a language model's file, None if it is no such file."""
    if "decoder.model.embed_tokens.weight" in names:
        return "hf"
    if "text_emb.weight" not in names:
        return None
    if "audio_embs.0.weight" in names:
        return "mlx"
    return "candle" if "depformer.0.linear_in.weight" in names else "pytorch"


def holds_codec(names: set[str]) -> bool:
    """Whether a file is a codec's alone."""
    return any(name.startswith("quantizer.") for name in names)


def lm_layout(family: str, config: LMConfig) -> Layout:
    if family == "hf":
        return Layout(family, partial(hf_lm_sources, config=config), _is_codecs)
    skipped, sources = unused_names(config), lm_sources
    if family != "pytorch":
        sources = mlx_sources if family == "mlx" else candle_sources
        skipped = {name.replace("depformer_text_emb", _SLICE[family] + ".0.emb") for name in skipped}
    encoder = encoder_prefix(config)

    def unused(name: str) -> bool:
        return name in skipped or (encoder is not None and name.startswith(encoder))

    return Layout(family, partial(sources, config=config), unused)


_SLICE = {"mlx": "depformer.slices", "candle": "depformer"}


def codec_layout(names: set[str], config: CodecConfig) -> Layout:
    if any(name.startswith(CODEC_PREFIX) for name in names):
        return hf_codec_layout(config, CODEC_PREFIX)
    if "encoder.layers.0.conv.weight" in names:
        return hf_codec_layout(config)
    return Layout("pytorch", partial(codec_sources, config=config), _none)


def hf_codec_layout(config: CodecConfig, prefix: str = "") -> Layout:
    def is_lms(name: str) -> bool:
        return not name.startswith(prefix)

    return Layout("hf", partial(hf_codec_sources, config=config, prefix=prefix), is_lms)


def _is_codecs(name: str) -> bool:
    return name.startswith(CODEC_PREFIX)


def _none(name: str) -> bool:
    return False
