"""AdamW with parameter groups, schedules, clipping, and the average of weights (EMA).

Everything that changes with time is a function of the step or part of a state dict, so that a run which goes
on from a checkpoint takes the same steps as one that was never stopped.
"""

import math
import re
from collections.abc import Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from duologue.errors import InputError
from duologue.train.parallel import reshard

# On a GPU a few kernels for all tensors, instead of hundreds that take longer to begin than to run.
_each_times = torch._foreach_mul_  # pyright: ignore[reportPrivateUsage, reportPrivateImportUsage]
_each_towards = torch._foreach_lerp_  # pyright: ignore[reportPrivateUsage, reportPrivateImportUsage]


@dataclass(frozen=True)
class OptimConfig:
    """AdamW and its schedule; the defaults are for a language model (Moshi paper, section 3.2)."""

    lr: float = 3e-4
    """Peak learning rate."""
    betas: tuple[float, float] = (0.9, 0.95)
    eps: float = 1e-8
    weight_decay: float = 0.1
    clip: float = 1.0
    """Largest norm of the whole gradient; 0 leaves it as it is."""
    schedule: Literal["constant", "cosine", "onecycle"] = "constant"
    warmup: int = 0
    """Steps of linear warmup (constant and cosine)."""
    steps: int = 0
    """Length of the cosine or onecycle schedule; later steps keep its last value."""
    floor: float = 0.0
    """Where the cosine ends, as a fraction of `lr`."""

    def __post_init__(self) -> None:
        if self.schedule != "constant" and self.steps < 1:
            raise InputError(f"schedule {self.schedule!r} needs `steps`, its length")


@dataclass(frozen=True)
class Group:
    """What differs from `OptimConfig` for the parameters whose name holds `pattern`, a regular expression.

    The first group that fits counts. `lr` follows the same schedule.
    """

    pattern: str
    lr: float | None = None
    weight_decay: float | None = None


def schedule_factor(config: OptimConfig, step: int) -> float:
    """The learning rate of step `step` (counted from 0) as a fraction of `config.lr`."""
    if config.schedule == "onecycle":
        return _one_cycle(step, config.steps)
    if step < config.warmup:
        return (step + 1) / config.warmup
    if config.schedule == "constant":
        return 1.0
    done = min(1.0, (step - config.warmup) / max(1, config.steps - config.warmup))
    return config.floor + (1 - config.floor) * 0.5 * (1 + math.cos(math.pi * done))


def _one_cycle(step: int, steps: int, up: float = 0.05, start: float = 25.0, end: float = 1e4) -> float:
    """`torch.optim.lr_scheduler.OneCycleLR` with its default divisors, as a function of the step."""
    step, last, peak = min(step, steps - 1), steps - 1, up * steps - 1
    if step <= peak:
        low, high, done = 1 / start, 1.0, step / peak if peak else 1.0
    else:
        low, high, done = 1.0, 1 / (start * end), (step - peak) / max(1e-9, last - peak)
    return high + (low - high) * 0.5 * (1 + math.cos(math.pi * done))


class Optimizer:
    """AdamW over the trainable parameters of `module` whose name `select` is found in.

    Its state is complete from the start (zero moments), so that a checkpoint always has the same shape; the
    state dict is keyed by parameter name. Two optimisers may share parameters, each with its own moments.
    Build it after the model was placed on its device and sharded (`parallel.parallelize`).
    Raises InputError if `select` or a group's pattern names no parameter.
    """

    def __init__(
        self, module: nn.Module, config: OptimConfig, groups: Sequence[Group] = (), select: str = ""
    ) -> None:
        named = {n: p for n, p in module.named_parameters() if p.requires_grad and re.search(select, n)}
        if not named:
            raise InputError(f"no trainable parameter has a name that matches {select!r}")
        self.config, self.named = config, named
        self._adam = torch.optim.AdamW(
            _param_groups(named, config, groups), lr=config.lr, betas=config.betas, eps=config.eps, fused=True
        )
        for group in self._adam.param_groups:
            for parameter in group["params"]:
                self._adam.state[parameter] = {
                    "step": torch.zeros((), dtype=torch.float32, device=parameter.device),
                    "exp_avg": torch.zeros_like(parameter, requires_grad=False),
                    "exp_avg_sq": torch.zeros_like(parameter, requires_grad=False),
                }

    def step(self, step: int, scale: float = 1.0) -> dict[str, float]:
        """One update from the gradients times `scale`, at the schedule's place `step`.

        A gradient that is not finite changes nothing.
        Returns lr, grad_norm (before clipping), skipped (0 or 1).
        """
        parameters = [p for p in self.named.values() if p.grad is not None]
        norm = scale * float(total_norm(_grad(p) for p in parameters))
        factor = schedule_factor(self.config, step)
        if math.isfinite(norm):
            if self.config.clip and norm > self.config.clip:
                scale *= self.config.clip / norm
            _each_times([_grad(p) for p in parameters], scale)
            for group in self._adam.param_groups:
                group["lr"] = group["peak_lr"] * factor
            self._adam.step()
            # The fused kernel does not say so itself, and what is kept of weights (`nn.linear.WeightCache`) must know.
            torch.autograd.graph.increment_version(parameters)
        return {"lr": self.config.lr * factor, "grad_norm": norm, "skipped": float(not math.isfinite(norm))}

    def state_dict(self) -> dict[str, dict[str, Tensor]]:
        return {name: dict(self._adam.state[p]) for name, p in self.named.items()}

    @torch.no_grad()
    def load_state_dict(self, state: Mapping[str, Mapping[str, Tensor]]) -> None:
        _check_names(state, self.named)
        for name, parameter in self.named.items():
            for key, value in self._adam.state[parameter].items():
                value.copy_(state[name][key])


