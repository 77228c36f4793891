"""Where each of our tensors is in the Hugging Face ports of Mimi and Moshi (`transformers`).

They keep queries, keys and values apart, the halves of rotary pairs too, and stack what the depth transformer has for
each codebook.
"""

import re
from dataclasses import replace

from duologue.config import CodecConfig, LMConfig, TransformerConfig
from duologue.weights.names import Source, codec_sources

CODEC_PREFIX = "audio_encoder."  # of the codec inside a Moshi file

_LAYER = {
    "out_proj": "self_attn.o_proj",
    "norm1": "input_layernorm",
    "norm2": "post_attention_layernorm",
    "linear_in": "mlp.fc1",
    "linear_out": "mlp.fc2",
    "scale1": "self_attn_layer_scale",
    "scale2": "mlp_layer_scale",
}


def hf_codec_sources(ours: str, config: CodecConfig, prefix: str = "") -> list[Source]:
    """`MimiModel`, alone or inside Moshi."""
    if found := re.fullmatch(r"(\w+_transformer\.layers\.\d+)\.(.*)", ours):
        return [_layer(f"{prefix}{found[1]}", found[2], config.transformer, linear="")]
    name = codec_sources(ours, config)[0].name
    name = re.sub(r"\b(conv|convtr)\.\1(\.\1)?\.(weight|bias)$", r"conv.\3", name)
    name = re.sub(r"^(encoder|decoder)\.model\.", r"\1.layers.", name)
    name = name.replace("rvq_first.", "semantic_residual_vector_quantizer.")
    name = name.replace("rvq_rest.", "acoustic_residual_vector_quantizer.")
    name = name.replace(".vq.layers.", ".layers.").replace("._codebook.", ".codebook.")
    name = name.replace("._initialized", ".initialized").replace(".embedding_sum", ".embed_sum")
    return [Source(prefix + name)]


def hf_lm_sources(ours: str, config: LMConfig) -> list[Source]:
    """`MoshiForConditionalGeneration`. Extra heads, which it does not have, keep our name."""
    head, _, rest = ours.partition(".")
    if head == "text_emb":
        return [Source("decoder.model.embed_tokens." + rest)]
    if head == "audio_embs":
        return [Source("embed_tokens." + rest)]
    if head == "temporal":
        _, number, inner = rest.split(".", 2)
        return [_layer(f"decoder.model.layers.{number}", inner, config.temporal, linear="linear.")]
    if head == "out_norm":
        return [Source("decoder.model.norm." + rest)]
    if head == "text_head":
        return [Source("decoder.lm_head." + rest)]
    return [_depth(rest, config)] if head == "depth" else [Source(ours)]


def _layer(base: str, inner: str, config: TransformerConfig, linear: str) -> Source:
    """A tensor of a layer, named as in ours; `linear` is the name of the projections' inner module."""
    part, *tail = inner.removeprefix("attention.").removeprefix("mlp.").split(".")
    if part == "in_proj":
        kv_heads = config.heads // config.kv_repeat
        rotary = config.positions == "rope"
        return _qkv(f"{base}.self_attn", linear, config.dim, config.heads, kv_heads, rotary)
    name = _LAYER[part] + ("." + linear.rstrip(".") if linear and part == "out_proj" else "")
    return Source(f"{base}.{name}.{tail[0]}")


def _qkv(base: str, linear: str, dim: int, heads: int, kv_heads: int, rotary: bool) -> Source:
    kv = dim // heads * kv_heads
    key, value = (
        Source(f"{base}.k_proj.{linear}weight", rows=kv),
        Source(f"{base}.v_proj.{linear}weight", rows=kv),
    )
    query = Source(f"{base}.q_proj.{linear}weight", rows=dim)
    if rotary:
        query, key = replace(query, heads=heads), replace(key, heads=kv_heads)
    return replace(query, joined=(key, value))


def _depth(rest: str, config: LMConfig) -> Source:
    depth = config.depth
    assert depth is not None
    steps = len(depth.schedule)
    head, *path = rest.split(".")

    def stacked(source: Source, weights: int) -> Source:
        """The slices of all the codebooks that use a set of weights."""
        users = [k for k, used in enumerate(depth.schedule) if used == weights]
        first, *others = [replace(source, part=k, parts=steps, stacked=True, joined=()) for k in users]
        joined = tuple(stacked(piece, weights) for piece in source.joined)
        return replace(first, copies=tuple(others), joined=joined)

    if head == "in_projs":
        return stacked(Source("depth_decoder.input_projections.weight"), int(path[0]))
    if head == "heads":
        return Source("depth_decoder.lm_heads.weight", int(path[0]), steps, stacked=True)
    if head == "text_emb":
        return Source("depth_decoder.text_embed_tokens.weight")
    if head == "audio_embs":
        return Source(f"depth_decoder.embed_tokens.{path[0]}.weight")
    base = f"depth_decoder.layers.{path[0]}"
    part, *tail = path[1:]
    if part in ("norm1", "norm2"):
        return Source(f"{base}.{_LAYER[part]}.{tail[0]}")
    if part == "in_projs":
        kv_heads = depth.heads // depth.kv_repeat
        qkv = _qkv(f"{base}.self_attn", "linear.", depth.dim, depth.heads, kv_heads, rotary=False)
        return stacked(qkv, int(tail[0]))
    if part == "out_projs":
        return stacked(Source(f"{base}.self_attn.o_proj.linear.weight"), int(tail[0]))
    return stacked(Source(f"{base}.{_LAYER[tail[1]]}.weight"), int(tail[0]))
