"""Writing a model in the published PyTorch format, so that the reference package and its relatives open it."""

import json
import math
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from duologue.codec import Codec
from duologue.config import CodecConfig, LMConfig
from duologue.config_conditions import ConditionerConfig
from duologue.errors import InputError
from duologue.files import atomic_write
from duologue.lm import LM
from duologue.weights.names import codec_sources, fillers, lm_sources
from duologue.weights.read import Sources
from duologue.weights.save import Encode, as_exact_int8, as_stored, linears, save_tensors, tables


def write_codec(path: Path, codec: Codec, dtype: torch.dtype = torch.float32) -> None:
    """The codec's weights as `path` (.safetensors), and its configuration beside it (.json). `dtype` int8: matrices in
    8 bits and a scale a row, all else in float16."""
    encode = as_exact_int8(linears(codec)) if dtype == torch.int8 else as_stored(dtype)
    _write_tensors(path, codec.state_dict(), partial(codec_sources, config=codec.config), encode)
    write_json(path.with_suffix(".json"), codec_json(codec.config))


def write_lm(path: Path, lm: LM, dtype: torch.dtype = torch.float32) -> None:
    """The language model's weights as `path` (.safetensors), as `write_codec` writes them; embedding tables are
    matrices too. Its `config.json` is `lm_json` and the names of files."""
    extra = {name: torch.zeros(shape) for name, shape in fillers(lm.config).items()}
    encode = as_exact_int8(linears(lm) | tables(lm)) if dtype == torch.int8 else as_stored(dtype)
    _write_tensors(path, lm.state_dict() | extra, partial(lm_sources, config=lm.config), encode)


def write_json(path: Path, values: dict[str, Any]) -> None:
    with atomic_write(path) as temporary:
        temporary.write_text(json.dumps(values, indent=2) + "\n")


def _write_tensors(path: Path, tensors: dict[str, Tensor], sources: Sources, encode: Encode) -> None:
    values = {ours: value.detach().cpu() for ours, value in tensors.items()}
    with atomic_write(path) as temporary:
        save_tensors(temporary, values.items(), values, sources, encode)


def codec_json(config: CodecConfig) -> dict[str, Any]:
    """The codec's configuration as the reference reads it (`mimi_config_name`)."""
    s, t, q = config.seanet, config.transformer, config.quantizer
    own: dict[str, Any] = {"decoder": "frames", "frames": asdict(config.frames)} if config.frames else {}
    if config.whisper and config.acoustic:
        own |= {"encoder": "whisper", "whisper": asdict(config.whisper), "acoustic": asdict(config.acoustic)}
    semantic = {"n_q_semantic": q.semantic} if q.semantic > 1 else {}
    return {
        **own,
        "sample_rate": config.sample_rate,
        "channels": 1,
        "frame_rate": config.frame_rate,
        "seanet": {
            "channels": 1,
            "dimension": s.dim,
            "causal": True,
            "n_filters": s.filters,
            "n_residual_layers": s.residual_layers,
            "activation": "ELU",
            "compress": s.compress,
            "dilation_base": s.dilation_base,
            "disable_norm_outer_blocks": 0,
            "kernel_size": s.kernel,
            "residual_kernel_size": s.residual_kernel,
            "last_kernel_size": s.last_kernel,
            "norm": "none",
            "pad_mode": "constant",
            "ratios": list(s.ratios),
            "true_skip": True,
        },
        "quantizer": {
            "dimension": q.dim,
            "n_q": q.codebooks,
            **semantic,
            "bins": q.entries,
            "input_dimension": s.dim,
            "output_dimension": s.dim,
        },
        "transformer": {
            "d_model": t.dim,
            "num_heads": t.heads,
            "num_layers": t.layers,
            "causal": True,
            "layer_scale": t.layer_scale,
            "context": t.context,
            "conv_layout": True,
            "max_period": t.max_period,
            "gating": "none",
            "norm": t.norm,
            "positional_embedding": t.positions,
            "dim_feedforward": t.feedforward,
            "input_dimension": s.dim,
            "output_dimensions": [s.dim],
        },
    }


def lm_json(config: LMConfig) -> dict[str, Any]:
    """The language model's part of `config.json`."""
    t, d, c = config.temporal, config.depth, config.conditioning
    if c.encoder is not None:
        raise InputError(
            "a model with an encoder of references is used as it was published: it cannot be written"
        )
    scale = _ratio(t.feedforward, t.dim)
    values: dict[str, Any] = {
        "card": config.card,
        "n_q": config.audio_streams,
        "dep_q": config.depth_steps,
        "delays": list(config.delays),
        "dim": t.dim,
        "text_card": config.text_card,
        "text_card_out": config.text_card_out,
        "existing_text_padding_id": config.pad_id,
        "existing_text_end_padding_id": config.epad_id,
        "num_heads": t.heads,
        "num_layers": t.layers,
        "hidden_scale": int(scale) if scale == int(scale) else scale,
        "causal": True,
        "layer_scale": t.layer_scale,
        "context": t.context,
        "max_period": t.max_period,
        "gating": "silu" if t.gated else "none",
        "norm": t.norm,
        "positional_embedding": t.positions,
        "kv_repeat": t.kv_repeat,
        "cross_attention": t.cross_attention,
        "demux_second_stream": config.second_text_stream,
        "extra_heads_num_heads": config.extra_heads,
        "extra_heads_dim": config.extra_heads_dim,
    }
    if d is None:  # what the MLX reference asks for all the same
        values |= {
            "depformer_dim": t.dim,
            "depformer_num_heads": t.heads,
            "depformer_num_layers": 1,
            "depformer_dim_feedforward": t.feedforward,
            "depformer_pos_emb": "none",
            "depformer_multi_linear": True,
        }
    else:
        values |= {
            "depformer_dim": d.dim,
            "depformer_dim_feedforward": d.feedforward,
            "depformer_num_heads": d.heads,
            "depformer_num_layers": d.layers,
            "depformer_kv_repeat": d.kv_repeat,
            "depformer_gating": "silu",
            "depformer_pos_emb": "none",
            "depformer_multi_linear": True,
            "depformer_weights_per_step": True,
            "depformer_weights_per_step_schedule": list(d.schedule),
            "depformer_low_rank_embeddings": d.low_rank,
            "depformer_norm": d.norm_out,
        }
        if d.max_period is not None:
            values |= {"depformer_pos_emb": "sin", "depformer_max_period": d.max_period}
    if config.retrieval_token is not None:
        values["rag_token_id"] = config.retrieval_token
    if c.conditioners:
        values["conditioners"] = {
            one.name: {"type": one.kind, one.kind: _conditioner_json(one)} for one in c.conditioners
        }
        values["fuser"] = {
            "sum": list(c.summed),
            "cross": list(c.crossed),
            "prepend": list(c.prepended),
            "cross_attention_pos_emb": bool(c.cross_positions),
            "cross_attention_pos_emb_scale": c.cross_positions or 1.0,
        }
    return values


def _ratio(feedforward: int, dim: int) -> float:
    """`hidden_scale`, from which `int(hidden_scale * dim)` gives the width again."""
    scale = feedforward / dim
    return scale if int(scale * dim) == feedforward else math.nextafter(scale, math.inf)


def _conditioner_json(one: ConditionerConfig) -> dict[str, Any]:
    if one.kind == "tensor":
        return {"dim": one.dim}
    names = {"possible_values": list(one.values)} if one.values else {}
    return {"dim": one.dim, "n_bins": one.bins, "tokenizer": "noop"} | names
