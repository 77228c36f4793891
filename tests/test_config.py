"""Shapes that can be, and shapes that cannot."""

from dataclasses import replace

import pytest

from duologue import presets
from duologue.config import (
    CodecConfig,
    DepthConfig,
    QuantizerConfig,
    SeanetConfig,
    TransformerConfig,
)
from duologue.config_conditions import ConditionerConfig
from duologue.errors import InputError

TEMPORAL = TransformerConfig(16, 4, 1, 32, 8)
DEPTH = DepthConfig(8, 2, 1, 32, (0, 1, 1))


def test_mimi() -> None:
    config = presets.mimi()
    assert (config.frame_size, config.hop, config.resample) == (1920, 960, 2)
    assert presets.mimi(32).codebooks == 32


def test_moshi() -> None:
    config = presets.moshi_7b()
    assert (config.streams, config.depth_steps, config.heard) == (17, 8, 8)
    assert config.depth is not None
    assert config.depth.weight_sets == 8
    assert config.delays == (0, 0, 1, 1, 1, 1, 1, 1, 1, 0, 1, 1, 1, 1, 1, 1, 1)
    assert DEPTH.weight_sets == 2


@pytest.mark.parametrize("preset", [presets.tiny_codec, presets.nano_codec, presets.mimi])
def test_codecs_have_one_time_base(preset) -> None:
    assert (preset().frame_size, preset().frame_rate, preset().sample_rate) == (1920, 12.5, 24_000)


@pytest.mark.parametrize(
    ("config", "wrong", "message"),
    [
        (TEMPORAL, {"dim": 0}, "dim is a whole number from 1"),
        (TEMPORAL, {"layers": -1}, "layers is a whole number from 1"),
        (TEMPORAL, {"heads": 3}, "does not split into 3 heads"),
        (TEMPORAL, {"heads": 16}, "heads of 1 channels cannot be rotated"),
        (TEMPORAL, {"kv_repeat": 3}, "do not share keys in groups of 3"),
        (TEMPORAL, {"context": 0}, "at least 1 position, not 0"),
        (TEMPORAL, {"norm": "none"}, "norm 'none' is not one of"),
        (TEMPORAL, {"positions": "alibi"}, "positions 'alibi' are not one of"),
        (TEMPORAL, {"max_period": 0.0}, "max_period is above 0"),
        (DEPTH, {"schedule": ()}, "the schedule"),
        (DEPTH, {"schedule": (0, 2)}, "without gaps"),
        (DEPTH, {"schedule": (-1, 0)}, "without gaps"),
        (DEPTH, {"norm_out": "x"}, "norm 'x'"),
        (DEPTH, {"heads": 3}, "does not split into 3 heads"),
        (DEPTH, {"low_rank": 0}, "low_rank"),
        (SeanetConfig(), {"ratios": (8, 0)}, "ratios"),
        (SeanetConfig(), {"compress": 65}, "leave none"),
        (QuantizerConfig(), {"codebooks": 0}, "codebooks"),
        (CodecConfig(), {"codebooks": 33}, "33 codebooks are in use, but the codec has 32"),
        (CodecConfig(), {"codebooks": 0}, "0 codebooks"),
        (CodecConfig(), {"frame_rate": 13.0}, "do not give 13.0 frames a second"),
        (CodecConfig(), {"sample_rate": 16_000}, "16000 Hz in strides of 960"),
        (ConditionerConfig("a", "lut", 4, 2), {"values": ("x", "y", "z")}, "3 values do not fit into 2 bins"),
        (ConditionerConfig("a", "tensor", 4), {"dim": 0}, "dim"),
        (presets.tiny_lm(), {"delays": (0, 1)}, "17 streams need a delay"),
        (presets.tiny_lm(), {"delays": (*[0] * 16, -1)}, "17 streams need a delay from 0 up"),
        (presets.tiny_lm(), {"audio_streams": 4, "delays": (0,) * 5}, "speaks 8 codebooks but has 4"),
        (presets.tiny_lm(), {"pad_id": 420}, "padding token 420"),
        (presets.tiny_lm(), {"epad_id": -1}, "padding token -1"),
        (presets.tiny_lm(), {"extra_heads": -1}, "extra_heads"),
        (presets.tiny_lm(), {"temporal": replace(TEMPORAL, cross_attention=True)}, "conditions to attend to"),
    ],
)
def test_what_cannot_be(config, wrong: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        replace(config, **wrong)
