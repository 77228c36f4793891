"""The `config.json` of the Hugging Face ports of Mimi and Moshi, read and written.

Their files also have dozens of keys that every model of `transformers` has and that do not affect the computation:
unlike in `published.py`, unknown keys are accepted. Keys that would affect it must have the known value.
"""

from dataclasses import replace
from typing import Any

from duologue import presets
from duologue.config import (
    CodecConfig,
    DepthConfig,
    LMConfig,
    QuantizerConfig,
    SeanetConfig,
    TransformerConfig,
)
from duologue.errors import InputError
from duologue.nn.mlp import gated_hidden
from duologue.weights.fields import Fields
from duologue.weights.published import LM_FILE, ModelConfig, model_config

OURS = "duologue"  # the key for settings that their configuration cannot hold


def is_hf(values: dict[str, Any]) -> bool:
    """Whether a `config.json` is one of theirs."""
    return "audio_encoder_config" in values or values.get("model_type") == "mimi"


def hf_model_config(values: dict[str, Any], where: str) -> ModelConfig:
    """Reads either port's `config.json`. Raises InputError for a value that is not supported."""
    if values.get("model_type") == "mimi":
        codec = hf_codec_config(values, min(8, _codebooks(values)), where)
        return ModelConfig(presets.moshi_7b(), lm_file="", codec_file=LM_FILE, codec=codec, model_type="mimi")
    f = Fields(values, where)
    audio = f.take("audio_encoder_config", dict, {})
    lm = _lm(f, audio)
    found = ModelConfig(lm, codec_file=LM_FILE)
    if (kept := values.get(OURS)) is not None:
        found = replace(model_config(kept, f"{where}: {OURS}"), lm_file=LM_FILE, codec_file=LM_FILE)
    used = max(found.lm.depth_steps, found.lm.heard)
    return replace(found, codec=hf_codec_config(audio, used, f"{where}: audio_encoder_config"))


def _codebooks(values: dict[str, Any]) -> int:
    count = values.get("num_quantizers", 32)
    return count if isinstance(count, int) else 0


def _theta(f: Fields) -> float:
    """The longest rotary period: a key of its own in old files, an entry of `rope_parameters` in new ones."""
    old = f.take("rope_theta", float | None, None)
    rope = f.take("rope_parameters", dict | None, None) or {}
    if rope.get("rope_type", "default") != "default":
        raise InputError(f"{f.where}: only the default rope_type is supported")
    theta = rope.get("rope_theta", old if old is not None else 10_000.0)
    if not isinstance(theta, int | float) or isinstance(theta, bool):
        raise InputError(f"{f.where}: rope_theta must be a number")
    return float(theta)


