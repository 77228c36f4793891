import itertools
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from duologue.nn.conv import CausalConv1d, CausalConvTranspose1d
from tests.nn.streaming import Layer, check_all

SHAPES = [
    (kernel, stride, dilation)
    for kernel, stride, dilation in itertools.product((1, 3, 4, 7), (1, 2, 4), (1, 2, 3))
    if kernel >= stride
]
CUTS = [1, 2, 3, 1, 5, 1, 1, 6]  # in outputs (convolution) or inputs (transposed convolution)


def gaussian(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("pad", ["zeros", "edge"])
@pytest.mark.parametrize(("kernel", "stride", "dilation"), SHAPES)
def test_convolution(kernel: int, stride: int, dilation: int, pad: str) -> None:
    conv = CausalConv1d(3, 4, kernel, stride, dilation, bias=kernel != 4, pad=pad)
    steps = [stride * n for n in CUTS]
    x_BCT = gaussian(4, 3, sum(steps))
    with torch.no_grad():
        assert_close(conv(x_BCT), by_hand(conv, x_BCT), atol=1e-5, rtol=0)
    check_all(Layer(over_channels(conv), conv.init_state, conv.step, x_BCT.mT, steps, 1, conv.past > 0))


def over_channels(conv: nn.Module) -> Callable[[Tensor], Tensor]:
    """The offline layer, on `[B, T, C]` as the steps are."""
    return lambda x_BTC: conv(x_BTC.mT).mT


def by_hand(conv: CausalConv1d, x_BCT: Tensor) -> Tensor:
    """Output j is made of the inputs up to (j + 1) * stride - 1."""
    (stride,), (dilation,), kernel = conv.stride, conv.dilation, conv.kernel_size[0]
    outputs = []
    for j in range(x_BCT.shape[-1] // stride):
        last = (j + 1) * stride - 1
        window = []
        for tap in range(kernel):
            t = last - (kernel - 1 - tap) * dilation
            before = x_BCT[..., 0] if conv.pad == "edge" else torch.zeros_like(x_BCT[..., 0])
            window.append(x_BCT[..., t] if t >= 0 else before)
        outputs.append(torch.einsum("bck,ock->bo", torch.stack(window, -1), conv.weight))
    y_BCT = torch.stack(outputs, -1)
    return y_BCT if conv.bias is None else y_BCT + conv.bias[:, None]


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize(
    ("kernel", "stride", "groups"),
    [(1, 1, 1), (2, 1, 1), (2, 2, 1), (4, 2, 1), (8, 4, 4), (7, 2, 1), (9, 3, 4), (16, 8, 1)],
)
def test_transposed_convolution(kernel: int, stride: int, groups: int, bias: bool) -> None:
    conv = CausalConvTranspose1d(4, 4, kernel, stride, groups, bias)
    x_BCT = gaussian(4, 4, sum(CUTS))
    with torch.no_grad():
        y_BCT = conv(x_BCT)
        assert y_BCT.shape[-1] == stride * sum(CUTS)
        other_BCT = x_BCT.clone()
        other_BCT[..., 7:] = 0  # nothing before output 7 * stride can depend on it
        assert_close(conv(other_BCT)[..., : 7 * stride], y_BCT[..., : 7 * stride])
    check_all(Layer(over_channels(conv), conv.init_state, conv.step, x_BCT.mT, CUTS, 1, conv.overhang > 0))
