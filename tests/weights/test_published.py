"""The published configurations: what they are, and what is refused."""

import json
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
import torch

from duologue import presets
from duologue.codec import Codec
from duologue.config import LMConfig
from duologue.errors import InputError
from duologue.lm import LM, Sampling
from duologue.weights.fields import read_json
from duologue.weights.names import codec_sources, lm_sources
from duologue.weights.published import codec_config, model_config
from duologue.weights.write import lm_json
from tests import golden
from tests.golden.cases import LM_CASES
from tests.weights.published import HIBIKI_2B, MIMI, MODELS, MOSHIKO_7B, STT_1B, STT_2_6B, TTS_1_6B

# Parameters and tensors, as the reference package builds them from the same configurations (on the meta device; without
# the ones that no model reads).
SIZES = {
    "MOSHIKO_7B": (7_687_729_152, 439),
    "STT_1B": (989_204_480, 131),
    "STT_2_6B": (2_617_118_720, 323),
    "TTS_1_6B": (1_836_419_200, 497),
    "TTS_0_75B": (779_871_232, 375),
    "HIBIKI_2B": (3_171_962_880, 451),
    "HIBIKI_1B": (1_799_907_840, 346),
    "HIBIKI_ZERO_3B": (2_862_762_496, 507),
    "MOSHIKA_RAG": (7_687_798_832, 442),
}

VOICE = {"type": "tensor", "tensor": {"dim": 4}}


def meta(config: LMConfig) -> LM:
    with torch.device("meta"):
        return LM(config)


@pytest.mark.parametrize("name", MODELS)
def test_published_models_build(name: str) -> None:
    config = model_config(MODELS[name]).lm
    lm = meta(config)
    files = {lm_sources(ours, config)[-1].name for ours in lm.state_dict()}
    assert (sum(p.numel() for p in lm.parameters()), len(files)) == SIZES[name]


def test_mimi() -> None:
    assert codec_config(MIMI, 8) == presets.mimi()
    with torch.device("meta"):
        codec = Codec(presets.mimi(32))
    assert sum(p.numel() for p in codec.parameters()) == 79_308_609
    names = {codec_sources(ours, codec.config)[0].name for ours in codec.state_dict()}
    assert len(names) == 318
    assert presets.mimi().frame_size == 1920
    assert presets.mimi().resample == 2


def test_moshi_needs_no_config() -> None:
    assert model_config(MOSHIKO_7B).lm == presets.moshi_7b()
    empty = model_config({})
    assert empty.lm == presets.moshi_7b()
    assert (empty.lm_file, empty.tokenizer_file) == ("model.safetensors", "tokenizer_spm_32k_3.model")
    assert empty.codec_file == "tokenizer-e351c8d8-checkpoint125.safetensors"
    named = model_config({"moshi_name": "other.safetensors", "model_type": "moshi"})
    assert (named.lm, named.lm_file) == (presets.moshi_7b(), "other.safetensors")


def test_sampling_settings() -> None:
    assert model_config(STT_1B).sampling == Sampling(0.0, 250, 0.0, 50)
    assert model_config(TTS_1_6B).sampling == Sampling(0.6, 250, 0.6, 25)
    assert model_config({"lm_gen_config": {"use_sampling": False, "temp": 0.9}}).sampling == Sampling.greedy()
    assert model_config({}).sampling == Sampling()


def test_speech_recognition_has_no_depth_transformer() -> None:
    for values in (STT_1B, STT_2_6B):
        config = model_config(values).lm
        assert config.depth is None
        assert (config.depth_steps, config.heard) == (0, 32)


def each_key(values: dict[str, Any], path: tuple[str, ...] = ()):
    """The path of every key, inner objects' too."""
    for key, value in values.items():
        yield (*path, key)
        if isinstance(value, dict):
            yield from each_key(value, (*path, key))


def changed(values: dict[str, Any], path: tuple[str, ...], *new: Any) -> dict[str, Any]:
    """A copy with another value at `path`, or without that key."""
    head, *rest = path
    copy = dict(values)
    if rest:
        copy[head] = changed(values[head], tuple(rest), *new)
    elif new:
        copy[head] = new[0]
    else:
        del copy[head]
    return copy


def complaint(read: Callable[[], object]) -> str:
    """What is said about wrong values, or nothing if they are understood."""
    try:
        read()
    except InputError as error:
        return str(error)
    return ""


def variants(case: str):
    """Every configuration that differs from a golden case's in one key: another value, or none."""
    values = json.loads((golden.FOLDER / case / "config.json").read_text())
    for path in each_key(values):
        if path[0] not in ("tts_config", "stt_config", "model_id"):
            yield path, changed(values, path)
            for new in (None, "x", -1, 0, 3, 1.5, True, [1], {"x": 1}, 10**30):
                yield (*path, new), changed(values, path, new)


