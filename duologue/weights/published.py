"""The published json files: `config.json` of a model, and the configuration of its codec. Unknown keys are errors."""

from dataclasses import dataclass, field, fields, replace
from typing import Any, TypeVar

from duologue import presets
from duologue.config import (
    AcousticConfig,
    CodecConfig,
    DepthConfig,
    FramesConfig,
    LMConfig,
    QuantizerConfig,
    SeanetConfig,
    TransformerConfig,
    WhisperConfig,
)
from duologue.errors import InputError
from duologue.lm.sampling import Sampling
from duologue.weights.conditions import conditioning
from duologue.weights.fields import Fields, is_a, shown

T = TypeVar("T")
LM_FILE = "model.safetensors"
CODEC_FILE = "tokenizer-e351c8d8-checkpoint125.safetensors"
TOKENIZER_FILE = "tokenizer_spm_32k_3.model"
# Default conditions: a translation model is told to translate well, one that retrieves that it speaks first.
TOLD = {"description": "very_good", "first_speaker": "SPEAKER_MAIN"}
LONGEST_SECONDS = 60.0  # seconds of a delay or a prefix
MODEL_TYPES = ("moshi", "personaplex", "hibiki", "stt", "tts")


@dataclass(frozen=True)
class ModelConfig:
    """What `config.json` says. Without one, a folder holds the first published model, Moshi 7B.

    File names may also be `hf://owner/repo/file` or `file://path`; `lm_file` is empty where there is a codec alone.
    `task` holds the settings of a task (tts_config, stt_config, model_id) and of an adapter (lora_scaling).
    """

    lm: LMConfig
    lm_file: str = LM_FILE
    codec_file: str = CODEC_FILE
    codec_config_file: str | None = None
    tokenizer_file: str = TOKENIZER_FILE
    lora_file: str | None = None
    codec: CodecConfig | None = None  # where config.json describes the codec too (Hugging Face)
    model_type: str = "moshi"
    sampling: Sampling = field(default_factory=Sampling)
    task: dict[str, Any] = field(default_factory=dict)
    guessed: bool = (
        False  # nothing said what the language model is: it is one of the first two published ones
    )


def model_config(values: dict[str, Any], where: str = "config.json") -> ModelConfig:
    """Reads a `config.json`. Raises InputError for a key or a value that is not understood."""
    f = Fields(values, where)
    task = {key: f.take(key, dict) for key in ("tts_config", "stt_config", "model_id") if key in f.values}
    _check_task(task, where)
    files = {
        "lm_file": f.take("moshi_name", str, LM_FILE),
        "codec_file": f.take("mimi_name", str, CODEC_FILE),
        "codec_config_file": f.take("mimi_config_name", str | None, None),
        "tokenizer_file": f.take("tokenizer_name", str, TOKENIZER_FILE),
        "lora_file": f.take("lora_name", str | None, None),
    }
    model_type = f.take("model_type", str, "moshi")
    if "dim" not in f.values and model_type not in MODEL_TYPES:
        raise InputError(
            f"{where}: models of type {model_type!r} are not supported: {', '.join(MODEL_TYPES)} are, and the "
            "Hugging Face ports of mimi and moshi"
        )
    sampling = _sampling(Fields(f.take("lm_gen_config", dict, {}), f"{where}: lm_gen_config"))
    for key in ("lora", "lora_rank", "lora_scaling", "quantize"):
        if f.values.pop(key, None):
            task[key] = values[key]
    if guessed := f.values.keys() <= {"version"}:
        lm = presets.personaplex_7b() if model_type == "personaplex" else presets.moshi_7b()
    else:
        lm = _lm(f, model_type)
    if sampling.guidance != 1 and not lm.conditioning.conditioners:
        raise InputError(f"{where}: cfg_coef {sampling.guidance} needs conditions, and the model has none")
    return ModelConfig(lm, **files, model_type=model_type, sampling=sampling, task=task, guessed=guessed)


def as_its_tensors_say(config: ModelConfig, names: set[str]) -> ModelConfig:
    """PersonaPlex is published without a configuration: its depth transformer has twice the steps of Moshi's."""
    if f"linears.{presets.personaplex_7b().depth_steps - 1}.weight" not in names:
        return config
    return replace(config, lm=presets.personaplex_7b(), model_type="personaplex")


