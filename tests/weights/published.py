"""The `config.json` of the published models, as far as their keys are known."""

from typing import Any

_HELIUM: dict[str, Any] = {
    "card": 2048,
    "existing_text_padding_id": 3,
    "hidden_scale": 4.125,
    "causal": True,
    "layer_scale": None,
    "max_period": 10_000,
    "gating": "silu",
    "norm": "rms_norm_f32",
    "positional_embedding": "rope",
    "cross_attention": False,
    "conditioners": {},
}
_DEPTH: dict[str, Any] = {
    "depformer_dim": 1024,
    "depformer_num_heads": 16,
    "depformer_num_layers": 6,
    "depformer_dim_feedforward": 4224,
    "depformer_layer_scale": None,
    "depformer_multi_linear": True,
    "depformer_context": 8,
    "depformer_max_period": 10_000,
    "depformer_gating": "silu",
    "depformer_pos_emb": "none",
    "depformer_weights_per_step": True,
}
_STT: dict[str, Any] = _HELIUM | {
    "n_q": 32,
    "dep_q": 0,
    "delays": [0] * 33,
    "dim": 2048,
    "max_period": 100_000.0,
    "model_type": "stt",
    "lm_gen_config": {"temp": 0.0, "temp_text": 0.0, "top_k": 250, "top_k_text": 50},
}
_TTS: dict[str, Any] = (
    _HELIUM
    | _DEPTH
    | {
        "context": 500,
        "text_card": 8000,
        "demux_second_stream": True,
        "depformer_num_layers": 4,
        "depformer_dim_feedforward": 3072,
        "depformer_low_rank_embeddings": 128,
        "tts_config": {"audio_delay": 1.28, "second_stream_ahead": 2},
        "model_id": {"sig": "d6ef30c7", "epoch": 1000},
        "lm_gen_config": {"temp": 0.6, "text_temp": 0.6},
        "model_type": "tts",
    }
)
_HIBIKI: dict[str, Any] = (
    _HELIUM
    | _DEPTH
    | {
        "context": 500,
        "max_period": 100_000,
        "text_card": 48_000,
        "conditioners": {
            "description": {
                "type": "lut",
                "lut": {
                    "n_bins": 31,
                    "dim": 16,
                    "tokenizer": "noop",
                    "possible_values": ["very_bad", "bad", "neutral", "good", "very_good"],
                },
            }
        },
        "fuser": {
            "cross_attention_pos_emb": False,
            "cross_attention_pos_emb_scale": 1,
            "sum": ["description"],
            "prepend": [],
            "cross": [],
        },
        "model_type": "hibiki",
    }
)  # fmt: skip

