"""Adapters: nothing at first, then what was trained; merged or apart, the same model."""

from dataclasses import replace

import pytest
import torch

from duologue import presets
from duologue.lm import LM
from duologue.lm.lora import add_lora, merge_lora
from duologue.weights.lora import adapter_tensors
from duologue.weights.names import lm_sources
from duologue.weights.random import random_lm


@pytest.fixture
def lm() -> LM:
    return random_lm(replace(presets.tiny_lm(), extra_heads=1, extra_heads_dim=50))


def codes(lm: LM) -> torch.Tensor:
    return torch.randint(0, 30, (2, lm.config.streams, 12), generator=torch.Generator().manual_seed(0))


def outputs(lm: LM) -> list[torch.Tensor]:
    with torch.no_grad():
        out = lm(codes(lm))
    assert out.audio_BQTV is not None
    return [out.text_BTV, out.audio_BQTV]


def shake(lm: LM) -> None:
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, weight in lm.named_parameters():
            if "lora_B" in name:
                weight.normal_(0, 0.05, generator=generator)


def test_new_adapters_change_nothing_and_alone_are_trained(lm: LM) -> None:
    before = outputs(lm)
    add_lora(lm, 4, 2.0)
    for a, b in zip(before, outputs(lm), strict=True):
        assert torch.equal(a, b)
    trained = {name for name, weight in lm.named_parameters() if weight.requires_grad}
    assert trained == {name for name, _ in lm.named_parameters() if "lora_" in name}
    assert "text_head.lora_A.weight" in trained and "extra_heads.0.lora_B.weight" in trained
    lm(codes(lm)).text_BTV.sum().backward()
    assert lm.text_head.lora_B.weight.grad.abs().sum() > 0  # pyright: ignore


def test_merged_gives_what_the_adapters_gave(lm: LM) -> None:
    plain = outputs(lm)
    names = list(lm.state_dict())
    add_lora(lm, 4, 2.0)
    shake(lm)
    apart = outputs(lm)
    assert (apart[1] - plain[1]).abs().max() > 0.01
    merge_lora(lm)
    assert list(lm.state_dict()) == names
    for a, b in zip(apart, outputs(lm), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)
    assert all(weight.requires_grad for weight in lm.parameters())


def test_every_linear_map_of_the_published_model_has_one(lm: LM) -> None:
    add_lora(lm, 4, 2.0)
    found = adapter_tensors(lm)
    assert found["transformer.layers.0.self_attn.in_projs.0.lora_A.weight"].shape == (4, 32)
    assert found["transformer.layers.1.gating.linear_out.lora_B.weight"].shape == (32, 4)
    for name in (
        "depformer.layers.0.self_attn.out_projs.7",
        "depformer.layers.0.gating.3.linear_in",
        "depformer_in.2",
    ):
        assert f"{name}.lora_B.weight" in found
    assert {"linears.0.lora_A.weight", "text_linear.lora_A.weight"} <= found.keys()
    maps = [n for n, m in lm.named_modules() if isinstance(m, torch.nn.Linear) and "lora_" not in n]
    assert (
        len(found) == 2 * len(maps) == 2 * len({lm_sources(f"{n}.weight", lm.config)[-1].name for n in maps})
    )
