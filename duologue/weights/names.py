"""Where each of our tensors is in a published file.

`codec_sources` and `lm_sources` give, for one of our names, the places it may come from, the one we write first.
"""

import re
from dataclasses import dataclass

from duologue.config import CodecConfig, LMConfig


@dataclass(frozen=True)
class Source:
    """Where a tensor of ours is in a file: a tensor, or one of `parts` equal slices of it along the first dimension.

    `stacked`: the slices have a dimension of their own. `heads`: its rows are those of so many rotary heads, each
    with the two halves of its pairs apart. `joined`: the first `rows` rows are here, the others follow elsewhere.
    `copies`: where the file repeats it.
    """

    name: str
    part: int = 0
    parts: int = 1
    stacked: bool = False
    heads: int = 0
    rows: int | None = None
    joined: tuple["Source", ...] = ()
    copies: tuple["Source", ...] = ()


def everything(source: Source) -> list[Source]:
    """All that a source takes of a file: itself, what is joined to it, and their copies."""
    inner = [s for piece in (*source.joined, *source.copies) for s in everything(piece)]
    return [source, *inner]


def codec_sources(ours: str, config: CodecConfig) -> list[Source]:
    """Mimi as published for PyTorch (and used by the MLX and Rust builds)."""
    head, _, rest = ours.partition(".")
    own = (head == "decoder" and config.frames) or (head.endswith("encoder") and config.whisper)
    if own:  # not published by others
        return [Source(ours)]
    if head in ("encoder", "decoder"):
        return [Source(_seanet(head, rest, config))]
    if head.endswith("_transformer"):
        return [Source(f"{head}.transformer.{s.name}") for s in _layer(rest, gated=False)]
    if head == "downsample":
        return [Source("downsample.conv.conv.conv.weight")]
    if head == "upsample":
        return [Source("upsample.convtr.convtr.convtr.weight")]
    rest = rest.replace("semantic.", "rvq_first.").replace("acoustic.", "rvq_rest.")
    rest = rest.replace("in_proj.", "input_proj.").replace("out_proj.", "output_proj.")
    rest = re.sub(r"codebooks\.(\d+)\.", r"vq.layers.\1._codebook.", rest)
    return [Source("quantizer." + rest.replace("._codebook.initialized", "._codebook._initialized"))]


def _seanet(side: str, rest: str, config: CodecConfig) -> str:
    """The published network is one flat list in which activations count too."""
    blocks, stages = config.seanet.residual_layers, len(config.seanet.ratios)
    width = blocks + 2
    part, *path = rest.split(".")
    if part == "stem":
        return f"{side}.model.0.conv.conv.{path[-1]}"
    if part == "head":
        return f"{side}.model.{2 + stages * width}.conv.conv.{path[-1]}"
    first = 1 + int(path[0]) * width  # of this stage
    if path[1] == "up":
        return f"{side}.model.{first + 1}.convtr.convtr.{path[-1]}"
    if path[1] == "down":
        return f"{side}.model.{first + blocks + 1}.conv.conv.{path[-1]}"
    index = first + int(path[2]) + (2 if side == "decoder" else 0)
    return f"{side}.model.{index}.block.{ {'conv1': 1, 'conv2': 3}[path[3]] }.conv.conv.{path[-1]}"


def lm_sources(ours: str, config: LMConfig) -> list[Source]:
    """The language model as published for PyTorch: projections stacked (old) or one a step (new)."""
    head, _, rest = ours.partition(".")
    if head == "text_emb":
        return [Source("text_emb." + embedding_name(rest))]
    if head == "audio_embs":
        return [Source("emb." + embedding_name(rest))]
    if head == "temporal":
        return [
            Source(f"transformer.{s.name}")
            for s in _layer(rest, gated=config.temporal.gated, rms=_rms(config))
        ]
    if head == "out_norm":
        return [Source("out_norm." + (_alpha(rest) if _rms(config) else rest))]
    if head == "text_head":
        return [Source("text_linear." + rest)]
    if head == "conditioning":
        rest = rest.replace(".table.", ".embed.").replace(".projection.", ".output_proj.")
        return [Source("condition_provider." + re.sub(r"\.missing$", ".learnt_padding", rest))]
    if head == "depth":
        return _depth(rest, config)
    return [Source(ours)]  # extra_heads


