"""What runs a model for the conversations, as an interface: slots and frames in numpy, whatever computes.

It knows no tensor library, no clients, clocks or text. The backends are in `engine.backend` (torch) and `mlx.backend`.
"""

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Protocol

import numpy as np

from duologue.config import CodecConfig, LMConfig
from duologue.errors import InputError
from duologue.lm.sampling import Sampling


@dataclass(frozen=True)
class Frames:
    """What one step gave each slot, in numpy: as `DuplexFrame`. Rows of slots that did not run mean nothing."""

    wav_BS: np.ndarray
    text_B: np.ndarray
    user_text_B: np.ndarray
    heard_BQ: np.ndarray
    tokens_BK: np.ndarray
    finite_B: np.ndarray

    def spread(self, exec_B: np.ndarray) -> "Frames":
        """These rows as those of the slots of `exec_B`, among all others."""

        def spread(rows: np.ndarray) -> np.ndarray:
            among = np.zeros((len(exec_B), *rows.shape[1:]), rows.dtype)
            among[exec_B] = rows
            return among

        return Frames(**{field.name: spread(getattr(self, field.name)) for field in fields(self)})


@dataclass(frozen=True)
class TextMarks:
    """The tokens of a model's text stream that stand for no text: silence, and the frame before a word after it."""

    pad: int
    epad: int


Rewrite = Callable[[np.ndarray], np.ndarray]
"""Gets the text tokens that the model chose for a frame, int64 `[slots]`, and returns those to write instead. Rows of
slots that do not run mean nothing."""


class Backend(Protocol):
    """A model with a number of slots. One thread uses it at a time."""

    slots: int
    frame_size: int
    sample_rate: int
    marks: TextMarks

    def start(self, sampling: dict[int, Sampling]) -> None:
        """Make these slots as new; the first frame they then hear must be silence, and what they say to it is void."""
        ...

    def step(self, wav_BS: np.ndarray, exec_B: np.ndarray, rewrite: Rewrite | None = None) -> Frames:
        """Hear and say one frame in the slots of `exec_B` (bool `[B]`); `rewrite` may replace its text. After an
        exception no slot can be trusted until `rebuild`."""
        ...

    def rebuild(self) -> None:
        """Throw away the state of all slots. The weights stay."""
        ...


class CodecBackend(Protocol):
    """A codec's two directions, each with a stream of its own."""

    def encode_frame(self, wav_S: np.ndarray) -> np.ndarray:
        """Codes int64 `[Q]` of the next frame of a recording."""
        ...

    def decode_frame(self, codes_Q: np.ndarray) -> np.ndarray:
        """The next frame of a recording, float32 `[S]`."""
        ...


def warm_up(backend: Backend) -> None:
    """A step in which nobody speaks: the first one lays out the weights (compiles, too), and takes as long as forty."""
    backend.step(np.zeros((backend.slots, backend.frame_size), np.float32), np.zeros(backend.slots, bool))


def check_duplex(name: str, lm: LMConfig, codec: CodecConfig) -> None:
    """Raises InputError if the model cannot both listen and speak."""
    if not lm.spoken or not lm.heard:
        raise InputError(f"{name} does not both listen and speak: it cannot hold a conversation")
    need = max(lm.spoken, lm.heard)
    if codec.quantizer.entries != lm.card or codec.codebooks < need:
        raise InputError(
            f"{name}: the codec has {codec.codebooks} codebooks of {codec.quantizer.entries} entries, the "
            f"language model needs {need} of {lm.card}"
        )