def _check_task(task: dict[str, Any], where: str) -> None:
    """The numbers that say how long something takes, or how much there is of it."""
    for key, name, most in (
        ("stt_config", "audio_delay_seconds", LONGEST_SECONDS),
        ("stt_config", "audio_silence_prefix_seconds", LONGEST_SECONDS),
        ("tts_config", "audio_delay", LONGEST_SECONDS),
        ("tts_config", "second_stream_ahead", 100),
        ("tts_config", "max_speakers", 100),
    ):
        value = task.get(key, {}).get(name, 0)
        if not is_a(value, float) or not 0 <= value <= most:
            raise InputError(f"{where}: {key}: {name} is a number from 0 to {most:g}, not {shown(value)}")


def _sampling(f: Fields) -> Sampling:
    greedy = not f.take("use_sampling", bool, True)
    audio = f.take("temp", float, Sampling.temperature)
    text = f.take("temp_text", float, f.take("text_temp", float, Sampling.text_temperature))
    top_k, text_top_k = f.take("top_k", int, Sampling.top_k), f.take("top_k_text", int, Sampling.text_top_k)
    guidance = f.take("cfg_coef", float | None, None)
    f.finish()
    return f.build(
        Sampling,
        temperature=0.0 if greedy else audio,
        top_k=top_k,
        text_temperature=0.0 if greedy else text,
        text_top_k=text_top_k,
        guidance=1.0 if guidance is None else guidance,
    )


def _lm(f: Fields, model_type: str) -> LMConfig:
    dim, scale = f.take("dim", int), f.take("hidden_scale", float, 4.0)
    f.expect(causal=True, norm_emb=False, bias_proj=False)
    gating = f.take("gating", str, "none")
    if gating not in ("silu", "none"):
        raise InputError(f"{f.where}: gating {gating!r} is not supported")
    temporal = f.build(
        TransformerConfig,
        dim=dim,
        heads=f.take("num_heads", int),
        layers=f.take("num_layers", int),
        feedforward=int(scale * dim),
        context=f.take("context", int),
        norm=f.take("norm", str, "layer_norm"),
        gated=gating == "silu",
        layer_scale=f.take("layer_scale", float | None, None),
        positions=f.take("positional_embedding", str, "sin"),
        max_period=f.take("max_period", float, 10_000.0),
        kv_repeat=f.take("kv_repeat", int, 1),
        cross_attention=f.take("cross_attention", bool, False),
    )
    text_card = f.take("text_card", int)
    second = f.take("demux_second_text_stream", bool, False)
    second = f.take("demux_second_stream", bool, second)
    depth_steps = f.take("dep_q", int, 8)
    depth = _depth(f, depth_steps, scale, temporal)
    config = f.build(
        LMConfig,
        temporal=temporal,
        depth=depth,
        audio_streams=f.take("n_q", int),
        delays=tuple(f.take("delays", list[int])),
        card=f.take("card", int),
        text_card=text_card,
        text_card_out=f.take("text_card_out", int | None, None) or text_card,
        pad_id=f.take("existing_text_padding_id", int, 3),
        epad_id=f.take("existing_text_end_padding_id", int, 0),
        second_text_stream=second,
        extra_heads=f.take("extra_heads_num_heads", int, 0),
        extra_heads_dim=f.take("extra_heads_dim", int, 6),
        conditioning=conditioning(f),
        told=depth_steps // 2 if model_type == "personaplex" else 0,
        retrieval_token=f.take("rag_token_id", int | None, None),
    )
    f.finish()
    return config


