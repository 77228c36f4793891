"""Matrix products with few rows, as one frame needs them. On a CPU reading the weights dominates, and the usual product
reads them slowly (on two cores at 5 to 10 GB/s of 25). `Product` keeps a copy in the layout of the fastest available
kernel; in 16 bits where that is lossless, because the weights were published in 16 bits.
"""

import warnings
from collections.abc import Callable
from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

LARGEST = 2**26  # bytes; larger matrices are not copied (see `quantized` for such models)
FEW = 128  # rows; above, the usual product is as fast
# The 16-bit kernel sums in one order, whatever the batch, so it also serves many conversations. (With AVX2 alone
# one and two rows are added in another order than more; as three, a conversation alone would take 1.7 times as long.)
MANY = 512  # rows
TINY = 2**15  # weights of a matrix up to which it is as fast as the usual product, for any number of rows
SINGLE = 4  # rows: the frame of a conversation or two
SMALL = 2_000_000  # multiplications; with fewer, starting two threads costs more than it gains
HALF_MAX = 60_000  # below the largest float16
LEFT_OVER = 2**11  # the residual of rounding float32 to float16 is smaller by this factor
Parts = tuple[Tensor, Tensor | None]
Kernel = Callable[[Tensor], Tensor]


class WeightCache:
    """`make(weight, bias)` of a module, cached until they change. Only without gradients."""

    def __init__(self, module: nn.Module, make: Callable[[Any], Any]):
        self._module, self._make = module, make
        # Looking both up in the module takes longer than adding two vectors.
        own = module._parameters  # pyright: ignore[reportPrivateUsage]
        self._weights = own if "weight" in own else module._buffers  # pyright: ignore[reportPrivateUsage]
        self._made_of: tuple[Tensor | None, int, int] = None, 0, 0
        self._data: Tensor | None = None  # held, so that its address cannot be reused for other weights
        self._made: Any = None

    def __getstate__(self) -> dict[str, Any]:
        """Copies and pickles start with an empty cache."""
        return {**vars(self), "_made_of": (None, 0, 0), "_data": None, "_made": None}

    def get(self) -> Any:
        weight, bias = self._weights["weight"], self._weights.get("bias")
        assert weight is not None
        version = weight._version if bias is None else weight._version + bias._version
        of = self._made_of
        if of[0] is not weight or of[1] != weight.data_ptr() or of[2] != version:
            self._made_of, self._data = (weight, weight.data_ptr(), version), weight.detach()
            self._made = self._make(self._module)
        return self._made


class Product(WeightCache):
    """`x @ matrix.T + bias`, for the matrix and bias that `parts` computes from a module's weights. The matrix is
    cached in each kernel's layout: for few rows, for more, and for many."""

    def __init__(self, module: nn.Module, parts: Callable[[Any], Parts]):
        super().__init__(module, _no_kernels)
        self._parts = parts

    def __call__(self, x: Tensor) -> Tensor:
        if torch.is_grad_enabled() or torch.compiler.is_compiling() or x.dtype != torch.float32:
            return F.linear(x, *self._parts(self._module))
        kernels, rows = self.get(), x.numel() // x.shape[-1]
        size = (rows > FEW) + (rows > MANY)
        kernel = kernels.get(size)
        if kernel is None:
            kernel = kernels[size] = fastest(*self._parts(self._module), rows)
        return kernel(x)


def _no_kernels(module: nn.Module) -> dict[int, Kernel]:
    return {}


class HookFree(nn.Module):
    """A module that is called hundreds of times a frame: without hooks, the call goes directly to `forward`."""

    def __call__(self, x: Tensor) -> Tensor:
        if torch.is_inference_mode_enabled() and not (self._forward_pre_hooks or self._forward_hooks):
            return self.forward(x)
        return super().__call__(x)


class Linear(HookFree, nn.Linear):
    """`nn.Linear` that computes by a `Product`."""

    def __init__(self, features_in: int, features_out: int, bias: bool = True):
        super().__init__(features_in, features_out, bias)
        self.product = Product(self, _own)

    def forward(self, input: Tensor) -> Tensor:
        return self.product(input)


def _own(linear: nn.Linear) -> Parts:
    return linear.weight, linear.bias


