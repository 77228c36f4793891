"""Every layer equals its torch twin, streamed equals offline, and slots do not notice one another."""

import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

pytest.importorskip("mlx.core")

import mlx.core as mx

from duologue.config import SeanetConfig, TransformerConfig
from duologue.mlx import attention, conv, seanet, transformer
from duologue.mlx.state import State, compiled
from duologue.nn import conv as torch_conv
from duologue.nn import transformer as torch_transformer
from tests.mlx import mirror
from tests.mlx.mirror import back, of, same_bits


@dataclass
class Case:
    """A layer, its twin's offline output (channels last), and an input of 4 slots cut into steps."""

    layer: Any
    expected: Tensor
    x_BTD: Tensor
    steps: list[int]
    init_state: Callable[[int], State]

    def step(self, state: State, x_BTD: Tensor, exec_B: Tensor | None = None) -> mx.array:
        state.grow()
        out = self.layer.step(state, of(x_BTD), None if exec_B is None else of(exec_B))
        mx.eval(out, state.arrays())
        return out

    def run(self, state: State, x_BTD: Tensor) -> mx.array:
        return mx.concatenate([self.step(state, part) for part in x_BTD.split(self.steps, 1)], 1)


def randomized(module: torch.nn.Module) -> torch.nn.Module:
    """Weights that each matter, norms and layer scales too."""
    random = torch.Generator().manual_seed(0)
    for weight in module.parameters():
        weight.data = 0.3 * torch.randn(weight.shape, generator=random)
    return module.eval()


def convolution(**options) -> Case:
    twin = randomized(torch_conv.CausalConv1d(3, 5, **options))
    stride = options.get("stride", 1)
    return case(
        mirror.filled(conv.CausalConv1d(3, 5, **options), twin), twin, [stride * n for n in (1, 2, 5, 1)]
    )


def transposed(channels: int = 5, **options) -> Case:
    twin = randomized(torch_conv.CausalConvTranspose1d(3, channels, **options))
    return case(mirror.filled(conv.CausalConvTranspose1d(3, channels, **options), twin), twin, [1, 2, 5, 1])


