"""Conditions: inputs besides the token streams (`lm/condition.py`)."""

from dataclasses import dataclass

import mlx.core as mx
import mlx.nn as nn

from duologue.config_conditions import ConditionerConfig, ConditioningConfig
from duologue.errors import InputError
from duologue.lm.condition import bin_of, check_names
from duologue.mlx.layers import sinusoids

# A text, vectors [S, D] or [B, S, D], the same with a mask (bool [S] or [B, S]: which are given), or nothing.
Value = str | mx.array | tuple[mx.array, mx.array] | None


@dataclass
class Condition:
    """Combined conditions, for a batch of 1 or B conversations."""

    summed_B1D: mx.array | None  # added to the input of every step
    crossed_BSD: mx.array | None  # attended to
    prepended_BSD: mx.array | None = None  # read before the first frame


class Conditioner(nn.Module):
    """One condition, projected to the model's width; a learnt vector replaces a missing one."""

    def __init__(self, config: ConditionerConfig, dim: int):
        super().__init__()
        self.config = config
        self.table = nn.Embedding(config.bins + 1, config.dim) if config.kind == "lut" else None
        self.projection = nn.Linear(config.dim, dim, bias=False)
        self.missing = mx.zeros(dim)

    def __call__(self, value: Value) -> mx.array:
        """`[B, S, D]`; S is 1 for a look-up."""
        if value is None:
            return self.missing[None, None]
        if self.table is not None:
            return self.projection(self.table(mx.array([[bin_of(self.config, value)]])))
        vectors, mask = value if isinstance(value, tuple) else (value, None)
        if not isinstance(vectors, mx.array) or vectors.shape[-1] != self.config.dim:
            raise InputError(f"condition {self.config.name!r} takes vectors of {self.config.dim} values")
        vectors = vectors.astype(self.missing.dtype)
        y_BSD = self.projection(vectors.reshape(-1, *vectors.shape[-2:]))
        if mask is None:
            return y_BSD
        return mx.where(mask.reshape(-1, mask.shape[-1], 1), y_BSD, self.missing)


class Conditioning(nn.Module):
    """All conditions of a model: summed to every input, or concatenated and attended to."""

    def __init__(self, config: ConditioningConfig, dim: int):
        super().__init__()
        self.config = config
        self.conditioners = {c.name: Conditioner(c, dim) for c in config.told}

    def __call__(self, values: dict[str, Value]) -> Condition:
        """Conditions by name; those not given count as missing."""
        check_names(values, self.conditioners)
        vectors = {name: module(values.get(name)) for name, module in self.conditioners.items()}
        summed = [vectors[name] for name in self.config.summed]
        crossed = [vectors[name] for name in self.config.crossed]
        batch = max((v.shape[0] for v in vectors.values()), default=1)
        cross_BSD = None
        if crossed:
            cross_BSD = mx.concatenate([mx.broadcast_to(v, (batch, *v.shape[1:])) for v in crossed], 1)
            if self.config.cross_positions:
                position_1S = mx.arange(cross_BSD.shape[1])[None]
                codes_1SD = sinusoids(position_1S, cross_BSD.shape[-1]).astype(cross_BSD.dtype)
                cross_BSD = cross_BSD + self.config.cross_positions * codes_1SD
        summed_B1D = sum(summed[1:], summed[0]) if summed else None
        return Condition(summed_B1D, cross_BSD, self._prepended(vectors, batch, summed_B1D))

    def _prepended(
        self, vectors: dict[str, mx.array], batch: int, summed_B1D: mx.array | None
    ) -> mx.array | None:
        if not self.config.prepended:
            return None
        given = [vectors[name] for name in reversed(self.config.prepended)]
        prepended_BSD = mx.concatenate([mx.broadcast_to(v, (batch, *v.shape[1:])) for v in given], 1)
        return prepended_BSD if summed_B1D is None else prepended_BSD + summed_B1D
