"""A stand-in for a GPU on machines without one: tensors that are elsewhere, and say so, with values that are right.

    with Accelerator() as gpu:
        model.to(gpu.device)
        model(x.to(gpu.device))     # a tensor of the CPU among them is an error, as on a GPU
    assert gpu.waits == 0           # how often the program had to wait for a value, as `item` does

Its device calls itself "meta", the only one that torch lets be without hardware; the values live on the CPU.
"""

from collections import Counter
from contextlib import ExitStack, nullcontext
from importlib import import_module
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._mode_utils import no_dispatch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map

DEVICE = torch.device("meta")
adam = import_module("torch.optim.adam")  # it asks whether there is a kernel for the device
STAND_INS = {
    # They know real devices only; and tensors of inference mode cannot be wrapped.
    "autocast": lambda *args, **kwargs: nullcontext(),
    "is_autocast_enabled": lambda *kind: False,
    "inference_mode": lambda mode=True: torch.no_grad() if mode else nullcontext(),
}
aten = torch.ops.aten
BETWEEN = {aten.copy_.default, aten._to_copy.default}  # go from one device to another
BY_CPU = {aten.index.Tensor, aten.index_put_.default, aten.index_put.default}  # take indices of the CPU too
CPU_ONLY = {"quantized", "mkldnn", "fbgemm"}
SIZED_BY_VALUES = {"nonzero", "masked_select", "unique", "_unique2", "bincount", "unique_consecutive"}


class Far(Tensor):
    """A tensor elsewhere; `near` holds its values."""

    near: Tensor

    @staticmethod
    def __new__(cls, near: Tensor) -> "Far":
        far = Tensor._make_wrapper_subclass(  # pyright: ignore
            cls, near.shape, strides=near.stride(), storage_offset=near.storage_offset(), dtype=near.dtype,
            device=DEVICE, requires_grad=near.requires_grad,
        )  # fmt: skip
        far.near = near
        return far

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return compute(func, args, kwargs or {}, Counter())

    def tolist(self) -> Any:
        return self.cpu().tolist()

    def data_ptr(self) -> int:
        return self.near.data_ptr()

    def __repr__(self) -> str:  # pyright: ignore
        return f"Far({self.near!r})"


class Accelerator(TorchDispatchMode):
    """While it lasts, what is made on `device` is made elsewhere."""

    device = DEVICE

    def __init__(self) -> None:
        super().__init__()
        self.waited: Counter[str] = Counter()
        self.factories = _Factories()

    @property
    def waits(self) -> int:
        return sum(self.waited.values())

    def __enter__(self) -> "Accelerator":
        self.patches = ExitStack()
        for name, stand_in in STAND_INS.items():
            self.patches.enter_context(patch.object(torch, name, stand_in))
        self.patches.enter_context(patch.object(adam, "_device_dtype_check_for_fused", lambda *_: None))
        self.patches.enter_context(self.factories)
        return super().__enter__()

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)
        self.patches.close()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return compute(func, args, kwargs or {}, self.waited)


class _Factories(TorchFunctionMode):
    """`torch.tensor([...], device=...)` copies from the CPU; torch would not even look at the values."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        if func in (torch.tensor, torch.as_tensor) and _is_far(kwargs.get("device")):
            return func(*args, **kwargs | {"device": "cpu"}).to(DEVICE)
        return func(*args, **kwargs)


def compute(func: Any, args: Any, kwargs: Any, waited: Counter) -> Any:
    tensors = [t for t in tree_flatten((args, kwargs))[0] if isinstance(t, Tensor)]
    far = [t for t in tensors if isinstance(t, Far)]
    near = [t for t in tensors if not isinstance(t, Far)]
    assert not any(t.is_meta for t in near), f"{func}: a tensor without values"
    if far and any(t.dim() for t in near) and func not in BETWEEN | BY_CPU:
        raise RuntimeError(f"{func}: expected all tensors to be on the same device")
    if far and func.namespace in CPU_ONLY:
        raise RuntimeError(f"{func}: a kernel of the CPU")
    target = kwargs.get("device")
    values = tree_map(lambda t: t.near if isinstance(t, Far) else t, args)
    options = tree_map(lambda t: t.near if isinstance(t, Far) else t, kwargs)
    if _is_far(target):
        options["device"] = torch.device("cpu")
    own = {id(t.near): t for t in far}
    results = func(*values, **options)
    if (
        torch.Tag.inplace_view in func.tags and far
    ):  # the shape of what stands for the values changes with theirs
        with no_dispatch():
            func(*args, **kwargs)
    outputs = tree_flatten(results)[0]
    leaves = far and not any(isinstance(t, Tensor) for t in outputs) and func is not aten.is_pinned.default
    to_cpu = far and func is aten._to_copy.default and target is not None and not _is_far(target)
    if leaves or to_cpu or (far and func.overloadpacket.__name__ in SIZED_BY_VALUES):
        waited[str(func)] += 1
    if (
        to_cpu
        or not (far or _is_far(target))
        or (func is aten.copy_.default and not isinstance(args[0], Far))
    ):
        return results
    return tree_map(lambda t: _wrapped(t, own), results)


def _is_far(device: Any) -> bool:
    return device is not None and torch.device(device).type == DEVICE.type


def _wrapped(value: Any, own: dict[int, Far]) -> Any:
    if not isinstance(value, Tensor):
        return value
    return own[id(value)] if id(value) in own else Far(value)