def case(layer, twin, steps: list[int]) -> Case:
    x_BTD = torch.randn(4, sum(steps), 3, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        expected = twin(x_BTD.mT).mT
    return Case(layer, expected, x_BTD, steps, layer.init_state)


def stack(steps: list[int], **options) -> Case:
    config = replace(TransformerConfig(12, 3, 2, 48, context=7), **options)
    twin = randomized(torch_transformer.Transformer(config))
    layer = mirror.filled(transformer.Transformer(config), twin)
    x_BTD = torch.randn(4, sum(steps), 12, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        expected = twin(x_BTD)
    return Case(layer, expected, x_BTD, steps, lambda batch: layer.init_state(batch, max(steps)))


CASES: dict[str, Callable[[], Case]] = {
    "convolution": lambda: convolution(kernel=3),
    "dilated": lambda: convolution(kernel=3, dilation=4, bias=False),
    "strided": lambda: convolution(kernel=8, stride=4),
    "strided, edge": lambda: convolution(kernel=4, stride=2, pad="edge", bias=False),
    "pointwise": lambda: convolution(kernel=1),
    "transposed": lambda: transposed(kernel=8, stride=4),
    "transposed, three windows": lambda: transposed(kernel=6, stride=2, bias=False),
    "transposed, no overhang": lambda: transposed(kernel=2, stride=2),
    "transposed, channel-wise": lambda: transposed(3, kernel=4, stride=2, groups=3, bias=False),
    "mimi's transformer": lambda: stack([2] * 9, layer_scale=0.5),
    "uneven steps": lambda: stack([3, 1, 1, 5, 2, 4, 2]),
    "helium": lambda: stack([1] * 20, norm="rms_norm_f32", gated=True, kv_repeat=3),
    "halves rotated": lambda: stack([1] * 20, positions="rope_concat", max_period=100.0, norm="rms_norm"),
    "biases": lambda: stack([2] * 9, bias=True),
    "blocks": lambda: stack([4, 8, 4, 4], positions="none", bias=True, block=4),
    "no positions": lambda: stack([1] * 20, positions="none", gated=True, feedforward=30),
}


@pytest.fixture(params=CASES)
def one(request, monkeypatch) -> Case:
    monkeypatch.setattr(attention, "YOUNG", 2)  # so that rings grow on the way
    return CASES[request.param]()


def test_it_equals_torch_offline_and_streamed(one: Case) -> None:
    assert one.expected.std() > 0.05, "nothing to compare"
    assert_close(back(one.layer(of(one.x_BTD))), one.expected, atol=2e-5, rtol=1e-4)
    assert_close(back(one.run(one.init_state(4), one.x_BTD)), one.expected, atol=2e-5, rtol=1e-4)


def test_a_mask_keeps_every_bit(one: Case) -> None:
    """What a resting slot hears leaves no trace, and the others do not notice that it rests."""
    exec_B = torch.tensor([True, False, True, False])
    rest, run = mx.array([1, 3]), mx.array([0, 2])
    state, twin = one.init_state(4), one.init_state(4)
    for part in one.x_BTD.split(one.steps, 1):
        state.grow()
        before = state.arrays()
        heard = torch.where(exec_B[:, None, None], part, torch.nan)
        masked = one.layer.step(state, of(heard), of(exec_B))
        whole = one.step(twin, part)
        for old, new, free in zip(before, state.arrays(), twin.arrays(), strict=True):
            assert same_bits(old[rest], new[rest])
            assert same_bits(new[run], free[run])
        assert same_bits(masked[run], whole[run])


def test_a_reset_slot_is_as_new(one: Case) -> None:
    state, fresh = one.init_state(4), one.init_state(4)
    x_BTD = one.x_BTD.clone()
    x_BTD[1] = torch.nan
    one.run(state, x_BTD)
    before = state.arrays()
    state.reset(mx.array([False, True, True, False]))
    for old, new in zip(before, state.arrays(), strict=True):
        assert same_bits(new[mx.array([0, 3])], old[mx.array([0, 3])])
        assert not mx.any(new[1:3])
    again, new = one.run(state, one.x_BTD), one.run(fresh, one.x_BTD)
    assert_close(back(again[1:3]), back(new[1:3]), atol=1e-6, rtol=1e-5)


def test_a_ring_grows_to_its_capacity_and_no_further(monkeypatch) -> None:
    monkeypatch.setattr(attention, "YOUNG", 4)
    one = stack([2] * 9)  # a context of 7: 8 entries
    state, lengths = one.init_state(1), []
    for part in one.x_BTD[:1].split(one.steps, 1):
        one.step(state, part)
        lengths.append(state.caches[0].keys_BHCD.shape[2])
    assert lengths == [4, 4, 8, 8, 8, 8, 8, 8, 8]


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("g++"), reason="compiling on Linux takes a C++ compiler")
def test_compiled_a_step_says_the_same(monkeypatch) -> None:
    """Also where the ring grows, so that it is compiled again, and for slots that rest."""
    monkeypatch.setattr(attention, "YOUNG", 4)
    one = stack([1] * 12, layers=1, positions="none", norm="rms_norm")
    plain, state = one.init_state(4), one.init_state(4)
    run = compiled(lambda x, exec_B: one.layer.step(state, x, exec_B), state)
    pattern = torch.Generator().manual_seed(0)
    for part in one.x_BTD.split(one.steps, 1):
        exec_B = torch.rand(4, generator=pattern) < 0.7
        state.grow()
        out, expected = run(of(part), of(exec_B)), one.step(plain, part, exec_B)
        assert_close(back(out)[exec_B], back(expected)[exec_B], atol=1e-5, rtol=1e-4)
    for a, b in zip(state.arrays(), plain.arrays(), strict=True):
        assert_close(back(a), back(b), atol=1e-5, rtol=1e-4)


def test_what_no_codec_needs_is_refused() -> None:
    with pytest.raises(ValueError, match="kernel 7, stride 4"):
        conv.CausalConvTranspose1d(4, 4, kernel=7, stride=4)
    assert seanet.Decoder(SeanetConfig(filters=2, dim=4, ratios=(2,)))(mx.zeros((1, 3, 4))).shape == (1, 6, 1)
