"""What a batch of conversations remembers between the steps of the language model (`lm/step_state.py`)."""

from dataclasses import dataclass

import mlx.core as mx

from duologue.lm.step_state import LONGEST_REFERENCE_FRAMES
from duologue.mlx.condition import Condition
from duologue.mlx.model import TO_GENERATE
from duologue.mlx.sampling import SlotSampling
from duologue.mlx.state import State, keep
from duologue.mlx.transformer import KeysValues, TransformerState


@dataclass(frozen=True)
class Guidance:
    """Classifier-free guidance; what it does is described at the torch version."""

    condition: Condition | None = None
    text: bool = True


@dataclass
class Conditions(State):
    """Conditions as the step uses them, for each slot. They belong to the slots, not to their past: a reset leaves
    them; `tell` changes them."""

    summed_B1D: mx.array | None
    prepended_BSD: mx.array | None
    crossed: "list[Crossed]"  # one a layer; empty without cross-attention

    def reset(self, mask_B: mx.array | None = None) -> None:
        """Conditions are not part of a conversation's past."""

    @property
    def pairs(self) -> list[KeysValues] | None:
        return [(layer.keys_BHSD, layer.values_BHSD) for layer in self.crossed] or None


@dataclass
class Crossed(State):
    """What one layer attends to."""

    keys_BHSD: mx.array
    values_BHSD: mx.array


@dataclass
class Backbone(State):
    """What the temporal transformer remembers and is told."""

    temporal: TransformerState
    conditions: Conditions


@dataclass
class Doubled(State):
    """The same of 2B slots for B conversations: the conditional half, then the null half."""

    both: Backbone

    def reset(self, mask_B: mx.array | None = None) -> None:
        self.both.reset(None if mask_B is None else mx.concatenate([mask_B, mask_B]))


@dataclass
class References(State):
    """What a model is told while a conversation goes on: vectors that are added to its inputs, one a frame."""

    vectors_BTD: mx.array  # those of a slot end with the last one
    next_B: mx.array  # int32: which one the next frame reads; T for none

    @staticmethod
    def none(batch: int, dim: int, dtype: mx.Dtype) -> "References":
        """Those of slots that are told nothing yet."""
        vectors_BTD = mx.zeros((batch, LONGEST_REFERENCE_FRAMES, dim), dtype)
        return References(vectors_BTD, mx.full(batch, LONGEST_REFERENCE_FRAMES, mx.int32))

    def fresh(self, name: str) -> float:
        return LONGEST_REFERENCE_FRAMES if name == "next_B" else 0

    def refer(self, slot: int, vectors_TD: mx.array) -> None:
        """A slot reads these from its next frame on, in place of what was left of others. The first of too many
        count."""
        vectors_TD = vectors_TD[:LONGEST_REFERENCE_FRAMES].astype(self.vectors_BTD.dtype)
        first = LONGEST_REFERENCE_FRAMES - len(vectors_TD)
        self.vectors_BTD[slot, first:] = vectors_TD
        self.next_B[slot] = first

    def take(self, exec_B: mx.array | None) -> mx.array:
        """Each slot's vector of this frame, `[B, 1, D]`."""
        last = LONGEST_REFERENCE_FRAMES - 1
        index_B11 = mx.minimum(self.next_B, last)[:, None, None]
        x_B1D = mx.take_along_axis(self.vectors_BTD, index_B11, 1)
        x_B1D = mx.where((self.next_B > last)[:, None, None], 0, x_B1D)
        self.next_B = keep(self.next_B, mx.minimum(self.next_B + 1, LONGEST_REFERENCE_FRAMES), exec_B)
        return x_B1D


@dataclass
class StepState(State):
    """Everything a batch of conversations remembers between frames."""

    backbone: Backbone | Doubled
    tokens_BKC: mx.array  # int32: the last frames of every stream, a ring of max_delay + 2
    frame_B: mx.array  # int32: frames since the slot began
    null_until_B: mx.array  # int32: as in torch
    sampling: SlotSampling
    guidance: Guidance | None
    codebooks: int  # how many are spoken; the model reads no input for the rest
    references: References | None = None

    def fresh(self, name: str) -> float:
        return TO_GENERATE if name == "tokens_BKC" else 0

    @property
    def inner(self) -> Backbone:
        return self.backbone.both if isinstance(self.backbone, Doubled) else self.backbone

    @property
    def temporal(self) -> TransformerState:
        return self.inner.temporal
