"""What `make_reference.py` builds: configuration, seed, and weight gains of each golden case.

Gains scale the weights whose name contains the key (the first match counts), so that activations, logits and
audio stay of order one.
"""


def _mimi(n_filters: int, dim: int, n_q: int, bins: int, code_dim: int, layers: int, context: int) -> dict:
    return {
        "sample_rate": 24000,
        "channels": 1,
        "frame_rate": 12.5,
        "seanet": {
            "channels": 1,
            "dimension": dim,
            "causal": True,
            "n_filters": n_filters,
            "n_residual_layers": 1,
            "activation": "ELU",
            "compress": 2,
            "dilation_base": 2,
            "disable_norm_outer_blocks": 0,
            "kernel_size": 7,
            "residual_kernel_size": 3,
            "last_kernel_size": 3,
            "norm": "none",
            "pad_mode": "constant",
            "ratios": [8, 6, 5, 4],
            "true_skip": True,
        },
        "quantizer": {
            "dimension": code_dim,
            "n_q": n_q,
            "bins": bins,
            "input_dimension": dim,
            "output_dimension": dim,
        },
        "transformer": {
            "d_model": dim,
            "num_heads": 4,
            "num_layers": layers,
            "causal": True,
            "layer_scale": 0.01,
            "context": context,
            "conv_layout": True,
            "max_period": 10000,
            "gating": "none",
            "norm": "layer_norm",
            "positional_embedding": "rope",
            "dim_feedforward": 2 * dim,
            "input_dimension": dim,
            "output_dimensions": [dim],
        },
    }


MIMI_GAINS = {"in_proj": 1.5, "decoder.model.14.": 0.3, "encoder.model": 1.3, "decoder.model": 1.1}

MIMI_CASES = {
    "mimi_small": {
        "config": _mimi(2, 32, n_q=8, bins=64, code_dim=16, layers=2, context=12),
        "n_q": 8,
        "batch": 2,
        "frames": 7,
        "seed": 117,
        "gains": MIMI_GAINS,
        "old_names": False,
    },
    "mimi_32": {
        "config": _mimi(2, 16, n_q=32, bins=32, code_dim=8, layers=1, context=6),
        "n_q": 8,
        "batch": 1,
        "frames": 4,
        "seed": 223,
        "gains": MIMI_GAINS,
        "old_names": True,
    },
}

# keys of a published config.json that do not describe the language model
NOT_LM = (
    "moshi_name",
    "mimi_name",
    "mimi_config_name",
    "tokenizer_name",
    "lora_name",
    "model_type",
    "lm_gen_config",
    "tts_config",
    "stt_config",
    "model_id",
)

_LM = {
    "card": 24,
    "text_card": 48,
    "existing_text_padding_id": 3,
    "dim": 24,
    "num_heads": 3,
    "num_layers": 2,
    "hidden_scale": 4.125,
    "causal": True,
    "layer_scale": None,
    "context": 16,
    "max_period": 10000,
    "gating": "silu",
    "norm": "rms_norm_f32",
    "positional_embedding": "rope",
    "depformer_dim": 16,
    "depformer_num_heads": 2,
    "depformer_num_layers": 2,
    "depformer_layer_scale": None,
    "depformer_multi_linear": True,
    "depformer_context": 8,
    "depformer_max_period": 10000,
    "depformer_gating": "silu",
    "depformer_pos_emb": "none",
    "depformer_weights_per_step": True,
}
LM_GAINS = {"in_proj": 1.6, "text_linear": 2.0, "linears": 2.0}


def _keep(steps: int) -> list[int]:
    """Steps whose logits are stored: the first, the ones around the context's end, the last."""
    return [0, 1, 2, 15, 16, 17, steps - 1]


_DEFAULTS = {
    "not_lm": NOT_LM,
    "gains": LM_GAINS,
    "keep": _keep,
    "batch": 2,
    "steps": 60,
    "forced_steps": 0,
    "forward_steps": 20,
    "old_names": False,
}
_TEXT_SPEAKER = {
    "cross_attention_pos_emb": True,
    "cross_attention_pos_emb_scale": 1,
    "sum": ["control", "cfg"],
    "prepend": [],
    "cross": ["speaker_wavs"],
}

