"""Spectra of windows, and fixed filterbanks over them."""

import copy

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from duologue.nn.spectrum import Filterbank, power_spectrum
from tests.rounding import assert_same_in_company


def gaussian(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("samples", [600, 2048])
def test_power_is_that_of_the_first_bins(samples: int) -> None:
    windows_TS = gaussian(5, samples)
    expected = torch.fft.rfft(windows_TS.double()).abs().square()[:, :101]
    assert_close(power_spectrum(windows_TS, 101).double(), expected, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("samples", [600, 2048])
def test_a_window_has_one_spectrum_in_any_company(samples: int) -> None:
    windows_TS = gaussian(41, samples)
    together = power_spectrum(windows_TS, 201)
    for first, last in ((0, 1), (7, 8), (3, 20), (40, 41)):
        assert torch.equal(power_spectrum(windows_TS[first:last].clone(), 201), together[first:last])


@pytest.mark.parametrize("rows", [1, 8, 100, 700])
def test_bands_are_weighted_sums(rows: int) -> None:
    filters_FM = np.random.default_rng(0).random((33, 10)).astype(np.float32)
    bank, x = Filterbank(filters_FM), gaussian(rows, 33).square()
    rounded = torch.from_numpy(filters_FM).half().float()
    assert_close(torch.from_numpy(filters_FM), rounded, rtol=1e-3, atol=0)
    with torch.inference_mode():
        bands = bank(x)
        assert_close(bands, x @ rounded, rtol=1e-5, atol=1e-5)
        assert_same_in_company(bank(x[:1].clone()), bands[:1])
        assert_same_in_company(bank(x[rows // 2 :].clone()), bands[rows // 2 :])
        assert bank.double()(x.double()).dtype == torch.float64


def test_filters_are_fixed() -> None:
    """No parameter, nothing in a file; real also where modules are made without memory; copies have their own."""
    filters_FM = np.eye(5, 3, dtype=np.float32)
    with torch.device("meta"):
        bank = Filterbank(filters_FM)
    assert not list(bank.parameters()) and not bank.state_dict()
    x = gaussian(2, 5)
    with torch.no_grad():
        assert_close(bank(x), x[:, :3])
        other = copy.deepcopy(bank)
        other.weight.mul_(2)
        assert_close(other(x), 2 * x[:, :3])
        assert_close(bank(x), x[:, :3])


def test_training_reaches_what_is_before_a_filterbank() -> None:
    x = gaussian(2, 5).requires_grad_()
    Filterbank(np.eye(5, 3, dtype=np.float32))(x).sum().backward()
    assert x.grad is not None and x.grad.tolist() == [[1, 1, 1, 0, 0]] * 2
