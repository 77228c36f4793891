"""`duologue plan`: estimate the hardware for a fleet or a training run."""

import json as json_format
from dataclasses import asdict, dataclass
from typing import Annotated, Literal

from tyro.conf import arg

from duologue.errors import InputError


@dataclass(frozen=True)
class Plan:
    """Estimate the GPUs that conversations need or, with --train, that training needs.

    Computed from the model's shape and the card's data sheet, with the utilisation that docs/scale.md explains.
    """

    model: Literal["moshi", "nano", "tiny"] = "moshi"
    """Shape of the model."""
    gpus: Literal["l4", "l40s", "a100", "h100", "h200", "b200"] = "h100"
    """GPU type."""
    conversations: int = 1000
    """Concurrent conversations."""
    bits: Annotated[int, arg(metavar="16|8")] = 16
    """Bits per weight."""
    train: bool = False
    """Estimate training instead of serving."""
    hours: float = 1000.0
    """With --train: hours of conversations in the one epoch."""
    cards: int = 8
    """With --train: number of GPUs."""
    lora: bool = False
    """With --train: train LoRA adapters only."""
    json: bool = False
    """Print JSON instead of a table."""

    def run(self) -> None:
        if self.bits not in (8, 16) or self.conversations < 1 or self.cards < 1 or not self.hours > 0:
            raise InputError("--bits is 16 or 8; conversations, cards and hours are above 0")
        from duologue.bench.plan import serving, training

        if self.train:
            rows = training(self.model, self.gpus, self.cards, self.hours, self.lora)
        else:
            rows = serving(self.model, self.gpus, self.conversations, self.bits)
        if self.json:
            print(json_format.dumps([asdict(row) for row in rows]))
            return
        from rich.console import Console
        from rich.table import Table

        table = Table("", "", "", "from", box=None)
        for row in rows:
            digits = 0 if row.value == int(row.value) or row.value >= 1000 else 1 if row.value >= 10 else 3
            table.add_row(row.what, f"{row.value:,.{digits}f}", row.unit, row.origin)
        Console().print(table)