def fastest(matrix_NK: Tensor, bias_N: Tensor | None, rows: int) -> Kernel:
    """The product with a matrix by the fastest kernel this machine has for so many rows."""
    matrix_NK = matrix_NK.contiguous()
    if (rows <= MANY or matrix_NK.numel() <= TINY) and kept_half(matrix_NK):
        return by_half(matrix_NK, bias_N, rows)
    if matrix_NK.device.type != "cpu" or rows > FEW or matrix_NK.nbytes > LARGEST:
        return lambda x: F.linear(x, matrix_NK, bias_N)
    if rows <= SINGLE and has_fbgemm() and matrix_NK.abs().amax() < HALF_MAX:
        return _by_two_halves(matrix_NK, bias_N, rows)
    if _has_onednn():
        packed = torch.ops.mkldnn._reorder_linear_weight(matrix_NK, rows)
        multiply_packed = torch.ops.mkldnn._linear_pointwise.default
        return lambda x: multiply_packed(x, packed, bias_N, "none", [], "")
    return lambda x: F.linear(x, matrix_NK, bias_N)


def by_half(matrix_NK: Tensor, bias_N: Tensor | None, rows: int) -> Kernel:
    """The product with a float32 matrix whose values are float16; it is kept in 16 bits."""
    small = max(rows, SINGLE) * matrix_NK.numel() <= SMALL
    if small and (kernel := _by_half_at_once(matrix_NK, bias_N)) is not None:
        return kernel
    packed = torch.ops.quantized.linear_prepack_fp16(matrix_NK, bias_N)
    multiply = torch.ops.quantized.linear_dynamic_fp16.default
    multiply = getattr(
        multiply, "_op", multiply
    )  # skips torch's search for fake objects, which doubles the time
    return lambda x: multiply(x, packed)


def _by_half_at_once(matrix_NK: Tensor, bias_N: Tensor | None) -> Kernel | None:
    """The same kernel on one thread, by a deprecated op with 10 µs less overhead; torch may remove it."""
    try:
        pack, multiply = torch.fbgemm_pack_gemm_matrix_fp16, torch.fbgemm_linear_fp16_weight_fp32_activation
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # it warns once that it is deprecated
            packed = pack(matrix_NK)
            multiply(matrix_NK[:1], packed, bias_N)
    except (AttributeError, RuntimeError):
        return None
    return lambda x: multiply(x, packed, bias_N)


def _by_two_halves(matrix_NK: Tensor, bias_N: Tensor | None, rows: int) -> Kernel:
    """float32 as the sum of two float16 (22 of 24 bits): for very few rows faster than float32."""
    first_NK = matrix_NK.half().float()
    second_NK = ((matrix_NK - first_NK) * LEFT_OVER).half().float()
    biases_2N = None if bias_N is None else torch.cat([bias_N, torch.zeros_like(bias_N)])
    multiply = by_half(torch.cat([first_NK, second_NK]), biases_2N, rows)

    def add_halves(x: Tensor) -> Tensor:
        first, second = multiply(x).chunk(2, -1)
        return torch.add(first, second, alpha=1 / LEFT_OVER)

    return add_halves


def kept_half(matrix_NK: Tensor) -> bool:
    """Whether float16 represents this matrix exactly, as with weights published in float16."""
    if matrix_NK.device.type != "cpu":  # the kernels for it are a CPU's
        return False
    usable = has_fbgemm() and matrix_NK.dtype == torch.float32 and matrix_NK.nbytes <= LARGEST
    return usable and torch.equal(matrix_NK.half().float(), matrix_NK)


@cache
def has_fbgemm() -> bool:
    """A kernel for float16 weights and float32 inputs."""
    return "fbgemm" in torch.backends.quantized.supported_engines and torch.backends.quantized.engine in (
        "fbgemm",
        "x86",
    )


@cache
def _has_onednn() -> bool:
    """A kernel for prepacked weights. It is private to torch, so its result is checked once."""
    if not torch.backends.mkldnn.is_available():
        return False
    try:
        matrix_NK, x = torch.arange(6.0).view(2, 3), torch.ones(1, 3)
        packed = torch.ops.mkldnn._reorder_linear_weight(matrix_NK, 1)
        y = torch.ops.mkldnn._linear_pointwise(x, packed, None, "none", [], "")
        return torch.allclose(y, x @ matrix_NK.T)
    except (AttributeError, RuntimeError):
        return False
