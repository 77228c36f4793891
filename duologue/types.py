"""The letters that name a tensor's axes, as in `codes_BQT`, and the types that go with them.

B  slot: one of the conversations in a batch        Q  codebook of the codec
S  sample of a waveform                             K  stream of the language model
T  frame: 1920 samples, 80 ms                       D  width of a hidden vector
C  channel of a waveform                            H  attention head
                                                    V  entry of a vocabulary
"""

from os import PathLike
from typing import TypeAlias

StrPath: TypeAlias = str | PathLike[str]
