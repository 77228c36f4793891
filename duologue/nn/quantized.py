"""Linear layers with 8 or 4 bits a weight (on a GPU: 8), where a step takes as long as reading the weights: a quarter
or an eighth of the bytes of float32. Embeddings, norms and layers that multiply slices of their weights are not
quantised (as in section 4.6 of the paper)."""

import warnings
from collections.abc import Callable
from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from duologue.errors import InputError
from duologue.nn.linear import HALF_MAX, SINGLE, SMALL, by_half, has_fbgemm

KINDS = ("q8", "q4")
LEVELS = 127  # what the largest weight of a row is stored as
GROUP = 32  # weights of a row that share a scale and a zero in 4 bits
TINY = 1e-30
LEAST_ROWS = 32  # of a product of 8 bits on a GPU


class Int8Linear(nn.Module):
    """One scale per row of weights and per input, which the kernel also rounds to 8 bits (where the kernel is missing,
    only weights are rounded). For small matrices the kernel's overhead is too large: they are kept in 16 bits, with the
    same rounded values."""

    def __init__(self, data_NK: Tensor, largest_N: Tensor):
        """`data_NK` int8; `largest_N` float32, the value of 127 in each row."""
        super().__init__()
        scale_N, self.nbytes = largest_N.float() / LEVELS, data_NK.nbytes + largest_N.nbytes
        if data_NK.device.type != "cpu":
            self.multiply = whole_int8_of_torch(data_NK.contiguous(), scale_N)
            return
        if has_fbgemm() and SINGLE * data_NK.numel() <= SMALL and float(largest_N.max()) < HALF_MAX:
            self.nbytes = 2 * data_NK.numel()
            self.multiply = by_half((data_NK.float() * scale_N[:, None]).half().float(), None, SINGLE)
            return
        make = _whole_int8 if _has_int8() else _weights_int8
        self.multiply = make(data_NK.contiguous(), scale_N)

    def forward(self, x: Tensor) -> Tensor:
        return self.multiply(x.flatten(0, -2)).unflatten(0, x.shape[:-1])


class Int4Linear(nn.Module):
    """32 neighbours of a row share a scale and a zero; the inputs are rounded to bfloat16."""

    def __init__(self, weight_NK: Tensor):
        super().__init__()
        w_NGK = weight_NK.float().unflatten(1, (-1, GROUP))
        low_NG1, high_NG1 = w_NGK.amin(-1, keepdim=True), w_NGK.amax(-1, keepdim=True)
        scale_NG1 = ((high_NG1 - low_NG1) / 15).clamp(min=TINY)
        q_NK = ((w_NGK - low_NG1) / scale_NG1).round().clamp(0, 15).flatten(1).int()
        zero_NG1 = low_NG1 + 8 * scale_NG1  # the kernel's zero point is the middle, 8
        scales_GN2 = torch.cat([scale_NG1, zero_NG1], -1).transpose(0, 1).contiguous().bfloat16()
        packed = torch.ops.aten._convert_weight_to_int4pack_for_cpu(q_NK, 1)
        self.register_buffer("packed", packed, persistent=False)
        self.register_buffer("scales_GN2", scales_GN2, persistent=False)
        self.packed: Tensor
        self.scales_GN2: Tensor
        self.nbytes = self.packed.nbytes + self.scales_GN2.nbytes

    def forward(self, x: Tensor) -> Tensor:
        rows = x.flatten(0, -2).bfloat16()
        y = torch.ops.aten._weight_int4pack_mm_for_cpu(rows, self.packed, GROUP, self.scales_GN2)
        return y.to(x.dtype).unflatten(0, x.shape[:-1])


def check_kind(kind: str) -> None:
    if kind not in KINDS:
        raise InputError(f"weights are quantized to {' or '.join(KINDS)}, not {kind!r}")


def quantized(weight_NK: Tensor, kind: str) -> nn.Module:
    """A linear layer without bias of these weights. Rows that do not divide into groups get 8 bits instead of 4."""
    rows, columns = weight_NK.shape
    if kind == "q4" and columns % GROUP == 0 and rows % 16 == 0:
        return Int4Linear(weight_NK)
    largest_N = weight_NK.float().abs().amax(-1)
    data_NK = (weight_NK.float() * (LEVELS / largest_N.clamp(min=TINY))[:, None]).round().to(torch.int8)
    return Int8Linear(data_NK, largest_N)


def _whole_int8(data_NK: Tensor, scale_N: Tensor) -> Callable[[Tensor], Tensor]:
    """FBGEMM's product of 8-bit inputs and weights. Each row of inputs has its own scale, so that slots stay
    independent."""
    packed = _pack(data_NK, scale_N)
    product = torch.ops.quantized.linear_with_input_q_dq_qweight_dq_output_fp32
    levels = input_levels()

    def multiply(x_BK: Tensor) -> Tensor:
        largest_B1 = x_BK.abs().amax(-1, keepdim=True).clamp(min=TINY)
        return product(x_BK / largest_B1, 1 / levels, levels + 1, packed) * largest_B1

    return multiply


def whole_int8_of_torch(data_NK: Tensor, scale_N: Tensor) -> Callable[[Tensor], Tensor]:
    """The same product of 8-bit inputs and weights on a GPU, whose kernel takes no fewer than `LEAST_ROWS`."""
    columns_KN = data_NK.t()

    def multiply(x_BK: Tensor) -> Tensor:
        largest_B1 = x_BK.float().abs().amax(-1, keepdim=True).clamp(min=TINY)
        rounded_BK = (x_BK * (LEVELS / largest_B1)).round().to(torch.int8)
        short = max(0, LEAST_ROWS - len(x_BK))
        y_BN = torch._int_mm(F.pad(rounded_BK, (0, 0, 0, short)), columns_KN)  # pyright: ignore
        return (y_BN[: len(x_BK)] * (largest_B1 / LEVELS * scale_N)).to(x_BK.dtype)

    return multiply


def _weights_int8(data_NK: Tensor, scale_N: Tensor) -> Callable[[Tensor], Tensor]:
    data_NK, scale_N = data_NK.clone(), scale_N.bfloat16()  # not a view of a memory-mapped file
    return lambda x_BK: torch.ops.aten._weight_int8pack_mm(x_BK.bfloat16(), data_NK, scale_N).to(x_BK.dtype)


def _pack(data_NK: Tensor, scale_N: Tensor) -> Any:
    zeros_N = torch.zeros(len(scale_N), dtype=torch.int64)
    with warnings.catch_warnings():
        # torch deprecates quantized tensor types, but packing the weights still takes one.
        warnings.simplefilter("ignore", UserWarning)
        weight = torch._make_per_channel_quantized_tensor(  # pyright: ignore[reportPrivateImportUsage, reportPrivateUsage]
            data_NK, scale_N.clamp(min=TINY).double(), zeros_N, 0
        )
    return torch.ops.quantized.linear_prepack(weight, None)


@cache
def _has_int8() -> bool:
    if not has_fbgemm():
        return False
    try:
        packed = _pack(torch.full((1, 2), 3, dtype=torch.int8), torch.ones(1))
        product = torch.ops.quantized.linear_with_input_q_dq_qweight_dq_output_fp32
        return product(torch.ones(1, 2), 1.0, 64, packed).item() == 6
    except (AttributeError, RuntimeError):
        return False


@cache
def input_levels() -> int:
    """The integer to which the largest input is rounded. Without VNNI the kernel adds pairs of products in 16 bits,
    which overflow with 8-bit inputs."""
    vnni = torch.cpu._is_vnni_supported()  # pyright: ignore[reportPrivateUsage]
    return 127 if vnni else 63
