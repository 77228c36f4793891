"""Weights on their way into MLX: packed on load or packed already, and in other numbers than float32."""

from dataclasses import replace
from functools import cache

import pytest
import torch
from torch.testing import assert_close

pytest.importorskip("mlx.core")

import mlx.core as mx
from mlx import nn
from mlx.utils import tree_flatten

from duologue import presets
from duologue.config import DepthConfig
from duologue.lm import LM, Sampling
from duologue.mlx import load
from duologue.mlx.embedding import QuantizedTokenEmbedding, TokenEmbedding
from duologue.mlx.step import init_state, step
from duologue.weights import load as open_model
from duologue.weights.packed import MLX_GROUP, quantize_affine, quantize_int8
from duologue.weights.random import random_lm
from tests.mlx.mirror import back, of, same_bits


@cache
def wide() -> LM:
    """Small, with widths that are multiples of 64, but for the depth transformer's feed-forward."""
    tiny = presets.tiny_lm()
    temporal = replace(tiny.temporal, dim=64, feedforward=96)
    depth = DepthConfig(64, 2, 1, 66, tuple(range(8)))
    return random_lm(replace(tiny, temporal=temporal, depth=depth))


def packs(name: str, group: int) -> bool:
    weight = wide().state_dict()[name]
    return weight.dim() == 2 and weight.shape[-1] % group == 0


def unpacked(bits: int, dtype: torch.dtype = torch.float32) -> LM:
    """The torch twin with weights that have been packed and unpacked again."""
    twin = LM(wide().config).eval()
    group = MLX_GROUP[bits]
    values = {
        name: quantize_affine(w.to(dtype), bits, group).dense() if packs(name, group) else w
        for name, w in wide().state_dict().items()
    }
    twin.load_state_dict(values)
    return twin


@pytest.mark.parametrize("quantize", ["q8", "q4"])
def test_packed_on_load_it_is_the_model_with_rounded_weights(quantize: load.Quantize) -> None:
    lm = load.lm_of(wide().config, wide().state_dict().items(), mx.float32, quantize)
    bits = int(quantize[1:])
    assert isinstance(lm.text_emb, QuantizedTokenEmbedding)
    linear = lm.temporal.layers[0].attention.in_proj
    assert isinstance(linear, nn.QuantizedLinear)
    assert (linear.bits, linear.group_size) == (bits, MLX_GROUP[bits])
    assert not isinstance(lm.depth.layers[0].mlps[0].linear_out, nn.QuantizedLinear)  # 44 columns
    codes_BKT = torch.randint(32, (2, 17, 20), generator=torch.Generator().manual_seed(0))
    codes_BKT[0, 3, 4:7] = -1
    out, twin = lm(of(codes_BKT)), unpacked(bits)
    with torch.no_grad():
        expected, exact = twin(codes_BKT), wide()(codes_BKT)
    assert_close(back(out.text_BTV), expected.text_BTV, atol=1e-3, rtol=0)
    assert_close(back(out.audio_BQTV), expected.audio_BQTV, atol=1e-3, rtol=0)
    assert (expected.text_BTV - exact.text_BTV).abs().max() > 1e-3, "nothing was rounded"


@pytest.mark.parametrize(("bits", "quantize"), [(8, "q8"), (4, "q4")])
def test_what_is_packed_as_mlx_packs_stays_so(bits: int, quantize: load.Quantize) -> None:
    group = MLX_GROUP[bits]
    state = wide().state_dict()
    stored = [(n, quantize_affine(w, bits, group) if packs(n, group) else w) for n, w in state.items()]
    kept = load.lm_of(wide().config, stored, mx.float32)
    made = load.lm_of(wide().config, state.items(), mx.float32, quantize)
    ours, theirs = dict(tree_flatten(kept.parameters())), dict(tree_flatten(made.parameters()))
    assert set(ours) == set(theirs)
    assert "temporal.layers.1.mlp.linear_in.scales" in ours
    for name in ours:
        if not name.endswith("weight") or ours[name].dtype != mx.uint32:
            assert_close(back(ours[name]), back(theirs[name]), atol=1e-7, rtol=1e-5)
        else:
            different = mx.mean((ours[name] != theirs[name]).astype(mx.float32)).item()
            assert different < 1e-3, name  # a tie may round either way


def test_other_packings_are_unpacked_or_packed_anew() -> None:
    stored = [(n, quantize_int8(w) if packs(n, 64) else w) for n, w in wide().state_dict().items()]
    plain = load.lm_of(wide().config, stored, mx.float32)
    weight = dict(stored)["text_head.weight"].dense()
    assert_close(back(plain.text_head.weight), weight, atol=0, rtol=0)
    packed = load.lm_of(wide().config, stored, mx.float32, "q8").text_head
    assert_close(
        back(mx.dequantize(*map(packed.get, ("weight", "scales", "biases")), 64, 8)),
        weight,
        atol=1e-3,
        rtol=0,
    )


def test_embeddings_with_projections_stay_as_they_are() -> None:
    """So it is in the published files: of such an embedding the projections alone are packed."""
    config = wide().config
    assert config.depth is not None
    twin = random_lm(replace(config, depth=replace(config.depth, low_rank=64)))
    lm = load.lm_of(twin.config, twin.state_dict().items(), mx.float32, "q4")
    assert type(lm.depth.text_emb) is TokenEmbedding
    assert isinstance(lm.depth.text_emb.projection, nn.QuantizedLinear)
    assert isinstance(lm.text_emb, QuantizedTokenEmbedding)


def test_half_precision_is_read_bit_for_bit() -> None:
    half = {name: w.bfloat16() for name, w in wide().state_dict().items()}
    lm = load.lm_of(wide().config, half.items(), mx.bfloat16, "q8")
    assert lm.out_norm.weight.dtype == lm.text_head.scales.dtype == mx.bfloat16
    linear_out = lm.depth.layers[0].mlps[0].linear_out.weight
    expected = half["depth.layers.0.mlps.0.linear_out.weight"]
    assert torch.equal(back(linear_out.astype(mx.float32)), expected.float())
    state = init_state(lm, [Sampling()] * 2)
    for _ in range(4):
        out = step(lm, state, mx.zeros((2, 8), mx.int32))
    assert out.hidden_BD.dtype == state.temporal.caches[0].keys_BHCD.dtype == mx.bfloat16
    assert mx.all(out.tokens_BK >= 0)


def test_every_parameter_gets_its_value() -> None:
    tensors = dict(wide().state_dict())
    tensors.pop("out_norm.weight")
    with pytest.raises(ValueError, match=r"no values for \['out_norm.weight'\]"):
        load.lm_of(wide().config, tensors.items(), mx.float32)


def test_a_model_by_its_name() -> None:
    tiny = open_model("tiny")
    codec, lm = load.load_codec(tiny), load.load_lm(tiny)
    assert_close(back(lm.text_head.weight), tiny.lm.text_head.weight.detach(), atol=0, rtol=0)
    stem = tiny.codec.encoder.stem.weight.detach()
    assert_close(back(codec.encoder.stem.weight), stem.mT, atol=0, rtol=0)
    tiny.files.config.__dict__["model_type"] = "hibiki"
    quiet = load.load_lm(tiny)
    assert same_bits(quiet.text_emb.weight[2], lm.text_emb.weight[3])
    assert same_bits(quiet.text_emb.weight[3:], lm.text_emb.weight[3:])