@pytest.mark.parametrize("case", ["lm_heads", "lm_cond", "lm_hibiki", "mimi_32"])
def test_every_wrong_value_is_understood_or_refused_in_a_line(case: str) -> None:
    """Either the model can be built, or the file is named and the reason given."""

    def build(values: dict[str, Any]) -> None:
        with torch.device("meta"):
            if case in LM_CASES:
                LM(replace(model_config(values, "the/file.json").lm, extra_heads=0))
            else:
                Codec(codec_config(values, 8, "the/file.json"))

    lines = [(path, complaint(partial(build, values))) for path, values in variants(case)]
    refused = [(path, line) for path, line in lines if line]
    assert len(refused) > len(lines) / 2
    assert not [both for both in refused if "\n" in both[1] or not both[1].startswith("the/file.json")]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"dimm": 3}, "config.json: unknown key 'dimm'"),
        ({"dim": "4096"}, 'dim must be of type int, not "4096"'),
        ({"dim": None}, "dim must be of type int, not null"),
        ({"context": 3000.5}, "context must be of type int, not 3000.5"),
        ({"causal": False}, "only causal = true is supported"),
        ({"cross_attention": 1}, "cross_attention must be of type bool, not 1"),
        ({"delays": [0] * 16}, "17 streams need a delay"),
        ({"delays": [0] * 16 + [-1]}, "17 streams need a delay from 0 up"),
        ({"delays": "0"}, 'delays must be of type list[int], not "0"'),
        ({"num_heads": 31}, "a width of 4096 does not split into 31 heads"),
        ({"num_heads": 4096}, "heads of 1 channels cannot be rotated"),
        ({"kv_repeat": 5}, "32 heads do not share keys in groups of 5"),
        ({"norm": "batch_norm"}, "norm 'batch_norm' is not one of layer_norm,"),
        ({"gating": "relu"}, "gating 'relu' is not supported"),
        ({"positional_embedding": "sin_rope"}, "positions 'sin_rope' are not one of rope,"),
        ({"positional_embedding": "sin", "dim": 3, "num_heads": 1}, "positions are added to an even width"),
        ({"dim": 2**40}, "dim is a whole number from 1 to"),
        ({"n_q": 4, "delays": [0] * 5}, "speaks 8 codebooks but has 4 audio streams"),
        ({"existing_text_padding_id": 40_000}, "the padding token 40000 is not in the text vocabulary"),
        ({"cross_attention": True}, "needs conditions to attend to"),
        ({"depformer_weights_per_step_schedule": [0, 1]}, "a number for each of 8 steps"),
        ({"depformer_weights_per_step_schedule": [0, 2] * 4}, "without gaps"),
        ({"depformer_pos_emb": "rope"}, "depformer_pos_emb 'rope' is not supported"),
        ({"depformer_pos_emb": "sin", "depformer_dim": 3, "depformer_num_heads": 1}, "added to an even width"),
        ({"depformer_multi_linear": False}, "both true or both false"),
        ({"conditioners": {"a": {"type": "wav"}}}, "conditioner a: type 'wav' is not supported"),
        ({"conditioners": {"a": {"type": "lut", "lut": {"dim": 4}}}}, "conditioner a: lut: bins is a whole number"),
        ({"conditioners": {"a": VOICE | {"tensor": {"dim": 4, "x": 1}}}}, "tensor: unknown key 'x'"),
        ({"conditioners": {"a": VOICE}, "fuser": {"sum": ["b"]}}, "there is no conditioner 'b'"),
        ({"lm_gen_config": {"temp": -1}}, "lm_gen_config: temperature is a number from 0 up"),
        ({"lm_gen_config": {"cfg_coef": 2.0}}, "cfg_coef 2.0 needs conditions, and the model has none"),
        ({"lm_gen_config": {"tmp": 1}}, "lm_gen_config: unknown key 'tmp'"),
        ({"moshi_name": 3}, "moshi_name must be of type str"),
        ({"tts_config": []}, "tts_config must be of type dict"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said(change: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError) as error:
        model_config(MOSHIKO_7B | change)
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"frame_rate": 13}, "24000 Hz in strides of 960 samples do not give 13.0 frames a second"),
        ({"channels": 2}, "only channels = 1 is supported"),
        ({"quantizer": MIMI["quantizer"] | {"n_q": 4}}, "8 codebooks are in use, but the codec has 4"),
        ({"quantizer": MIMI["quantizer"] | {"bins": None}}, "quantizer: bins must be of type int"),
        ({"seanet": MIMI["seanet"] | {"ratios": []}}, "seanet: ratios are at most 16 whole numbers"),
        ({"seanet": MIMI["seanet"] | {"pad_mode": "reflect"}}, "seanet: only pad_mode"),
        ({"transformer": 3}, "transformer must be of type dict"),
    ],
)
def test_what_is_wrong_with_a_codec_is_said(change: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError) as error:
        codec_config(MIMI | change, 8)
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [("", "cannot be read as json"), ("{", "cannot be read"), ("[1]", "must hold a json object"),
     ('{"dim": Infinity}', "Infinity is not a number"), ("\xff", "cannot be read"), ("[" * 99_999, "cannot be read")],
)  # fmt: skip
def test_files_that_are_no_json(tmp_path, text: str, message: str) -> None:
    path = tmp_path / "config.json"
    path.write_text(text, encoding="latin-1")
    with pytest.raises(InputError, match=message):
        read_json(path)


@pytest.mark.parametrize("kind", ["llama", "moshi_depth", "csm"])
def test_models_of_other_kinds_are_called_so(kind: str) -> None:
    foreign = {"model_type": kind, "hidden_size": 4096, "num_hidden_layers": 32}
    with pytest.raises(InputError, match=f"models of type '{kind}' are not supported: moshi, personaplex, "):
        model_config(foreign)


def test_where_positions_are_not_named_they_are_sinusoids() -> None:
    """As the reference takes it, whose own files all name them."""
    values = {k: v for k, v in MOSHIKO_7B.items() if k not in ("positional_embedding", "depformer_pos_emb")}
    config = model_config(values).lm
    assert config.depth is not None
    assert (config.temporal.positions, config.depth.max_period) == ("sin", 10_000.0)
    assert model_config(lm_json(config)).lm == config


def test_the_strength_of_guidance_is_read() -> None:
    assert model_config(HIBIKI_2B | {"lm_gen_config": {"cfg_coef": 3}}).sampling.guidance == 3.0
    assert model_config(HIBIKI_2B | {"lm_gen_config": {"cfg_coef": None}}).sampling.guidance == 1.0