MOSHIKO_7B = (
    _HELIUM
    | _DEPTH
    | {
        "n_q": 16,
        "dep_q": 8,
        "delays": [0, 0, 1, 1, 1, 1, 1, 1, 1, 0, 1, 1, 1, 1, 1, 1, 1],
        "text_card": 32_000,
        "dim": 4096,
        "num_heads": 32,
        "num_layers": 32,
        "context": 3000,
        "model_type": "moshi",
    }
)
STT_1B = _STT | {
    "num_heads": 16,
    "num_layers": 16,
    "context": 750,
    "text_card": 8000,
    "stt_config": {"audio_delay_seconds": 0.5, "audio_silence_prefix_seconds": 0.0},
}
STT_2_6B = (
    _STT
    | _DEPTH
    | {
        "num_heads": 32,
        "num_layers": 48,
        "context": 375,
        "text_card": 4000,
        "stt_config": {"audio_delay_seconds": 2.5, "audio_silence_prefix_seconds": 1.0},
    }
)
TTS_1_6B = _TTS | {
    "n_q": 32,
    "dep_q": 32,
    "delays": [0, 0, *[2] * 31],
    "text_card_out": None,
    "dim": 2048,
    "num_heads": 16,
    "num_layers": 16,
    "depformer_weights_per_step_schedule": [*range(8), *[8] * 8, *[9] * 8, *[10] * 8],
    "cross_attention": True,
    "conditioners": {
        "speaker_wavs": {"type": "tensor", "tensor": {"dim": 512}},
        "cfg": {
            "type": "lut",
            "lut": {"n_bins": 7, "dim": 16, "tokenizer": "noop",
                    "possible_values": ["1.0", "1.5", "2.0", "2.5", "3.0", "3.5", "4.0"]},
        },
        "control": {"type": "lut", "lut": {"n_bins": 1, "dim": 2048, "tokenizer": "noop", "possible_values": ["ok"]}},
    },
    "fuser": {
        "cross_attention_pos_emb": True,
        "cross_attention_pos_emb_scale": 1,
        "sum": ["control", "cfg"],
        "prepend": [],
        "cross": ["speaker_wavs"],
    },
}  # fmt: skip
TTS_0_75B = _TTS | {
    "n_q": 16,
    "dep_q": 16,
    "delays": [0, 0, *[2] * 15],
    "text_card_out": 5,
    "dim": 1024,
    "num_heads": 16,
    "num_layers": 24,
    "depformer_weights_per_step_schedule": [*range(8), *[8] * 8],
}
HIBIKI_2B = _HIBIKI | {
    "n_q": 32,
    "dep_q": 16,
    "delays": [0, *[0, *[2] * 15] * 2],
    "dim": 2560,
    "num_heads": 20,
    "num_layers": 24,
    "depformer_weights_per_step_schedule": [*range(8), *[8] * 8],
}
HIBIKI_1B = _HIBIKI | {
    "n_q": 16,
    "dep_q": 8,
    "delays": [0, *[0, *[2] * 7] * 2],
    "dim": 2048,
    "num_heads": 16,
    "num_layers": 16,
}
HIBIKI_ZERO_3B = _HIBIKI | {
    "n_q": 32,
    "dep_q": 16,
    "delays": [0, *[0, *[2] * 15] * 2],
    "dim": 2048,
    "num_heads": 16,
    "num_layers": 28,
    "kv_repeat": 2,
    "hidden_scale": 6,
    "context": 3000,
    "max_period": 20_000,
    "positional_embedding": "rope_concat",
    "depformer_norm": "layer_norm",
    "depformer_weights_per_step_schedule": [*range(8), *[8] * 8],
}
MIMI: dict[str, Any] = {
    "sample_rate": 24_000,
    "channels": 1,
    "frame_rate": 12.5,
    "seanet": {
        "channels": 1,
        "dimension": 512,
        "causal": True,
        "n_filters": 64,
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
    "quantizer": {"dimension": 256, "n_q": 32, "bins": 2048, "input_dimension": 512, "output_dimension": 512},
    "transformer": {
        "d_model": 512,
        "num_heads": 8,
        "num_layers": 8,
        "causal": True,
        "layer_scale": 0.01,
        "context": 250,
        "conv_layout": True,
        "max_period": 10_000,
        "gating": "none",
        "norm": "layer_norm",
        "positional_embedding": "rope",
        "dim_feedforward": 2048,
        "input_dimension": 512,
        "output_dimensions": [512],
    },
}

_FIRST = {
    "n_bins": 2,
    "dim": 16,
    "tokenizer": "noop",
    "possible_values": ["SPEAKER_MAIN", "SPEAKER_OTHER"],
}
_REFERENCE = {
    "embedder_params": {"compress_rates": [-4]},
    "bridge_module": {"in_dim": 3072, "out_dim": 4096, "hidden_dim": 2048},
    "hf_repo": "kyutai/ARC4_Encoder_Llama",
    "finetune": False,
    "ref_dropout": 0.2,
    "frame_rate": 12.5,
    "learn_padding": True,
    "rag_time_sampling_params": {"start_delay": 1.0, "end_gap": 1.0, "random_sampling_proba": 0.2},
}
MOSHIKA_RAG: dict[str, Any] = {
    "card": 2048,
    "n_q": 16,
    "dep_q": 8,
    "delays": [0, 0, 1, 1, 1, 1, 1, 1, 1, 0, 1, 1, 1, 1, 1, 1, 1],
    "dim": 4096,
    "text_card": 32_000,
    "existing_text_padding_id": 3,
    "rag_token_id": 4,
    "num_heads": 32,
    "num_layers": 32,
    "hidden_scale": 4.125,
    "causal": True,
    "layer_scale": None,
    "context": 3000,
    "max_period": 10_000,
    "gating": "silu",
    "norm": "rms_norm_f32",
    "positional_embedding": "rope",
    "depformer_dim": 1024,
    "depformer_num_heads": 16,
    "depformer_num_layers": 6,
    "depformer_dim_feedforward": None,
    "depformer_multi_linear": True,
    "depformer_pos_emb": "none",
    "depformer_weights_per_step": True,
    "demux_second_stream": False,
    "text_card_out": None,
    "conditioners": {
        "first_speaker": {"type": "lut", "lut": _FIRST},
        "reference_with_time": {"type": "multi_arc_encoder", "multi_arc_encoder": _REFERENCE},
    },
    "fuser": {
        "cross_attention_pos_emb": False,
        "cross_attention_pos_emb_scale": 1,
        "sum": [],
        "streaming_sum": ["reference_with_time"],
        "prepend": ["first_speaker"],
        "cross": [],
    },
    "cross_attention": False,
    "model_id": {},
}

MODELS = {
    name: value for name, value in globals().items() if name[0].isupper() and name not in ("MIMI", "Any")
}
