"""The letters that name a tensor's axes, as in `codes_BQT`, and the types that every part shares.

B  slot: one of the conversations in a batch        D  width of a hidden vector
S  sample of a waveform                             H  attention head
T  frame: 1920 samples, 80 ms                       V  entry of a vocabulary
C  channel of a waveform                            L  layer, or lag of a correlation
Q  codebook of the codec                            F  frequency of a spectrum
K  stream of the language model                     M  band of a mel spectrum
N  items of any other list (slots chosen, tokens)   P  block of frames that are filtered together
X  any further axes
"""

from dataclasses import dataclass
from os import PathLike
from typing import TypeAlias

StrPath: TypeAlias = str | PathLike[str]

AGENT = "SPEAKER_MAIN"
USER = "SPEAKER_USER"


@dataclass(frozen=True)
class Word:
    """One spoken word; times in seconds from the start of the recording or conversation."""

    text: str
    start: float
    end: float
    speaker: str = AGENT

    def moved(self, seconds: float) -> "Word":
        """The same word `seconds` later."""
        return Word(self.text, self.start + seconds, self.end + seconds, self.speaker)
