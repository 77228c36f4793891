"""The conditions of a language model: what they are, and how they reach it."""

from dataclasses import dataclass

from duologue.config_checks import require, require_sizes


@dataclass(frozen=True)
class ReferenceConfig:
    """How a text that the model is to know becomes vectors (see `lm.reference`): an encoder of width `dim`, which
    `repo` holds, whose last layer joins `group` tokens into one, and a projection through `hidden` values."""

    dim: int
    hidden: int
    group: int
    repo: str

    def __post_init__(self) -> None:
        require_sizes(self, "dim", "hidden", "group")


@dataclass(frozen=True)
class ConditionerConfig:
    """A condition: a table of learnt values ("lut"), given vectors ("tensor") or a text that is encoded ("reference"),
    projected to the model's width."""

    name: str
    kind: str  # lut | tensor | reference
    dim: int
    bins: int = 0
    values: tuple[str, ...] | None = None  # names of the bins; None: any text, hashed
    reference: ReferenceConfig | None = None

    def __post_init__(self) -> None:
        require_sizes(self, "dim", *(["bins"] if self.kind == "lut" else []))
        named = len(self.values or ())
        require(named <= self.bins, f"{named} values do not fit into {self.bins} bins")


@dataclass(frozen=True)
class ConditioningConfig:
    """Which conditions are summed to every input, which are attended to, in this order, and which come before the first
    frame, the last one first."""

    conditioners: tuple[ConditionerConfig, ...] = ()
    summed: tuple[str, ...] = ()
    crossed: tuple[str, ...] = ()
    cross_positions: float = 0.0  # scale of sinusoidal positions on the attended sequence; 0: none
    prepended: tuple[str, ...] = ()

    @property
    def streamed(self) -> tuple[str, ...]:
        """Those that are summed to the inputs a vector a frame, from when they are known on: encoded texts."""
        return tuple(c.name for c in self.conditioners if c.reference)

    @property
    def told(self) -> tuple[ConditionerConfig, ...]:
        """Those that are known when a conversation begins."""
        return tuple(c for c in self.conditioners if not c.reference)

    @property
    def encoder(self) -> ConditionerConfig | None:
        """The one that takes texts while the conversation goes on."""
        return next((c for c in self.conditioners if c.reference), None)