class Ema:
    """Running average of the parameters of `module` whose name `select` is found in.

    The weight of the past grows from 0.1 to `decay` over the first updates, so that random initial weights
    are soon forgotten.
    """

    def __init__(self, module: nn.Module, decay: float, select: str = "") -> None:
        named = {n: p for n, p in module.named_parameters() if p.requires_grad and re.search(select, n)}
        if not named:
            raise InputError(f"no trainable parameter has a name that matches {select!r}")
        self.module, self.decay, self.named, self.updates = module, decay, named, 0
        self.average = {name: p.detach().clone() for name, p in named.items()}

    @torch.no_grad()
    def update(self) -> None:
        past = min(self.decay, (1 + self.updates) / (10 + self.updates))
        _each_towards(list(self.average.values()), list(self.named.values()), 1 - past)
        self.updates += 1

    @contextmanager
    def applied(self) -> Generator[None]:
        """The module holds the averages inside, for evaluation; its own weights come back after."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    @torch.no_grad()
    def _swap(self) -> None:
        for name, parameter in self.named.items():
            own = parameter.detach().clone()
            parameter.copy_(self.average[name])
            self.average[name].copy_(own)
        reshard(self.module)

    def state_dict(self) -> dict[str, Any]:
        return {"average": dict(self.average), "updates": self.updates}

    @torch.no_grad()
    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        _check_names(state["average"], self.average)
        for name, value in self.average.items():
            value.copy_(state["average"][name])
        self.updates = state["updates"]


def total_norm(tensors: Iterable[Tensor]) -> Tensor:
    """L2 norm over all `tensors`, a 0-dim tensor; sharded ones (DTensor) count with all their shards."""
    sharded, plain = [], []
    for tensor in tensors:
        (sharded if isinstance(tensor, DTensor) else plain).append(tensor)
    norms = [torch.nn.utils.get_total_norm(part) for part in (sharded, plain) if part]
    norms = [n.full_tensor() if isinstance(n, DTensor) else n for n in norms]
    return torch.linalg.vector_norm(torch.stack(norms)) if norms else torch.zeros(())


def _param_groups(
    named: Mapping[str, nn.Parameter], config: OptimConfig, groups: Sequence[Group]
) -> list[dict[str, Any]]:
    members: list[list[nn.Parameter]] = [[] for _ in range(len(groups) + 1)]
    for name, parameter in named.items():
        found = (i for i, group in enumerate(groups) if re.search(group.pattern, name))
        members[next(found, len(groups))].append(parameter)
    for group, parameters in zip(groups, members, strict=False):
        if not parameters:
            raise InputError(f"no trainable parameter is left for the group {group.pattern!r}")
    settings = [*groups, Group("")]
    return [
        {
            "params": parameters,
            "peak_lr": config.lr if group.lr is None else group.lr,
            "weight_decay": config.weight_decay if group.weight_decay is None else group.weight_decay,
        }
        for group, parameters in zip(settings, members, strict=True)
        if parameters
    ]


def _grad(parameter: nn.Parameter) -> Tensor:
    assert parameter.grad is not None
    return parameter.grad


def _check_names(state: Mapping[str, Any], named: Mapping[str, Any]) -> None:
    if state.keys() != named.keys():
        odd = sorted(state.keys() ^ named.keys())
        raise InputError(f"the saved state is of another model: {len(odd)} names differ, first {odd[0]!r}")