def _depth(f: Fields, dep_q: int, scale: float, temporal: TransformerConfig) -> DepthConfig | None:
    """The keys of the depth transformer, which by default are the temporal transformer's. A model without one (speech
    recognition) may still carry them."""
    f.expect(depformer_causal=True)
    f.take("depformer_context", float | None, None)  # no meaning in a frame of at most 64 steps
    marked = f.take("depformer_pos_emb", str, "sin")
    max_period = f.take("depformer_max_period", float | None, None) or temporal.max_period
    if marked not in ("sin", "none"):
        raise InputError(f"{f.where}: depformer_pos_emb {marked!r} is not supported")
    gating = f.take("depformer_gating", str, "silu" if temporal.gated else "none")
    layer_scale = f.take("depformer_layer_scale", float | None, temporal.layer_scale)
    own_weights = f.take("depformer_weights_per_step", bool, False)
    own_inputs = f.take("depformer_multi_linear", bool, False)
    schedule = f.take("depformer_weights_per_step_schedule", list[int] | None, None)
    dim = f.take("depformer_dim", int, 256)
    values = {
        "dim": dim,
        "feedforward": f.take("depformer_dim_feedforward", int | None, None) or int(scale * dim),
        "heads": f.take("depformer_num_heads", int, temporal.heads),
        "layers": f.take("depformer_num_layers", int, temporal.layers),
        "kv_repeat": f.take("depformer_kv_repeat", int, temporal.kv_repeat),
        "low_rank": f.take("depformer_low_rank_embeddings", int | None, None),
        "norm_out": f.take("depformer_norm", str | None, None),
        "max_period": max_period if marked == "sin" else None,
    }
    if dep_q == 0:
        return None
    if not 0 < dep_q <= 64:
        raise InputError(f"{f.where}: dep_q is a number of codebooks from 0 to 64, not {dep_q}")
    if gating != "silu" or layer_scale is not None or own_weights != own_inputs:
        raise InputError(
            f"{f.where}: a depth transformer needs silu gating, no layer scale, and "
            "depformer_weights_per_step and depformer_multi_linear both true or both false"
        )
    if not own_weights:
        schedule = [0] * dep_q
    elif schedule is None:
        schedule = list(range(dep_q))
    if len(schedule) != dep_q:
        raise InputError(
            f"{f.where}: depformer_weights_per_step_schedule must have a number for each of {dep_q} steps"
        )
    return f.build(DepthConfig, schedule=tuple(schedule), **values)


def codec_config(values: dict[str, Any], codebooks: int, where: str = "mimi_config.json") -> CodecConfig:
    """Reads a codec's configuration. `codebooks`: how many of its codebooks the model uses."""
    f = Fields(values, where)
    f.expect(channels=1)
    s, t, q = f.inside("seanet"), f.inside("transformer"), f.inside("quantizer")
    s.expect(
        channels=1, causal=True, activation="ELU", disable_norm_outer_blocks=0, norm="none", pad_mode="constant",
        true_skip=True,
    )  # fmt: skip
    seanet = s.build(
        SeanetConfig,
        dim=s.take("dimension", int),
        filters=s.take("n_filters", int),
        ratios=tuple(s.take("ratios", list[int])),
        kernel=s.take("kernel_size", int),
        last_kernel=s.take("last_kernel_size", int),
        residual_kernel=s.take("residual_kernel_size", int),
        residual_layers=s.take("n_residual_layers", int),
        dilation_base=s.take("dilation_base", int),
        compress=s.take("compress", int),
    )
    t.expect(
        causal=True, conv_layout=True, gating="none", positional_embedding="rope", d_model=seanet.dim,
        input_dimension=seanet.dim, output_dimensions=[seanet.dim],
    )  # fmt: skip
    transformer = t.build(
        TransformerConfig,
        dim=seanet.dim,
        heads=t.take("num_heads", int),
        layers=t.take("num_layers", int),
        feedforward=t.take("dim_feedforward", int),
        context=t.take("context", int),
        norm=t.take("norm", str),
        layer_scale=t.take("layer_scale", float | None),
        max_period=t.take("max_period", float),
    )
    q.expect(input_dimension=seanet.dim, output_dimension=seanet.dim)
    quantizer = q.build(
        QuantizerConfig,
        dim=q.take("dimension", int),
        codebooks=q.take("n_q", int),
        entries=q.take("bins", int),
        semantic=q.take("n_q_semantic", int, 1),
    )
    rates = f.take("sample_rate", int), f.take("frame_rate", float)
    own: dict[str, Any] = {}
    if f.take("decoder", str, "seanet") == "frames":  # our own: see `codec.frames`
        own["frames"] = _all_sizes(f.inside("frames"), FramesConfig)
    if f.take("encoder", str, "seanet") == "whisper":  # see `codec.whisper` and `codec.acoustic`
        own["whisper"] = _all_sizes(f.inside("whisper"), WhisperConfig)
        own["acoustic"] = _all_sizes(f.inside("acoustic"), AcousticConfig)
    for part in (s, t, q, f):
        part.finish()
    return f.build(CodecConfig, *rates, codebooks, seanet, transformer, quantizer, **own)


def _all_sizes(f: Fields, make: type[T]) -> T:
    """A dataclass whose fields are whole numbers, all of which must be there."""
    built = f.build(make, **{field.name: f.take(field.name, int) for field in fields(make)})  # pyright: ignore[reportArgumentType]
    f.finish()
    return built
