"""What the evaluations of papers have in common."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, TypeAlias

from tyro.conf import arg

Json: TypeAlias = Annotated[Path | None, arg(metavar="OUT.json")]
Dir: TypeAlias = Annotated[Path | None, arg(metavar="DIR")]


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What every evaluation of a model takes."""

    model: str = "nano"
    """A name, folder, .safetensors file or hf://owner/name@revision."""
    json: Json = None
    """Write the figures; `duologue card` reads them."""
