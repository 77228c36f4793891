"""Devices and processes of a run: one device, or many under `torchrun`.

    world = start(device="auto", precision="bf16")
    model = parallelize(build(), world, shard=(Layer,))

A single process needs no process group; the same code runs on cpu, cuda and mps.
"""

import contextlib
import os
import secrets
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields, is_dataclass, replace
from functools import partial
from typing import Any, Literal, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.distributed_c10d import PrefixStore, Store
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard, register_fsdp_forward_method
from torch.distributed.rendezvous import rendezvous
from torch.distributed.tensor import DTensor

from duologue.errors import InputError

Precision = Literal["fp32", "bf16"]
Terms = Mapping[str, tuple[float | Tensor, float | Tensor]]
M = TypeVar("M", bound=nn.Module)


@dataclass(frozen=True)
class World:
    """This process among all of a run: its rank, how many there are, its device and its precision; and the process
    group in which they talk, None for the default one."""

    rank: int = 0
    size: int = 1
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    precision: Precision = "fp32"
    group: dist.ProcessGroup | None = field(default=None, compare=False)

    def apart(self) -> "World":
        """The same processes with a process group of their own on the CPU, for another thread of each of them."""
        return replace(self, group=dist.new_group(backend="gloo")) if self.size > 1 else self

    @property
    def is_main(self) -> bool:
        return self.rank == 0

    def autocast(self) -> contextlib.AbstractContextManager[Any]:
        """Context for the forward pass: bfloat16 autocast, or nothing in fp32."""
        if self.precision == "fp32":
            return contextlib.nullcontext()
        return torch.autocast(self.device.type, dtype=torch.bfloat16)

    def sum(self, tensor: Tensor) -> Tensor:
        """`tensor` summed over all processes, in place; also returned."""
        if self.size > 1:
            dist.all_reduce(tensor, group=self.group)
        return tensor

    def any(self, *flags: bool) -> tuple[bool, ...]:
        """For each flag, whether any process raises it: the same answer everywhere."""
        if self.size == 1:
            return flags
        counts = self.sum(torch.tensor([float(f) for f in flags]))
        return tuple(c > 0 for c in counts.tolist())

    def barrier(self) -> None:
        if self.size > 1:
            dist.barrier(group=self.group)

    def gather(self, value: Any) -> list[Any]:
        """The small object `value` of every process, in the order of ranks, on all of them."""
        if self.size == 1:
            return [value]
        values: list[Any] = [None] * self.size
        dist.all_gather_object(values, value, group=self.group)
        return values

    def means(self, terms: Terms) -> dict[str, float]:
        """Each (sum, weight) over all processes as a mean, or as the sum where the weight is 0.

        All processes must name the same terms. One transfer from the device.
        """
        names = sorted(terms)
        flat = [_scalar(value, self.device) for name in names for value in terms[name]]
        values = iter(self.sum(torch.stack(flat)).tolist() if flat else ())
        pairs = zip(names, values, values, strict=True)
        return {name: total / weight if weight else total for name, total, weight in pairs}


def start(device: str = "auto", precision: Precision = "fp32") -> World:
    """The world of this process; joins the process group if `torchrun` started more than one.

    Raises InputError if the device is not there or cannot do the precision.
    """
    kind, size = _device_kind(device), int(os.environ.get("WORLD_SIZE", "1"))
    place = torch.device(kind)
    if kind == "cuda":
        place = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
        torch.cuda.set_device(place)
        if precision == "bf16":  # what autocast leaves in 32 bits: products of the matrix units all the same
            torch.set_float32_matmul_precision("high")
        if precision == "bf16" and not torch.cuda.is_bf16_supported():
            raise InputError("this GPU has no bfloat16: use precision fp32")
    if size == 1:
        return World(device=place, precision=precision)
    if kind == "mps":
        raise InputError("training with several processes needs cpu or cuda, not mps")
    if not dist.is_initialized():
        # gloo beside nccl: flags, counts and checkpoint plans are exchanged on the CPU.
        backend = "cpu:gloo,cuda:nccl" if kind == "cuda" else "gloo"
        store, rank, size = next(iter(rendezvous("env://")))
        dist.init_process_group(backend, store=fresh_store(store, rank, size), rank=rank, world_size=size)
    return World(rank=dist.get_rank(), size=size, device=place, precision=precision)


def fresh_store(store: Store, rank: int, size: int, patience: float = 300.0) -> Store:
    """A part of `store` that no earlier start of this run wrote to, the same one for all its processes.

    `torchrun` keeps its store when it restarts processes, with the addresses of the dead ones; a process that reads
    them waits for ever. So every process writes a random name; the first one republishes the names that it sees, until
    each process has found and confirmed its own. Raises InputError if they have not all come after `patience` seconds.
    """
    name, deadline = secrets.token_hex(8), time.monotonic() + patience
    store.set(f"start/{rank}", name)
    written = [f"start/{other}" for other in range(size)]
    while time.monotonic() < deadline:
        if rank == 0 and store.check(written):
            store.set("start", " ".join(store.get(key).decode() for key in written))
        if store.check(["start"]):
            first, *others = store.get("start").decode().split()
            if name in (first, *others):
                store.set(f"start/{first}/{rank}", "")
                # The first must go on repeating until all have seen it.
                if rank > 0 or store.check([f"start/{first}/{other}" for other in range(size)]):
                    return PrefixStore(first, store)
        time.sleep(0.01)
    raise InputError(f"not all {size} processes came within {patience:g} s: are all of them running?")


def stop(world: World) -> None:
    """Leaves the process group."""
    if world.size > 1 and dist.is_initialized():
        dist.destroy_process_group()


