"""Conditions: inputs besides the token streams (voice, speaker, guidance strength)."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from functools import reduce

import torch
from torch import Tensor, nn

from duologue.config_conditions import ConditionerConfig, ConditioningConfig
from duologue.errors import InputError
from duologue.nn.initial import normal_
from duologue.nn.rope import sinusoids

# A text, vectors [S, D] or [B, S, D], the same with a mask (bool [S] or [B, S]: which are given), or nothing.
Value = str | Tensor | tuple[Tensor, Tensor] | None


@dataclass
class Condition:
    """Combined conditions, for a batch of 1 or B conversations."""

    summed_B1D: Tensor | None  # added to the input of every step
    crossed_BSD: Tensor | None  # attended to
    prepended_BSD: Tensor | None = None  # read before the first frame


class Conditioner(nn.Module):
    """One condition, projected to the model's width; a learnt vector replaces a missing one."""

    def __init__(self, config: ConditionerConfig, dim: int):
        super().__init__()
        self.config = config
        self.table = nn.Embedding(config.bins + 1, config.dim) if config.kind == "lut" else None
        self.projection = nn.Linear(config.dim, dim, bias=False)
        self.missing = nn.Parameter(normal_(torch.empty(dim), 0.2))

    def forward(self, value: Value) -> Tensor:
        """`[B, S, D]`; S is 1 for a look-up."""
        if value is None:
            return self.missing[None, None]
        if self.table is None:
            vectors, mask = value if isinstance(value, tuple) else (value, None)
            if not isinstance(vectors, Tensor) or vectors.shape[-1] != self.config.dim:
                raise InputError(f"condition {self.config.name!r} takes vectors of {self.config.dim} values")
            y_BSD = self.projection(vectors.to(self.missing).view(-1, *vectors.shape[-2:]))
            if mask is None:
                return y_BSD
            return torch.where(mask.to(y_BSD.device).view(-1, mask.shape[-1], 1), y_BSD, self.missing)
        index = torch.tensor([[bin_of(self.config, value)]], device=self.missing.device)
        return self.projection(self.table(index))


class Conditioning(nn.Module):
    """All conditions of a model: summed to every input, or concatenated and attended to."""

    def __init__(self, config: ConditioningConfig, dim: int):
        super().__init__()
        self.config = config
        self.conditioners = nn.ModuleDict({c.name: Conditioner(c, dim) for c in config.told})

    def forward(self, values: dict[str, Value]) -> Condition:
        """Conditions by name; those not given count as missing."""
        check_names(values, self.conditioners)
        vectors = {name: module(values.get(name)) for name, module in self.conditioners.items()}
        summed = [vectors[name] for name in self.config.summed]
        crossed = [vectors[name] for name in self.config.crossed]
        batch = max((v.shape[0] for v in vectors.values()), default=1)
        cross_BSD = torch.cat([v.expand(batch, -1, -1) for v in crossed], 1) if crossed else None
        if cross_BSD is not None and self.config.cross_positions:
            position_1S = torch.arange(cross_BSD.shape[1], device=cross_BSD.device)[None]
            codes_1SD = sinusoids(position_1S, cross_BSD.shape[-1]).to(cross_BSD.dtype)
            cross_BSD = cross_BSD + self.config.cross_positions * codes_1SD
        summed_B1D = reduce(torch.add, summed) if summed else None
        return Condition(summed_B1D, cross_BSD, self._prepended(vectors, batch, summed_B1D))

    def _prepended(self, vectors: dict[str, Tensor], batch: int, summed_B1D: Tensor | None) -> Tensor | None:
        if not self.config.prepended:
            return None
        given = [vectors[name].expand(batch, -1, -1) for name in reversed(self.config.prepended)]
        prepended_BSD = torch.cat(given, 1)
        return prepended_BSD if summed_B1D is None else prepended_BSD + summed_B1D


def bin_of(config: ConditionerConfig, value: object) -> int:
    """The row of a condition's table for a value."""
    if not isinstance(value, str):
        raise InputError(f"condition {config.name!r} takes a text")
    names = config.values
    if names is None:
        return int(hashlib.sha256(value.encode()).hexdigest(), 16) % config.bins
    if value not in names:
        raise InputError(f"condition {config.name!r} is one of {', '.join(names)}; got {value!r}")
    return names.index(value)


def check_names(values: Iterable[str], known: Iterable[str]) -> None:
    """InputError for a condition that the model does not have."""
    if unknown := set(values) - set(known):
        have = ", ".join(known) or "none"
        raise InputError(f"unknown condition {sorted(unknown)[0]!r}; this model has: {have}")
