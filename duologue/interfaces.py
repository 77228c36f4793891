"""Interfaces through which a model is run, in numpy, for every tensor library. They know slots and frames, not text or
clocks.

`Backend` runs conversations (`engine.backend` in torch, `mlx.backend`), `CodecBackend` the codec alone, and `Streams`
recognition and synthesis (`engine.streams` in torch, `mlx.streams`).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Protocol, TypeAlias

import numpy as np

from duologue.config import CodecConfig, LMConfig
from duologue.errors import InputError
from duologue.lm.sampling import Sampling
from duologue.weights import Model


def spread(rows: np.ndarray, exec_B: np.ndarray) -> np.ndarray:
    """Rows `[N, ...]` at the N slots of `exec_B` (bool `[B]`), `[B, ...]`; zeros at all others."""
    among = np.zeros((len(exec_B), *rows.shape[1:]), rows.dtype)
    among[exec_B] = rows
    return among


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
        """The same rows at the slots of `exec_B`; zeros at all others."""
        return Frames(**{field.name: spread(getattr(self, field.name), exec_B) for field in fields(self)})


@dataclass(frozen=True)
class TextMarks:
    """The tokens of a text stream that stand for no text: silence, and the frame before a word after silence."""

    pad: int
    epad: int


# Maps the text tokens that the model chose, int64 [slots], to those to write instead. Other rows mean nothing.
Rewrite: TypeAlias = Callable[[np.ndarray], np.ndarray]


class Backend(Protocol):
    """A model with a number of slots. One thread uses it at a time."""

    slots: int
    frame_size: int
    sample_rate: int
    marks: TextMarks

    def start(self, sampling: dict[int, Sampling]) -> None:
        """Reset these slots. The next frame that they hear must be silence; discard what they say to it."""
        ...

    def step(self, wav_BS: np.ndarray, exec_B: np.ndarray, rewrite: Rewrite | None = None) -> Frames:
        """Hear and say one frame in the slots of `exec_B` (bool `[B]`); `rewrite` may replace its text. After an
        exception no slot can be trusted until `rebuild`."""
        ...

    def refer(self, slot: int, vectors_TD: np.ndarray) -> None:
        """Give a slot an encoded reference, float32 `[T, D]`, which it reads from its next frame on. Raises ValueError
        for a model that takes none."""
        ...

    def rebuild(self) -> None:
        """Discard the state of all slots and keep the weights."""
        ...


class CodecBackend(Protocol):
    """A codec: two independent streams, one for encoding and one for decoding."""

    def encode_frame(self, wav_S: np.ndarray) -> np.ndarray:
        """Codes int64 `[Q]` of the next frame of a recording."""
        ...

    def decode_frame(self, codes_Q: np.ndarray) -> np.ndarray:
        """The next frame of a recording, float32 `[S]`."""
        ...


# Name of a condition to a text, or to vectors float32 [S, D] with a mask bool [S] of those that are given.
Conditions: TypeAlias = Mapping[str, str | tuple[np.ndarray, np.ndarray]]


@dataclass(frozen=True)
class Listened:
    """What the first half of a step gave each slot. Rows of slots that did not run mean nothing."""

    text_B: np.ndarray  # the token that the model would write
    user_text_B: np.ndarray  # the token of the user's transcript; -1 if the model writes none
    pauses_BH: np.ndarray  # probability that the user pauses, from each pause head; H may be 0
    finite_B: np.ndarray  # false: the model produced NaN or infinity


@dataclass(frozen=True)
class Unguided:
    """Conditions of the null half of a guided batch, and whether it reads the text (`lm.step_state.Guidance`)."""

    conditions: Conditions
    text: bool


class Streams(Protocol):
    """One thread uses it at a time. `exec_B` (bool `[B]`): the slots that run; others keep their state."""

    slots: int

    def start(
        self, slot: int, sampling: Sampling, conditions: Conditions | None = None, null_until: int = 0
    ) -> None:
        """Reset a slot. The null half of a guided model does not read the first `null_until` frames."""
        ...

    def encode(self, wav_BS: np.ndarray, exec_B: np.ndarray) -> np.ndarray:
        """Codes `[B, Q]` of one frame of samples."""
        ...

    def listen(
        self, heard_BQ: np.ndarray, exec_B: np.ndarray, allowed_BV: np.ndarray | None = None
    ) -> Listened:
        """The first half of a step: hear a frame, choose a text token, among those of `allowed_BV` (bool) if given."""
        ...

    def speak(
        self, text_B: np.ndarray, audio_BQ: np.ndarray, exec_B: np.ndarray, depth: bool = True
    ) -> np.ndarray:
        """The second half: write `text_B`, and say `audio_BQ` (-2: as the model chooses; without `depth`, nothing is
        chosen). Returns the newest whole frame `[B, 1 + Q]`, -2 where there is none."""
        ...

    def decode(self, codes_BQ: np.ndarray, exec_B: np.ndarray) -> np.ndarray:
        """Samples `[B, C, S]` of one frame of codes, those of the first channel first."""
        ...


def warm_up(backend: Backend) -> None:
    """Run one step with no active slot: the first step packs the weights (and compiles), and takes as long as forty
    others."""
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


def channels(model: Model) -> int:
    """How many channels of sound a model speaks: two if each of two speakers has codebooks of its own."""
    return 2 if model.files.config.task.get("tts_config", {}).get("multistream") else 1


def pause_heads(model: Model) -> int:
    """How many heads of a model detect pauses."""
    lm = model.files.config.lm
    return 0 if lm.writes_down_user else lm.extra_heads
