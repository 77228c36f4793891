"""`duologue detect`: whether a recording carries the mark that `serve --watermark` adds."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg


@dataclass(frozen=True)
class Detect:
    """Tell whether a recording carries the mark of `duologue serve --watermark` or `talk --watermark`.

    A missing mark proves nothing: a neural codec removes it.
    """

    source: Annotated[Positional[Path], arg(metavar="IN.wav")]
    """The recording; ten seconds of speech and more are best."""

    def run(self) -> None:
        from duologue.audio.files import read_mono
        from duologue.audio.watermark import SpreadSpectrum

        found = SpreadSpectrum().find(read_mono(self.source))
        verdict = "marked" if found > 0.5 else "no mark found"
        print(f"{self.source}: {verdict} ({found:.2f})")
