"""The language model as MLX and Candle name it: the depth transformer cut into one slice a codebook.

Each slice has all it needs: weights that our codebooks share, and the norms that they always share, are there once for
each codebook.
"""

import re
from dataclasses import replace

from duologue.config import LMConfig
from duologue.errors import InputError
from duologue.weights.names import Source, embedding_name, lm_sources


def mlx_sources(ours: str, config: LMConfig) -> list[Source]:
    """The names of `moshi_mlx`, quantised or not."""
    if ours.startswith("depth."):
        return [_slices(ours, config, "depformer.slices", mlx=True)]
    return [_mlx(source) for source in lm_sources(ours, config)[:1]]


def candle_sources(ours: str, config: LMConfig) -> list[Source]:
    """The names of the Rust implementation, in a safetensors file or a GGUF."""
    if ours.startswith("depth."):
        return [_slices(ours, config, "depformer", mlx=False)]
    return lm_sources(ours, config)


def check_candle(config: LMConfig) -> None:
    """InputError for what Candle's model does not have."""
    if config.second_text_stream or (config.depth is not None and config.depth.norm_out):
        raise InputError("the candle format has no look-ahead text and no depth norms: use --format pytorch")


def _mlx(source: Source) -> Source:
    name = re.sub(r"\.alpha$", ".weight", source.name)
    name = re.sub(r"^emb\.", "audio_embs.", name).replace(".in_proj_weight", ".in_proj.weight")
    return replace(source, name=name)


def _slices(ours: str, config: LMConfig, base: str, mlx: bool) -> Source:
    assert config.depth is not None
    schedule = config.depth.schedule
    _, part, *path = ours.split(".")

    def in_slices(steps: list[int], name: str) -> Source:
        first, *others = [f"{base}.{k}.{name}" for k in steps]
        return Source(first, copies=tuple(Source(other) for other in others))

    def users(weights: str) -> list[int]:
        return [k for k, used in enumerate(schedule) if used == int(weights)]

    rest = ".".join(path[1:])
    if part == "in_projs":
        return in_slices(users(path[0]), "linear_in.weight")
    if part == "heads":
        return in_slices([int(path[0])], "linear_out.weight")
    if part == "norms":
        return in_slices([int(path[0])], "norm." + rest)
    if part == "text_emb":
        return in_slices([0], "emb." + embedding_name(".".join(path)))
    if part == "audio_embs":
        return in_slices([int(path[0]) + 1], "emb." + embedding_name(rest))
    layer = f"transformer.layers.{path[0]}."
    inner, *tail = path[1:]
    if inner in ("norm1", "norm2"):
        rms = config.temporal.norm.startswith("rms") and not mlx
        name = f"{inner}.alpha" if rms else f"{inner}.{tail[0]}"
        return in_slices(list(range(len(schedule))), layer + name)
    if inner == "mlps":
        return in_slices(users(tail[0]), f"{layer}gating.{tail[1]}.weight")
    name = {"in_projs": "in_proj.weight" if mlx else "in_proj_weight", "out_projs": "out_proj.weight"}[inner]
    return in_slices(users(tail[0]), f"{layer}self_attn.{name}")
