"""Products that keep their weights as a kernel likes them."""

import copy
import pickle

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from duologue.nn import linear as module
from duologue.nn.conv import CausalConv1d
from duologue.nn.linear import Linear, fastest, has_fbgemm, kept_half


def gaussian(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(params=["all kernels", "no old door", "no FBGEMM", "neither"])
def kernels(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """A machine with fewer kernels than this one."""
    if request.param == "no old door":
        monkeypatch.setattr(module, "_by_half_at_once", lambda matrix_NK, bias_N: None)
    elif request.param != "all kernels":
        monkeypatch.setattr(module, "has_fbgemm", lambda: False)
    if request.param == "neither":
        monkeypatch.setattr(module, "_has_onednn", lambda: False)
    return request.param


def test_two_halves_hold_what_small_and_large_weights_say() -> None:
    weight = gaussian(16, 40) * torch.logspace(-9, 4, 16)[:, None]
    x = gaussian(2, 40, seed=2)
    y, exact = fastest(weight, None, 2)(x), x.double() @ weight.double().T
    assert ((y - exact).abs() <= 1e-6 * (x.double().abs() @ weight.double().abs().T) + 1e-9).all()


@pytest.mark.parametrize("half", [False, True])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("rows", [1, 2, 7, 200])
@pytest.mark.usefixtures("kernels")
def test_every_kernel_gives_the_same(rows: int, bias: bool, half: bool) -> None:
    layer = Linear(48, 33, bias)
    if half:
        layer = layer.half().float()
    x = gaussian(rows, 48)
    plain = nn.functional.linear(x, layer.weight, layer.bias).detach()
    with torch.no_grad():
        assert_close(layer(x), plain, atol=1e-5, rtol=1e-5)
        assert_close(layer(x[:, None, None]), plain[:, None, None], atol=1e-5, rtol=1e-5)


@pytest.mark.usefixtures("kernels")
def test_slots_do_not_meet() -> None:
    layer = Linear(48, 33).half().float()
    x = gaussian(4, 48)
    dirty = x.clone()
    dirty[1] = torch.nan
    with torch.no_grad():
        clean, mixed = layer(x), layer(dirty)
    assert torch.equal(clean[[0, 2, 3]], mixed[[0, 2, 3]])
    assert mixed[1].isnan().all()


def test_16_bits_only_where_they_lose_nothing() -> None:
    weight = gaussian(4, 6)
    assert not kept_half(weight)
    assert kept_half(weight.half().float()) == has_fbgemm()
    assert not kept_half(1e6 * weight.half().float())  # beyond float16
    assert not kept_half(weight.half().float().double())


CHANGES = {
    "in place": lambda layer: layer.weight.mul_(2),
    "the bias": lambda layer: layer.bias.add_(1),
    "other data": lambda layer: setattr(layer.weight, "data", -layer.weight.data),
    "another parameter": lambda layer: layer.load_state_dict(
        {"weight": torch.ones_like(layer.weight), "bias": torch.ones_like(layer.bias)}, assign=True
    ),
}


@pytest.mark.parametrize("change", CHANGES)
def test_changed_weights_are_noticed(change: str) -> None:
    layer, x = Linear(8, 5), gaussian(2, 8)
    with torch.no_grad():
        before = layer(x)
        CHANGES[change](layer)
        after = layer(x)
        assert_close(after, nn.functional.linear(x, layer.weight, layer.bias))
        assert (after - before).abs().max() > 0.01


def test_a_copy_has_weights_of_its_own() -> None:
    layer, x = Linear(8, 5), gaussian(2, 8)
    with torch.no_grad():
        layer(x)
        other = copy.deepcopy(layer)
        other.weight.zero_()
        assert_close(other(x), other.bias.expand(2, -1))
        assert_close(layer(x), nn.functional.linear(x, layer.weight, layer.bias))


def test_pickles() -> None:
    layer, x = CausalConv1d(8, 5, 3), gaussian(2, 6, 8)
    with torch.no_grad():
        y = layer.step(layer.init_state(2), x)
        again = pickle.loads(pickle.dumps(layer))
        assert torch.equal(again.step(again.init_state(2), x), y)


@pytest.mark.parametrize(
    "make", [lambda: Linear(8, 5), lambda: CausalConv1d(8, 5, 3)], ids=["linear", "conv"]
)
def test_gradients_after_inference(make) -> None:
    layer = make()
    x = gaussian(2, 6, 8)
    with torch.inference_mode():
        layer.product(x.tile(1, 1, layer.weight[0].numel() // 8))
    (layer(x) if isinstance(layer, Linear) else layer(x.mT)).square().sum().backward()
    assert layer.weight.grad is not None


def test_other_dtypes() -> None:
    layer, x = Linear(8, 5).double(), gaussian(2, 8).double()
    with torch.no_grad():
        assert layer(x).dtype == torch.float64
        assert_close(layer.bfloat16()(x.bfloat16()).float(), layer.float()(x.float()), atol=0.05, rtol=0.05)


def test_large_matrices_are_not_kept_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LARGEST", 100)
    monkeypatch.setattr(module, "_has_onednn", lambda: pytest.fail("packed"))
    weight = gaussian(5, 8)
    assert_close(fastest(weight, None, 1)(gaussian(1, 8)), gaussian(1, 8) @ weight.T)


def test_weights_that_come_to_lie_where_others_lay_are_not_taken_for_them() -> None:
    """A cast there and back replaces the data, and may find room at the very address that it left."""
    x = gaussian(2, 48)
    for _ in range(50):
        layer = Linear(48, 32)
        with torch.no_grad():
            layer(x)
            layer.half().float()
            assert_close(layer(x), nn.functional.linear(x, layer.weight, layer.bias), atol=1e-5, rtol=1e-6)