LM_CASES = {
    # the shape of Moshi 7B: 17 streams, weights of its own for every depth step
    "lm_moshi": _DEFAULTS
    | {
        "config": _LM
        | {
            "n_q": 16,
            "dep_q": 8,
            "delays": [0, 0, *[1] * 7, 0, *[1] * 7],
            "depformer_dim_feedforward": 66,
            "moshi_name": "model.safetensors",
            "model_type": "moshi",
        },
        "seed": 304,
        "steps": 200,
        "forced_steps": 40,
        "old_names": True,
    },
    # Hibiki 2B's streams and schedule, with the low-rank and two-word embeddings of the TTS models
    "lm_shared": _DEFAULTS
    | {
        "config": _LM
        | {
            "n_q": 32,
            "dep_q": 16,
            "delays": [0, *([0, *[2] * 15] * 2)],
            "card": 16,
            "text_card": 24,
            "hidden_scale": 4,
            "num_layers": 1,
            "depformer_dim_feedforward": 48,
            "depformer_num_layers": 1,
            "depformer_weights_per_step_schedule": [0, 1, 2, 3, 4, 5, 6, 7, *[8] * 8],
            "depformer_low_rank_embeddings": 8,
            "demux_second_stream": True,
            "text_card_out": None,
        },
        "seed": 404,
        "forced_steps": 24,
    },
    # the defaults of the reference where a configuration says nothing: sinusoids that are added, layer norms, no gates
    "lm_sin": _DEFAULTS
    | {
        "config": {
            "n_q": 3,
            "dep_q": 3,
            "delays": [0, 1, 2, 4],
            "card": 32,
            "text_card": 48,
            "dim": 16,
            "num_layers": 2,
            "num_heads": 1,
            "hidden_scale": 1,
            "context": 16,
            "depformer_dim": 16,
            "depformer_multi_linear": True,
            "depformer_weights_per_step": True,
            "depformer_weights_per_step_schedule": [0, 1, 1],
            "depformer_low_rank_embeddings": 8,
            "depformer_num_heads": 1,
            "depformer_gating": "silu",
        },
        "seed": 801,
        "forced_steps": 40,
    },
    # streaming speech to text: no depth transformer, extra heads for the pause
    "lm_heads": _DEFAULTS
    | {
        "config": _LM
        | {
            "n_q": 4,
            "dep_q": 0,
            "delays": [0] * 5,
            "max_period": 100000.0,
            "extra_heads_num_heads": 4,
            "extra_heads_dim": 6,
            "stt_config": {"audio_delay_seconds": 0.5, "audio_silence_prefix_seconds": 0.0},
            "lm_gen_config": {"temp": 0.0, "temp_text": 0.0, "top_k": 250, "top_k_text": 50},
            "model_type": "stt",
        },
        "seed": 501,
    },
    # TTS 1.6B: speaker by cross-attention, control and guidance by sum, no user stream
    "lm_cond": _DEFAULTS
    | {
        "config": _LM
        | {
            "n_q": 8,
            "dep_q": 8,
            "delays": [0, 0, *[2] * 7],
            "text_card": 24,
            "text_card_out": 5,
            "depformer_dim_feedforward": 48,
            "depformer_num_layers": 1,
            "depformer_weights_per_step_schedule": [0, 1, 2, 3, *[4] * 4],
            "depformer_low_rank_embeddings": 8,
            "demux_second_stream": True,
            "cross_attention": True,
            "conditioners": {
                "speaker_wavs": {"type": "tensor", "tensor": {"dim": 12}},
                "cfg": {
                    "type": "lut",
                    "lut": {
                        "n_bins": 7,
                        "dim": 16,
                        "tokenizer": "noop",
                        "possible_values": ["1.0", "1.5", "2.0", "2.5", "3.0", "3.5", "4.0"],
                    },
                },
                "control": {
                    "type": "lut",
                    "lut": {"n_bins": 1, "dim": 32, "tokenizer": "noop", "possible_values": ["ok"]},
                },
            },
            "fuser": _TEXT_SPEAKER,
            "tts_config": {"audio_delay": 1.28, "second_stream_ahead": 2},
            "lm_gen_config": {"temp": 0.6, "text_temp": 0.6},
            "model_type": "tts",
            "model_id": {"sig": "00000000", "epoch": 1},
        },
        "texts": [{"cfg": "2.0", "control": "ok"}, {"cfg": None, "control": None}],
        "tensor_frames": 10,
        "tensor_lengths": [10, 6],
        "seed": 602,
        "forced_steps": 40,
    },
    # Hibiki and Hibiki-Zero: a summed description, grouped keys, split rotary layout, depth output norms
    "lm_hibiki": _DEFAULTS
    | {
        "config": _LM
        | {
            "n_q": 8,
            "dep_q": 4,
            "delays": [0, *([0, *[2] * 3] * 2)],
            "dim": 32,
            "num_heads": 4,
            "hidden_scale": 6,
            "kv_repeat": 2,
            "positional_embedding": "rope_concat",
            "max_period": 20000,
            "depformer_norm": "layer_norm",
            "depformer_num_heads": 4,
            "depformer_num_layers": 1,
            "depformer_weights_per_step_schedule": [0, 1, 2, 2],
            "conditioners": {
                "description": {
                    "type": "lut",
                    "lut": {
                        "n_bins": 31,
                        "dim": 16,
                        "tokenizer": "noop",
                        "possible_values": ["very_bad", "bad", "good", "very_good"],
                    },
                },
            },
            "fuser": {"sum": ["description"], "cross": []},
            "cross_attention": False,
            "model_type": "hibiki",
        },
        "texts": [{"description": "very_good"}, {"description": None}],
        "seed": 700,
    },
}
