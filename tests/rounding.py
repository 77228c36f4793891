"""Whether this machine's kernels give a row of a product the same bits whatever rows are beside it."""

from functools import cache

import torch
from torch import Tensor
from torch.testing import assert_close

from duologue.nn.linear import by_half


@cache
def rounding() -> float:
    """How far results of the same conversation may be apart in other company, with weights of 16 bits: where this
    machine's kernel adds up every row alike, not at all. (FBGEMM's for AVX2 adds one or two rows in another order.)"""
    random = torch.Generator().manual_seed(0)
    x, matrix = torch.randn(5, 256, generator=random), torch.randn(512, 256, generator=random).half().float()
    products = [by_half(matrix, None, rows)(x[:rows]) for rows in range(1, 6)]
    alike = all(torch.equal(products[-1][:rows], y) for rows, y in enumerate(products, 1))
    return 0.0 if alike else 1e-5


def assert_same_in_company(alone: Tensor, together: Tensor) -> None:
    """Equal to the bit, or to rounding where the machine's kernel does not give more. NaN equals NaN."""
    assert_close(alone, together, rtol=rounding(), atol=rounding(), equal_nan=True)
