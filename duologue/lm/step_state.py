"""The state of a batch of conversations between steps of the language model."""

from dataclasses import dataclass

import torch
from torch import Tensor

from duologue.lm.condition import Condition
from duologue.lm.model import TO_GENERATE
from duologue.lm.sampling import SlotSampling
from duologue.nn.state import State, keep
from duologue.nn.transformer import KeysValues, TransformerState

LONGEST_REFERENCE_FRAMES = 256  # frames: about a thousand tokens of text


@dataclass(frozen=True)
class Guidance:
    """Classifier-free guidance: the batch is doubled, logits become null + guidance * (conditional - null) with the
    `Sampling.guidance` of each slot.

    `condition` is that of the null half. With `text`, the choice of the text token is guided too; without, the null
    half does not read the text, and the conditional half alone chooses it.
    """

    condition: Condition | None = None
    text: bool = True


@dataclass
class Conditions(State):
    """The conditions of each slot, as the step uses them. A reset keeps them; `tell` changes them."""

    summed_B1D: Tensor | None
    prepended_BSD: Tensor | None
    keys: list[Tensor]  # of each layer, `[B, H, S, D]`; empty without cross-attention
    values: list[Tensor]

    def reset(self, mask_B: Tensor | None = None) -> None:
        """Keeps the conditions."""

    @property
    def crossed(self) -> list[KeysValues] | None:
        return list(zip(self.keys, self.values, strict=True)) or None


@dataclass
class Backbone(State):
    """State and conditions of the temporal transformer."""

    temporal: TransformerState
    conditions: Conditions


@dataclass
class Doubled(State):
    """A `Backbone` of 2B slots for B conversations: the conditional half, then the null half."""

    both: Backbone
    batch: int

    def reset(self, mask_B: Tensor | None = None) -> None:
        self.both.reset(None if mask_B is None else mask_B.repeat(2))

    def gather(self, slots_N: Tensor) -> "Doubled":
        return Doubled(self.both.gather(torch.cat([slots_N, slots_N + self.batch])), len(slots_N))

    def scatter(self, slots_N: Tensor, taken: State) -> None:
        assert isinstance(taken, Doubled)
        self.both.scatter(torch.cat([slots_N, slots_N + self.batch]), taken.both)


@dataclass
class References(State):
    """What a model is told while a conversation goes on: vectors that are added to its inputs, one a frame."""

    vectors_BTD: Tensor  # those of a slot end with the last one
    next_B: Tensor  # int64: which one the next frame reads; T for none

    @staticmethod
    def none(batch: int, like_D: Tensor) -> "References":
        """Those of slots that are told nothing yet, of the width and type of `like_D`."""
        vectors_BTD = like_D.new_zeros(batch, LONGEST_REFERENCE_FRAMES, len(like_D))
        return References(vectors_BTD, torch.full((batch,), LONGEST_REFERENCE_FRAMES, device=like_D.device))

    def fresh(self, name: str) -> float:
        return LONGEST_REFERENCE_FRAMES if name == "next_B" else 0

    def refer(self, slot: int, vectors_TD: Tensor) -> None:
        """A slot reads these from its next frame on, in place of what was left of others. The first of too many
        count."""
        vectors_TD = vectors_TD[:LONGEST_REFERENCE_FRAMES].to(self.vectors_BTD)
        first = LONGEST_REFERENCE_FRAMES - len(vectors_TD)
        self.vectors_BTD[slot, first:] = vectors_TD
        self.next_B[slot] = first

    def take(self, exec_B: Tensor | None) -> Tensor:
        """Each slot's vector of this frame, `[B, 1, D]`."""
        last = LONGEST_REFERENCE_FRAMES - 1
        index_B11 = self.next_B.clamp(max=last)[:, None, None]
        x_B1D = self.vectors_BTD.gather(1, index_B11.expand(-1, 1, self.vectors_BTD.shape[-1]))
        x_B1D = torch.where((self.next_B > last)[:, None, None], 0, x_B1D)
        keep(self.next_B, (self.next_B + 1).clamp(max=LONGEST_REFERENCE_FRAMES), exec_B)
        return x_B1D


@dataclass
class StepState(State):
    """State of a batch of conversations. `null_until_B` (int64): with guidance, the null half gets no input of a stream
    up to this frame plus the stream's delay, which hides the voice prompt from it. A reset clears it.
    """

    backbone: Backbone | Doubled
    tokens_BKC: Tensor  # the last frames of every stream, a ring of max_delay + 2
    frame_B: Tensor  # int64: frames since the slot began
    null_until_B: Tensor
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
