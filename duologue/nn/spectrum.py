"""Spectra of a few windows of sound, and filterbanks that gather them into bands."""

import numpy as np
import torch
from torch import Tensor, nn

from duologue.nn.linear import Parts, Product


def power_spectrum(windows_TS: Tensor, bins: int) -> Tensor:
    """Squared magnitudes `[..., bins]` of the first `bins` of each window `[..., S]`.

    Computed from the real and imaginary parts: the absolute value of complex numbers takes twice as long.
    """
    both = torch.view_as_real(torch.fft.rfft(windows_TS))[..., :bins, :]
    real, imaginary = both[..., 0], both[..., 1]
    return torch.addcmul(real * real, imaginary, imaginary)


class Filterbank(nn.Module):
    """Sums of the bins of spectra `[..., F]` with fixed weights, `[..., M]`.

    The weights are rounded to float16, as those of a published codec: the product then sums in one order, whatever the
    batch (`nn.linear`).
    """

    def __init__(self, filters_FM: np.ndarray):
        super().__init__()
        # From numpy, so that they have values even on the meta device.
        weight_MF = torch.from_numpy(np.ascontiguousarray(filters_FM.T).astype(np.float16).astype(np.float32))
        self.register_buffer("weight", weight_MF, persistent=False)
        self.weight: Tensor
        self.product = Product(self, _filters)

    def forward(self, spectrum_TF: Tensor) -> Tensor:
        return self.product(spectrum_TF)


def _filters(bank: Filterbank) -> Parts:
    return bank.weight, None
