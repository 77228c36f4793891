"""The published json files: `config.json` of a model, and the configuration of its codec. Unknown keys are errors."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .. import presets
from ..config import (
    CodecConfig,
    ConditionerConfig,
    ConditioningConfig,
    DepthConfig,
    LMConfig,
    QuantizerConfig,
    SeanetConfig,
    TransformerConfig,
)
from ..errors import InputError
from ..lm.sampling import Sampling

LM_FILE = "model.safetensors"
CODEC_FILE = "tokenizer-e351c8d8-checkpoint125.safetensors"
TOKENIZER_FILE = "tokenizer_spm_32k_3.model"


@dataclass(frozen=True)
class ModelConfig:
    """What `config.json` says. Without one, a folder holds the first published model, Moshi 7B.

    File names may also be `hf://owner/repo/file` or `file://path`. `task` holds the settings of a task (tts_config,
    stt_config, model_id) as they stand.
    """

    lm: LMConfig
    lm_file: str = LM_FILE
    codec_file: str = CODEC_FILE
    codec_config_file: str | None = None
    tokenizer_file: str = TOKENIZER_FILE
    lora_file: str | None = None
    model_type: str = "moshi"
    sampling: Sampling = field(default_factory=Sampling)
    task: dict[str, Any] = field(default_factory=dict)


class _Fields:
    """Takes values out of a json object, so that what is left at the end was not understood."""

    def __init__(self, values: dict[str, Any], where: str):
        self.values, self.where = dict(values), where

    def take(self, key: str, *default: Any) -> Any:
        if key not in self.values and not default:
            raise InputError(f"{self.where}: the key {key!r} is missing")
        return self.values.pop(key, *default)

    def expect(self, **known: Any) -> None:
        """Keys that may be absent, but must have this value: no published model has another."""
        for key, value in known.items():
            if self.values.pop(key, value) != value:
                raise InputError(f"{self.where}: only {key} = {json.dumps(value)} is supported")

    def finish(self) -> None:
        if self.values:
            raise InputError(f"{self.where}: unknown key {sorted(self.values)[0]!r}")


def read_json(path: Path) -> dict[str, Any]:
    try:
        values = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read as json: {error}") from None
    if not isinstance(values, dict):
        raise InputError(f"{path} must hold a json object")
    return values


def model_config(values: dict[str, Any], where: str = "config.json") -> ModelConfig:
    """Reads a `config.json`. Raises InputError for a key or a value that is not understood."""
    f = _Fields(values, where)
    task = {key: f.take(key) for key in ("tts_config", "stt_config", "model_id") if key in f.values}
    files = {
        "lm_file": f.take("moshi_name", LM_FILE),
        "codec_file": f.take("mimi_name", CODEC_FILE),
        "codec_config_file": f.take("mimi_config_name", None),
        "tokenizer_file": f.take("tokenizer_name", TOKENIZER_FILE),
        "lora_file": f.take("lora_name", None),
    }
    model_type = f.take("model_type", "moshi")
    sampling = _sampling(_Fields(f.take("lm_gen_config", {}), f"{where}: lm_gen_config"))
    for key in ("lora", "lora_rank", "lora_scaling", "quantize"):
        if f.values.pop(key, None):
            task[key] = values[key]
    lm = _lm(f) if f.values else presets.moshi_7b()
    return ModelConfig(lm, **files, model_type=model_type, sampling=sampling, task=task)


def _sampling(f: _Fields) -> Sampling:
    greedy = not f.take("use_sampling", True)
    text = f.take("temp_text", f.take("text_temp", Sampling.text_temperature))
    sampling = Sampling(
        0.0 if greedy else f.take("temp", Sampling.temperature),
        f.take("top_k", Sampling.top_k),
        0.0 if greedy else text,
        f.take("top_k_text", Sampling.text_top_k),
    )
    f.values.pop("temp", None)
    f.take("cfg_coef", None)
    f.finish()
    return sampling


def _lm(f: _Fields) -> LMConfig:
    dim, scale = f.take("dim"), f.take("hidden_scale", 4)
    f.expect(causal=True, norm_emb=False, bias_proj=False)
    gating = f.take("gating", "none")
    if gating not in ("silu", "none"):
        raise InputError(f"{f.where}: gating {gating!r} is not supported")
    temporal = TransformerConfig(
        dim=dim,
        heads=f.take("num_heads"),
        layers=f.take("num_layers"),
        feedforward=int(scale * dim),
        context=f.take("context"),
        norm=f.take("norm", "layer_norm"),
        gated=gating == "silu",
        layer_scale=f.take("layer_scale", None),
        positions=f.take("positional_embedding", "rope"),
        max_period=float(f.take("max_period", 10_000)),
        kv_repeat=f.take("kv_repeat", 1),
        cross_attention=f.take("cross_attention", False),
    )
    dep_q = f.take("dep_q", 8)
    text_card = f.take("text_card")
    second = f.take("demux_second_stream", f.take("demux_second_text_stream", False))
    f.values.pop("demux_second_text_stream", None)
    config = LMConfig(
        temporal=temporal,
        depth=_depth(f, dep_q, scale, temporal),
        audio_streams=f.take("n_q"),
        delays=tuple(f.take("delays")),
        card=f.take("card"),
        text_card=text_card,
        text_card_out=f.take("text_card_out", None) or text_card,
        pad_id=f.take("existing_text_padding_id", 3),
        epad_id=f.take("existing_text_end_padding_id", 0),
        second_text_stream=second,
        extra_heads=f.take("extra_heads_num_heads", 0),
        extra_heads_dim=f.take("extra_heads_dim", 6),
        conditioning=_conditioning(f.take("conditioners", {}), f.take("fuser", None), f.where),
    )
    f.finish()
    return config


def _depth(f: _Fields, dep_q: int, scale: float, temporal: TransformerConfig) -> DepthConfig | None:
    """The keys of the depth transformer, which by default are the temporal transformer's. A model without one (speech
    recognition) may still carry them."""
    f.expect(depformer_causal=True, depformer_pos_emb="none")
    for key in ("depformer_context", "depformer_max_period"):
        f.take(key, None)  # without meaning in a frame of at most 32 steps, whose positions are not marked
    gating = f.take("depformer_gating", "silu" if temporal.gated else "none")
    layer_scale = f.take("depformer_layer_scale", temporal.layer_scale)
    own_weights = f.take("depformer_weights_per_step", False)
    own_inputs = f.take("depformer_multi_linear", False)
    schedule = f.take("depformer_weights_per_step_schedule", None) or range(dep_q)
    dim = f.take("depformer_dim", 256)
    feedforward = f.take("depformer_dim_feedforward", None) or int(scale * dim)
    values = {
        "heads": f.take("depformer_num_heads", temporal.heads),
        "layers": f.take("depformer_num_layers", temporal.layers),
        "kv_repeat": f.take("depformer_kv_repeat", temporal.kv_repeat),
        "low_rank": f.take("depformer_low_rank_embeddings", None),
        "norm_out": f.take("depformer_norm", None),
    }
    if dep_q == 0:
        return None
    if (
        gating != "silu"
        or layer_scale is not None
        or own_weights != own_inputs
        or not isinstance(feedforward, int)
    ):
        raise InputError(
            f"{f.where}: a depth transformer needs silu gating, one width, no layer scale, and "
            "depformer_weights_per_step and depformer_multi_linear both true or both false"
        )
    schedule = tuple(schedule) if own_weights else (0,) * dep_q
    if len(schedule) != dep_q or set(schedule) != set(range(max(schedule) + 1)):
        raise InputError(
            f"{f.where}: the weights schedule must name a set of weights for each of {dep_q} steps"
        )
    return DepthConfig(dim=dim, feedforward=feedforward, schedule=schedule, **values)


def _conditioning(
    conditioners: dict[str, Any], fuser: dict[str, Any] | None, where: str
) -> ConditioningConfig:
    if not conditioners:
        return ConditioningConfig()
    configs = []
    for name, entry in conditioners.items():
        f = _Fields(entry, f"{where}: conditioner {name}")
        kind = f.take("type")
        inner = _Fields(f.take(kind), f"{where}: conditioner {name}")
        f.finish()
        if kind not in ("lut", "tensor"):
            raise InputError(f"{where}: conditioner type {kind!r} is not supported")
        values = inner.take("possible_values", None)
        inner.expect(tokenizer="noop")
        inner.take("init_scale", None)  # said how training began
        configs.append(
            ConditionerConfig(
                name, kind, inner.take("dim"), inner.take("n_bins", 0), tuple(values) if values else None
            )
        )
        inner.finish()
    f = _Fields(fuser or {}, f"{where}: fuser")
    f.expect(prepend=[])
    positions = f.take("cross_attention_pos_emb", False)
    scale = float(f.take("cross_attention_pos_emb_scale", 1.0))
    config = ConditioningConfig(
        tuple(configs), tuple(f.take("sum", [])), tuple(f.take("cross", [])), scale if positions else 0.0
    )
    f.finish()
    return config


def codec_config(values: dict[str, Any], codebooks: int, where: str = "mimi_config.json") -> CodecConfig:
    """Reads a codec's configuration. `codebooks`: how many of its codebooks the model uses."""
    f = _Fields(values, where)
    f.expect(channels=1)
    s = _Fields(f.take("seanet"), f"{where}: seanet")
    s.expect(
        channels=1, causal=True, activation="ELU", disable_norm_outer_blocks=0, norm="none", pad_mode="constant",
        true_skip=True,
    )  # fmt: skip
    seanet = SeanetConfig(
        dim=s.take("dimension"),
        filters=s.take("n_filters"),
        ratios=tuple(s.take("ratios")),
        kernel=s.take("kernel_size"),
        last_kernel=s.take("last_kernel_size"),
        residual_kernel=s.take("residual_kernel_size"),
        residual_layers=s.take("n_residual_layers"),
        dilation_base=s.take("dilation_base"),
        compress=s.take("compress"),
    )
    s.finish()
    t = _Fields(f.take("transformer"), f"{where}: transformer")
    t.expect(
        causal=True, conv_layout=True, gating="none", positional_embedding="rope", d_model=seanet.dim,
        input_dimension=seanet.dim, output_dimensions=[seanet.dim],
    )  # fmt: skip
    transformer = TransformerConfig(
        dim=seanet.dim,
        heads=t.take("num_heads"),
        layers=t.take("num_layers"),
        feedforward=t.take("dim_feedforward"),
        context=t.take("context"),
        norm=t.take("norm"),
        layer_scale=t.take("layer_scale"),
        max_period=float(t.take("max_period")),
    )
    t.finish()
    q = _Fields(f.take("quantizer"), f"{where}: quantizer")
    q.expect(input_dimension=seanet.dim, output_dimension=seanet.dim, n_q_semantic=1)
    quantizer = QuantizerConfig(q.take("dimension"), q.take("n_q"), q.take("bins"))
    q.finish()
    config = CodecConfig(
        f.take("sample_rate"), f.take("frame_rate"), codebooks, seanet, transformer, quantizer
    )
    f.finish()
    return config
