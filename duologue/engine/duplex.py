"""Codec and language model together: one step of a conversation."""

from collections.abc import Callable
from copy import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from duologue.interfaces import check_duplex
from duologue.lm.model import TO_GENERATE
from duologue.lm.sampling import Sampling
from duologue.lm.step import StepOutput, init_state, listen, restart, speak, step
from duologue.weights import Model

if TYPE_CHECKING:
    from duologue.engine.persona import Prefix


@dataclass
class DuplexFrame:
    """Output of one step for each slot: `wav_BS` float32 `[B, S]`, the text token spoken with it (-2: none yet), and
    the token of the user's transcript (-1: the model writes none).

    `heard_BQ` are the user's codes, `tokens_BK` the text token and codes that were decoded (-2 while there are none).
    Where `finite_B` is false the model produced NaN or infinity: the slot's output is invalid until it is reset.
    """

    wav_BS: Tensor
    text_B: Tensor
    user_text_B: Tensor
    heard_BQ: Tensor
    tokens_BK: Tensor
    finite_B: Tensor


class Duplex:
    """A batch of slots, each a conversation with the same model. The agent's frame that a step returns is played while
    the user speaks the next one. Raises InputError if the model cannot both listen and speak.

    `compile` passes the language model's step through `torch.compile` (CUDA graphs on a GPU): the first steps take
    minutes.
    """

    def __init__(
        self,
        model: Model,
        sampling: list[Sampling],
        compile: bool = False,
        prefix: "Prefix | None" = None,
    ):
        check_duplex(model.name, model.lm.config, model.codec.config)
        self.codec, self.lm = model.codec, model.lm
        self.frame_size = self.codec.config.frame_size
        self._codec_state = self.codec.init_state(len(sampling))
        condition = None
        if self.lm.conditioning is not None:
            with torch.no_grad():
                condition = self.lm.conditioning(dict(model.conditions))
        self._state = init_state(self.lm, sampling, condition)
        self._speak = self._compiled() if compile else step
        self._prefix = prefix

    def fix_shapes(self) -> None:
        """Give every later step the same shapes, which a compiled or recorded step needs."""
        self._state.fix_shapes()
        self._codec_state.fix_shapes()

    def _compiled(self) -> Callable[..., StepOutput]:
        self._state.fix_shapes()
        if self.lm.device.type != "cuda":
            return torch.compile(step, dynamic=False)
        for tensor in self._state.tensors():  # a CUDA graph needs fixed addresses
            torch._dynamo.mark_static_address(tensor)  # pyright: ignore[reportPrivateUsage]
        return torch.compile(step, dynamic=False, mode="reduce-overhead")

    def step(
        self,
        wav_BS: Tensor,
        exec_B: Tensor | None = None,
        rewrite: Callable[[Tensor], Tensor] | None = None,
    ) -> DuplexFrame:
        """Hear one frame `[B, frame_size]` and say one. Slots outside `exec_B` keep their state: ignore what they
        return. `rewrite` gets the text tokens that the model chose (int64 `[B]`) and returns those to write instead."""
        hear_B = exec_B
        if self._prefix is not None:  # the last frame of the prefix replaces the first
            later_B = ~self._prefix.first(self._state)
            hear_B = later_B if exec_B is None else exec_B & later_B
        heard_BQ = self.codec.encode_step(self._codec_state, wav_BS, hear_B)[:, : self.lm.config.heard, 0]
        return self.step_codes(heard_BQ, exec_B, rewrite)

    def step_codes(
        self,
        heard_BQ: Tensor,
        exec_B: Tensor | None = None,
        rewrite: Callable[[Tensor], Tensor] | None = None,
    ) -> DuplexFrame:
        """As `step`, for the codes of the user's frame instead of its samples."""
        audio_BQ = None
        if self._prefix is not None:
            first_B = self._prefix.first(self._state)
            heard_BQ, audio_BQ = self._prefix.tokens(first_B, heard_BQ)
        if rewrite is None:
            out = self._speak(self.lm, self._state, heard_BQ, exec_B, None, audio_BQ)
        else:  # in two halves, which are not compiled
            thought = listen(self.lm, self._state, heard_BQ, exec_B)
            out = speak(self.lm, self._state, thought, rewrite(thought.text_B), audio_BQ, exec_B)
        tokens_BK = out.tokens_BK.clone()  # the next run of a CUDA graph overwrites it
        spoken_BQ = tokens_BK[:, 1:]
        ready_B = (spoken_BQ >= 0).all(-1)
        decode_B = ready_B if exec_B is None else ready_B & exec_B
        wav_BS = self.codec.decode_step(self._codec_state, spoken_BQ.clamp(min=0)[..., None], decode_B)
        finite_B = out.finite_B & (wav_BS.isfinite().all(-1) | ~ready_B)
        wav_BS = torch.where(ready_B[:, None], wav_BS, 0.0)
        text_B = torch.where(ready_B, tokens_BK[:, 0], TO_GENERATE)
        user_text_B = out.user_text_B.clone()
        return DuplexFrame(wav_BS, text_B, user_text_B, heard_BQ, tokens_BK, finite_B)

    def refer(self, slot: int, vectors_TD: Tensor) -> None:
        """Tell a slot what it asked for: an encoded reference `[T, D]`, which it reads from its next frame on. Raises
        ValueError for a model that takes none."""
        if self._state.references is None:
            raise ValueError("this model takes no references")
        self._state.references.refer(slot, vectors_TD)

    def gather(self, slots_N: Tensor) -> "Duplex":
        """These slots alone (int64 `[N]`), until `scatter`. Not for compiled steps."""
        part = copy(self)
        part._codec_state, part._state = self._codec_state.gather(slots_N), self._state.gather(slots_N)
        return part

    def scatter(self, slots_N: Tensor, part: "Duplex") -> None:
        """Write these slots back."""
        self._codec_state.scatter(slots_N, part._codec_state)
        self._state.scatter(slots_N, part._state)

    def reset(self, mask_B: Tensor, sampling: dict[int, Sampling] | None = None) -> None:
        """Reset the slots of `mask_B`, with new settings for those in `sampling`. Their next frame must be silence: the
        model never sees the codes of the first frame, so a word that began there would lose its onset."""
        self._codec_state.reset(mask_B)
        restart(self.lm, self._state, mask_B)
        if self._prefix is not None:
            self._prefix.begin(self._state, mask_B)
        for slot, settings in (sampling or {}).items():
            self._state.sampling.set(slot, settings)
