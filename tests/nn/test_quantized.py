"""Language models in 8 and 4 bits on a CPU."""

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from duologue.nn import quantized as module
from duologue.nn.quantized import Int4Linear, Int8Linear, quantized

ERROR = {"q8": 0.02, "q4": 0.12}  # of a product, relative: of random weights and inputs


def gaussian(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture
def large(monkeypatch: pytest.MonkeyPatch) -> None:
    """Matrices are handled as large ones, whatever their size."""
    monkeypatch.setattr(module, "SMALL", 0)


@pytest.fixture(params=["small", "whole", "weights only", "without VNNI"])
def kernels(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Small matrices, and machines with other 8-bit kernels than this one."""
    if request.param != "small":
        request.getfixturevalue("large")
    if request.param == "weights only":
        monkeypatch.setattr(module, "_has_int8", lambda: False)
    if request.param == "without VNNI":
        monkeypatch.setattr(module, "input_levels", lambda: 63)


@pytest.mark.parametrize("kind", ERROR)
@pytest.mark.parametrize("rows", [1, 3])
@pytest.mark.usefixtures("kernels")
def test_products(kind: str, rows: int) -> None:
    weight, x = gaussian(64, 96) * torch.logspace(-3, 1, 64)[:, None], 7 * gaussian(rows, 1, 96, seed=2)
    layer = quantized(weight, kind)
    assert isinstance(layer, Int8Linear if kind == "q8" else Int4Linear)
    y, exact = layer(x), x @ weight.T
    assert y.shape == exact.shape
    assert y.dtype == torch.float32
    typical = x.norm(dim=-1, keepdim=True) * weight.norm(dim=1) / 96**0.5
    assert float(((y - exact) / typical).square().mean().sqrt()) < ERROR[kind]


@pytest.mark.parametrize("kind", ERROR)
@pytest.mark.usefixtures("kernels")
def test_slots_do_not_meet(kind: str) -> None:
    """Each gets, bit for bit, what it gets beside any other."""
    layer, x = quantized(gaussian(64, 96), kind), gaussian(4, 96, seed=2)
    dirty = x.clone()
    dirty[1], dirty[2] = torch.nan, 1e4 * x[2]
    clean, mixed = layer(x), layer(dirty)
    assert torch.equal(clean[[0, 3]], mixed[[0, 3]])
    assert not mixed[1].isfinite().any()


@pytest.mark.parametrize("kind", ERROR)
def test_zeros(kind: str) -> None:
    assert not quantized(torch.zeros(32, 64), kind)(gaussian(2, 64)).any()
    assert not quantized(gaussian(32, 64), "q8")(torch.zeros(2, 64)).any()


@pytest.mark.parametrize("shape", [(64, 40), (30, 64)])
def test_what_4_bits_cannot_hold_gets_8(shape: tuple[int, int]) -> None:
    assert isinstance(quantized(gaussian(*shape), "q4"), Int8Linear)


@pytest.mark.parametrize(("kernels", "error"), [("small", 5e-4), ("whole", 1e-5)], indirect=["kernels"])
@pytest.mark.usefixtures("kernels")
def test_8_bits_are_stored_as_files_store_them(error: float) -> None:
    """`Int8Linear` of rows and their largest values is the product with what they stand for."""
    data = torch.randint(-127, 128, (32, 64), dtype=torch.int8, generator=torch.Generator().manual_seed(0))
    largest = torch.rand(32) + 0.5
    weight = data.float() * (largest / 127)[:, None]
    x = torch.eye(64)
    assert_close(Int8Linear(data, largest)(x), weight.T, atol=error, rtol=error)