def parallelize(
    model: M,
    world: World,
    shard: tuple[type[nn.Module], ...] = (),
    methods: tuple[str, ...] = (),
    replicas: int = 1,
    recompute: bool = False,
) -> M:
    """`model` on the world's device, ready to be trained by all processes; changed in place and returned.

    With `shard`, the classes of its large layers (`nn.transformer.Layer`), each such layer and then the rest is
    spread over the processes (FSDP2). Every use of the model must then begin with its `forward` or one of
    `methods`. With `replicas`, the processes form that many groups, each with a whole model (HSDP).
    Without `shard`, every process holds a copy, equal from the start, and `Stage.update` sums the gradients.
    `recompute` sets the attribute `checkpointing` of every module that has it: activations inside a layer are
    computed again in the backward pass.
    Raises InputError if there is no such layer or module, or the replicas do not fit the processes.
    """
    blocks = [module for module in model.modules() if isinstance(module, shard)]
    if shard and not blocks:
        raise InputError(f"the model has no layer of {', '.join(c.__name__ for c in shard)} to shard")
    if world.size % replicas:
        raise InputError(f"{world.size} processes cannot form {replicas} replicas of one size")
    if recompute:
        _set_checkpointing(model)
    if world.size == 1 or not shard:
        return _copied(model, world)
    shape, names = (replicas, world.size // replicas), ("replicate", "shard")
    mesh = init_device_mesh(world.device.type, shape, mesh_dim_names=names)
    mesh = mesh if replicas > 1 else mesh["shard"]
    low = torch.bfloat16 if world.precision == "bf16" else None
    policy = MixedPrecisionPolicy(param_dtype=low, reduce_dtype=torch.float32)
    for module in [*blocks, model]:  # a device never holds more than one whole layer
        fully_shard(_copied(module, world), mesh=mesh, mp_policy=policy)
    for method in methods:
        register_fsdp_forward_method(model, method)
    return model


def _copied(module: M, world: World) -> M:
    """`module` on the device, with the weights that the first process has (those not yet sharded). One without memory
    (on "meta") stays there: it is sharded first, and gets its part of the memory by `to_empty`."""
    if all(parameter.is_meta for parameter in module.parameters()):
        return module
    module.to(world.device)
    if world.size > 1:
        for tensor in [*module.parameters(), *module.buffers()]:
            if not isinstance(tensor, DTensor):
                dist.broadcast(tensor.detach(), src=0)
    return module


def reshard(model: nn.Module) -> None:
    """Reshards weights that a forward pass without a backward left gathered, because they may be out of date."""
    for module in model.modules():
        if isinstance(module, FSDPModule):
            module.reshard()


def sum_gradients(parameters: Iterable[nn.Parameter], world: World) -> None:
    """Makes every gradient the sum over processes (FSDP2 leaves the mean in sharded ones)."""
    if world.size == 1:
        return
    parameters = list(parameters)
    # A parameter that only other processes used has a place in the sum; one that none used has no gradient.
    used = world.sum(torch.tensor([float(p.grad is not None) for p in parameters])).tolist()
    plain: list[Tensor] = []
    for parameter in (p for p, count in zip(parameters, used, strict=True) if count):
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
        if isinstance(parameter.grad, DTensor):
            parameter.grad.mul_(world.size)
        else:
            plain.append(parameter.grad)
    if plain:
        flat = world.sum(torch.cat([g.flatten() for g in plain]))
        for gradient, part in zip(plain, flat.split([g.numel() for g in plain]), strict=True):
            gradient.copy_(part.view_as(gradient))


def to_device(batch: Any, device: torch.device) -> Any:
    """`batch` with every tensor in it (in dicts, lists, tuples, dataclasses) on `device`."""
    if isinstance(batch, Tensor):
        return batch.to(device, non_blocking=device.type == "cuda" and batch.is_pinned())
    return map_tensors(batch, partial(to_device, device=device))


def pin(batch: Any) -> Any:
    """`batch` with every tensor in pinned memory, from where a copy to CUDA does not block."""
    if isinstance(batch, Tensor):
        return batch.pin_memory() if batch.device.type == "cpu" else batch
    return map_tensors(batch, pin)


def map_tensors(batch: Any, change: Any) -> Any:
    """A container like `batch` with `change` applied to its members; anything else as it is."""
    if isinstance(batch, Mapping):
        return {key: change(value) for key, value in batch.items()}
    if is_dataclass(batch) and not isinstance(batch, type):
        return replace(batch, **{f.name: change(getattr(batch, f.name)) for f in fields(batch) if f.init})
    if isinstance(batch, tuple) and hasattr(batch, "_fields"):
        return type(batch)(*(change(value) for value in batch))
    if isinstance(batch, list | tuple):
        return type(batch)(change(value) for value in batch)
    return batch


def _scalar(value: float | Tensor, device: torch.device) -> Tensor:
    wide = torch.float32 if device.type == "mps" else torch.float64
    if isinstance(value, Tensor):
        value = value.full_tensor() if isinstance(value, DTensor) else value
        return value.detach().to(device, wide).reshape(())
    return torch.tensor(float(value), dtype=wide, device=device)


def _device_kind(device: str) -> str:
    cuda, mps = torch.cuda.is_available(), torch.backends.mps.is_available()
    if device == "auto":
        return "cuda" if cuda else "mps" if mps else "cpu"
    if not {"cpu": True, "cuda": cuda, "mps": mps}.get(device, False):
        raise InputError(f"device {device!r} is not here: use auto, cpu, cuda or mps")
    return device


def _set_checkpointing(model: nn.Module) -> None:
    able = [module for module in model.modules() if hasattr(module, "checkpointing")]
    if not able:
        raise InputError("no part of this model can recompute its activations")
    for module in able:
        setattr(module, "checkpointing", True)  # noqa: B010