def _lm(f: Fields, audio: dict[str, Any]) -> LMConfig:
    f.expect(hidden_act="silu")
    dim, heads = f.take("hidden_size", int, 4096), f.take("num_attention_heads", int, 32)
    kv_heads = f.take("num_key_value_heads", int | None, None) or heads
    spoken = f.take("num_codebooks", int, 8)
    if not 1 <= spoken <= 32 or heads < 1 or kv_heads < 1 or dim < 1:
        raise InputError(f"{f.where}: num_codebooks, heads or hidden_size cannot be")
    _same(f, "head_dim", dim // heads)
    text_card = f.take("vocab_size", int, 32_000)
    entries = Fields(audio, f"{f.where}: audio_encoder_config").take("codebook_size", int, 2048)
    card = f.take("audio_vocab_size", int | None, None) or entries
    f.take("max_position_embeddings", int, 3000)
    temporal = f.build(
        TransformerConfig,
        dim=dim,
        heads=heads,
        layers=f.take("num_hidden_layers", int, 32),
        feedforward=_feedforward(dim, f.take("ffn_dim", int, 22_528)),
        context=f.take("sliding_window", int, 3000),
        norm=_norm(f),
        gated=True,
        max_period=_theta(f),
        kv_repeat=_repeat(f, heads, kv_heads),
    )
    d = Fields(f.take("depth_decoder_config", dict, {}), f"{f.where}: depth_decoder_config")
    d.expect(hidden_act="silu")
    depth_dim, depth_heads = d.take("hidden_size", int, 1024), d.take("num_attention_heads", int, 16)
    kv_heads = d.take("num_key_value_heads", int | None, None) or depth_heads
    if depth_dim < 1 or depth_heads < 1 or kv_heads < 1:
        raise InputError(f"{d.where}: heads or hidden_size cannot be")
    if _norm(d) != temporal.norm:
        raise InputError(f"{d.where}: rms_norm_eps must be the main decoder's")
    _same(d, "head_dim", depth_dim // depth_heads)
    depth = d.build(
        DepthConfig,
        dim=depth_dim,
        heads=depth_heads,
        layers=d.take("num_hidden_layers", int, 6),
        feedforward=_feedforward(depth_dim, d.take("ffn_dim", int, 5632)),
        schedule=tuple(range(spoken)),
        kv_repeat=_repeat(d, depth_heads, kv_heads),
    )
    delays = (0, *(0, *[1] * (spoken - 1)) * 2)  # not in the file: what their generation does
    return f.build(LMConfig, temporal, depth, 2 * spoken, delays, card, text_card, text_card)


def _same(f: Fields, key: str, value: int) -> None:
    if f.take(key, int | None, None) not in (None, value):
        raise InputError(f"{f.where}: only {key} = {value} is supported")


def _repeat(f: Fields, heads: int, kv_heads: int) -> int:
    if heads % kv_heads:
        raise InputError(f"{f.where}: {heads} heads do not share {kv_heads} keys")
    return heads // kv_heads


def _norm(f: Fields) -> str:
    eps = f.take("rms_norm_eps", float, 1e-8)
    if eps not in (1e-8, 1e-5):
        raise InputError(f"{f.where}: only rms_norm_eps = 1e-8 and 1e-5 are supported")
    return "rms_norm_f32" if eps == 1e-8 else "rms_norm"


def _feedforward(dim: int, ffn_dim: int) -> int:
    """The ungated width that gives a gated block `ffn_dim` rows in its first layer."""
    hidden = ffn_dim // 2
    width = -(-3 * hidden // 2)
    return next((w for w in (width, width + 1, 4 * dim) if gated_hidden(dim, w) == hidden), width)


def hf_codec_config(values: dict[str, Any], codebooks: int, where: str) -> CodecConfig:
    """Reads the configuration of `MimiModel`. `codebooks`: how many the model uses."""
    f = Fields(values, where)
    f.expect(
        audio_channels=1, use_causal_conv=True, pad_mode="constant", trim_right_ratio=1.0, use_conv_shortcut=False,
        num_semantic_quantizers=1, hidden_act="gelu", norm_eps=1e-5, attention_bias=False, normalize=False,
        encoder_config=None, decoder_config=None,
    )  # fmt: skip
    dim, heads = f.take("hidden_size", int, 512), f.take("num_attention_heads", int, 8)
    kv_heads = f.take("num_key_value_heads", int, 8)
    if dim < 1 or heads < 1 or kv_heads < 1:
        raise InputError(f"{where}: heads or hidden_size cannot be")
    _same(f, "head_dim", dim // heads)
    _same(f, "upsample_groups", dim)
    seanet = f.build(
        SeanetConfig,
        dim=dim,
        filters=f.take("num_filters", int, 64),
        ratios=tuple(f.take("upsampling_ratios", list[int] | None, None) or (8, 6, 5, 4)),
        kernel=f.take("kernel_size", int, 7),
        last_kernel=f.take("last_kernel_size", int, 3),
        residual_kernel=f.take("residual_kernel_size", int, 3),
        residual_layers=f.take("num_residual_layers", int, 1),
        dilation_base=f.take("dilation_growth_rate", int, 2),
        compress=f.take("compress", int, 2),
    )
    transformer = f.build(
        TransformerConfig,
        dim=dim,
        heads=heads,
        layers=f.take("num_hidden_layers", int, 8),
        feedforward=f.take("intermediate_size", int, 2048),
        context=f.take("sliding_window", int, 250),
        layer_scale=f.take("layer_scale_initial_scale", float, 0.01),
        max_period=_theta(f),
        kv_repeat=_repeat(f, heads, kv_heads),
    )
    width = f.take("vector_quantization_hidden_dimension", int, 256)
    _same(f, "codebook_dim", width)
    entries, books = f.take("codebook_size", int, 2048), f.take("num_quantizers", int, 32)
    quantizer = f.build(QuantizerConfig, width, books, entries)
    rate = f.take("sampling_rate", int, 24_000)
    frames = f.take("frame_rate", float | None, None)
    if frames is None:
        hop = 2
        for ratio in seanet.ratios:
            hop *= ratio
        frames = rate / hop
    return f.build(CodecConfig, rate, frames, codebooks, seanet, transformer, quantizer)


def hf_codec_json(config: CodecConfig) -> dict[str, Any]:
    """The configuration of `MimiModel`."""
    s, t, q = config.seanet, config.transformer, config.quantizer
    if config.only_here:
        raise InputError(f"the Hugging Face Mimi has no place for {config.only_here}: use --format pytorch")
    if q.semantic != 1:
        raise InputError("the Hugging Face Mimi has one semantic codebook: use --format pytorch")
    if t.norm != "layer_norm" or t.layer_scale is None or config.resample != 2 or t.context is None:
        raise InputError(
            "the Hugging Face Mimi has no place for this codec's norm, scale or rate: use --format pytorch"
        )
    return {
        "architectures": ["MimiModel"],
        "model_type": "mimi",
        "sampling_rate": config.sample_rate,
        "frame_rate": config.frame_rate,
        "audio_channels": 1,
        "hidden_size": s.dim,
        "num_filters": s.filters,
        "num_residual_layers": s.residual_layers,
        "upsampling_ratios": list(s.ratios),
        "kernel_size": s.kernel,
        "last_kernel_size": s.last_kernel,
        "residual_kernel_size": s.residual_kernel,
        "dilation_growth_rate": s.dilation_base,
        "compress": s.compress,
        "codebook_size": q.entries,
        "codebook_dim": q.dim,
        "vector_quantization_hidden_dimension": q.dim,
        "num_quantizers": q.codebooks,
        "num_semantic_quantizers": 1,
        "upsample_groups": s.dim,
        "num_hidden_layers": t.layers,
        "intermediate_size": t.feedforward,
        "num_attention_heads": t.heads,
        "num_key_value_heads": t.heads // t.kv_repeat,
        "head_dim": t.dim // t.heads,
        "sliding_window": t.context,
        "layer_scale_initial_scale": t.layer_scale,
        "rope_theta": t.max_period,
        "rope_parameters": {"rope_type": "default", "rope_theta": t.max_period},
    }


def hf_recording_json(config: CodecConfig) -> dict[str, Any]:
    """`preprocessor_config.json`: which recordings `AutoFeatureExtractor` prepares for the codec."""
    return {
        "feature_extractor_type": "EncodecFeatureExtractor",
        "feature_size": 1,
        "sampling_rate": config.sample_rate,
        "padding_value": 0.0,
        "padding_side": "right",
        "return_attention_mask": True,
    }


def hf_model_json(config: LMConfig, codec: CodecConfig, ours: dict[str, Any]) -> dict[str, Any]:
    """The configuration of `MoshiForConditionalGeneration`; `ours` is the published one, kept beside it.

    Raises InputError if the model has what theirs has not. Extra heads and sharing in depth are kept in `ours` alone:
    theirs ignores the heads, and has the shared weights once for each codebook.
    """
    check_hf(config)
    t, d = config.temporal, config.depth
    assert d is not None
    eps = 1e-8 if t.norm == "rms_norm_f32" else 1e-5
    return {
        "architectures": ["MoshiForConditionalGeneration"],
        "model_type": "moshi",
        "vocab_size": config.text_card,
        "audio_vocab_size": config.card,
        "hidden_size": t.dim,
        "num_hidden_layers": t.layers,
        "num_attention_heads": t.heads,
        "num_key_value_heads": t.heads // t.kv_repeat,
        "head_dim": t.dim // t.heads,
        "ffn_dim": 2 * gated_hidden(t.dim, t.feedforward),
        "max_position_embeddings": t.context,
        "sliding_window": t.context,
        "rope_theta": t.max_period,
        "rope_parameters": {"rope_type": "default", "rope_theta": t.max_period},
        "hidden_act": "silu",
        "rms_norm_eps": eps,
        "num_codebooks": config.depth_steps,
        "tie_word_embeddings": False,
        "depth_decoder_config": {
            "model_type": "moshi_depth",
            "vocab_size": config.text_card,
            "audio_vocab_size": config.card,
            "hidden_size": d.dim,
            "input_size": t.dim,
            "num_hidden_layers": d.layers,
            "num_attention_heads": d.heads,
            "num_key_value_heads": d.heads // d.kv_repeat,
            "head_dim": d.dim // d.heads,
            "ffn_dim": 2 * gated_hidden(d.dim, d.feedforward),
            "max_position_embeddings": config.depth_steps + 1,
            "sliding_window": config.depth_steps,
            "hidden_act": "silu",
            "rms_norm_eps": eps,
            "num_codebooks": config.depth_steps,
            "tie_word_embeddings": False,
        },
        "audio_encoder_config": hf_codec_json(codec),
        OURS: ours,
    }


def check_hf(config: LMConfig) -> None:
    """InputError for what `MoshiForConditionalGeneration` does not have."""
    t, d, n = config.temporal, config.depth, config.depth_steps
    missing = [
        (d is None or n < 2, "a model without a depth transformer"),
        (not t.norm.startswith("rms") or not t.gated or t.layer_scale is not None, "this kind of layer"),
        (
            t.positions in ("sin", "none") or t.context is None or (d and d.max_period),
            "this kind of positions",
        ),
        (bool(config.conditioning.conditioners) or t.cross_attention, "conditions"),
        (config.second_text_stream or config.text_card_out != config.text_card, "this kind of text stream"),
        (d is not None and bool(d.low_rank or d.norm_out), "low-rank embeddings or norms in depth"),
        (config.heard != n, "other than as many codebooks heard as spoken"),
        (config.delays != (0, *(0, *[1] * (n - 1)) * 2), "these delays"),
    ]
    for found, what in missing:
        if found:
            raise InputError(f"the Hugging Face Moshi has no place for {what}: use --format pytorch")