LOW_RANK = "depth.text_emb.low_rank.weight"


def fillers(config: LMConfig) -> dict[str, tuple[int, int]]:
    """Tensors that the reference requires but never uses, by the name that they would have in our model, with their
    shapes."""
    depth = config.depth
    if depth is None or not depth.low_rank or not config.second_text_stream:
        return {}
    return {LOW_RANK: (depth.dim, depth.low_rank)}


def unused_names(config: LMConfig) -> set[str]:
    """Tensors that published files carry but no model reads."""
    if config.depth is None:
        return {"depformer_in.0.weight"}
    two_streams_low_rank = config.second_text_stream and config.depth.low_rank
    return {"depformer_text_emb.low_rank.weight"} if two_streams_low_rank else set()


def encoder_prefix(config: LMConfig) -> str | None:
    """How the names begin of what belongs to the encoder of references (`lm.reference`), not to the language model."""
    encoder = config.conditioning.encoder
    return None if encoder is None else f"condition_provider.conditioners.{encoder.name}."


def _depth(rest: str, config: LMConfig) -> list[Source]:
    assert config.depth is not None
    head, _, tail = rest.partition(".")
    if head == "in_projs":
        return [Source("depformer_in." + tail)]
    if head == "text_emb":
        return [Source("depformer_text_emb." + embedding_name(tail))]
    if head == "audio_embs":
        return [Source("depformer_emb." + embedding_name(tail))]
    if head == "norms":
        rms = (config.depth.norm_out or "").startswith("rms")
        return [Source("depformer_norms." + (_alpha(tail) if rms else tail))]
    if head == "heads":
        return [Source("linears." + tail)]
    sets = config.depth.weight_sets
    if found := re.fullmatch(r"(\d+)\.(in|out)_projs\.(\d+)\.weight", tail):
        layer, side, index = found[1], found[2], int(found[3])
        base = f"depformer.layers.{layer}.self_attn.{side}_proj"
        stacked = base + ("_weight" if side == "in" else ".weight")
        return [Source(stacked, index, sets), Source(f"{base}s.{index}.weight")]
    if found := re.fullmatch(r"(\d+)\.mlps\.(\d+)\.(.*)", tail):
        numbered = f"depformer.layers.{found[1]}.gating.{found[2]}.{found[3]}"
        single = [Source(f"depformer.layers.{found[1]}.gating.{found[3]}")] if sets == 1 else []
        return [*single, Source(numbered)]
    return [Source("depformer.layers." + (_alpha(tail) if _rms(config) else tail))]


def _layer(rest: str, gated: bool, rms: bool = False) -> list[Source]:
    """One tensor of a temporal or codec transformer layer, `layers.N. ...`."""
    rest = re.sub(r"\bscale(1|2|_cross)\.", lambda m: f"layer_scale_{m[1].strip('_')}.", rest)
    if re.search(r"\.norm[12]\.", rest):
        return [Source(_alpha(rest) if rms else rest)]
    if found := re.fullmatch(r"(layers\.\d+)\.(attention|cross_attention)\.(in|out)_proj\.weight", rest):
        base = f"{found[1]}.{ {'attention': 'self_attn'}.get(found[2], found[2]) }.{found[3]}_proj"
        return [Source(base + ("_weight" if found[3] == "in" else ".weight")), Source(f"{base}s.0.weight")]
    if gated:
        return [Source(rest.replace(".mlp.", ".gating."))]
    return [Source(rest.replace(".mlp.linear_in.", ".linear1.").replace(".mlp.linear_out.", ".linear2."))]


def embedding_name(rest: str) -> str:
    return rest.replace("projection.", "low_rank.").replace("first.", "out1.").replace("second.", "out2.")


def _alpha(rest: str) -> str:
    return rest.removesuffix("weight") + "alpha"


def _rms(config: LMConfig) -> bool:
    return config.temporal.norm.startswith("rms")
