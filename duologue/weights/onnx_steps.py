"""The step of a conversation as three graphs: the user's sound to codes, codes to the agent's tokens, these to sound.

A graph is traced from the modules' own steps. What the step keeps of a conversation is an input and an output of the
graph, tensor by tensor, so whoever runs it passes the outputs of one frame to the next. It has one slot, and takes the
likeliest token each time.
"""

from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from duologue.codec import Codec
from duologue.errors import InputError
from duologue.lm import LM, Sampling
from duologue.lm.sampling import SlotSampling
from duologue.lm.step import init_state, step
from duologue.nn.state import State

S = TypeVar("S")


@dataclass(frozen=True)
class Part:
    """One graph to be: `inputs` and `outputs` name what is not state; `example` has a value of each input."""

    module: "Step"
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    example: tuple[Tensor, ...]


def parts(codec: Codec, lm: LM, sampling: Sampling) -> dict[str, Part]:
    """The graphs by name: "encode", "lm" and "decode".

    | graph | inputs | outputs |
    |---|---|---|
    | encode | `wav` float32 `[1, frame_size]` | `codes` int64 `[1, Q]`, those that the language model hears |
    | lm | `codes` | `tokens` int64 `[1, 1 + Q]`, as `lm.step.StepOutput.tokens_BK`; `user_text` int64 `[1]` |
    | decode | `codes` int64 `[1, Q]`, the agent's | `wav` |

    Besides these each has its state: `state_0` ... in, `next_0` ... out. Raises InputError for a model with conditions.
    """
    config = lm.config
    if lm.conditioning is not None or config.temporal.cross_attention:
        raise InputError("a model that needs a condition cannot be converted to ONNX")
    heard_BQ = torch.zeros(1, config.heard, dtype=torch.int64)
    said_BQ = torch.zeros(1, config.spoken, dtype=torch.int64)
    wav_BS = torch.zeros(1, codec.config.frame_size)
    return {
        "encode": Part(EncodeStep(codec, config.heard), ("wav",), ("codes",), (wav_BS,)),
        "lm": Part(LMStep(lm, sampling.pad_bias), ("codes",), ("tokens", "user_text"), (heard_BQ,)),
        "decode": Part(DecodeStep(codec), ("codes",), ("wav",), (said_BQ,)),
    }


class Step(nn.Module):
    """A step whose state comes as tensors, and leaves as tensors after the outputs."""

    def __init__(self, initial: State):
        super().__init__()
        initial.fix_shapes()
        self.initial = initial

    def tensors(self) -> list[Tensor]:
        """The state of a new conversation."""
        return list(_tensors(self.initial))

    def forward(self, *given: Tensor) -> tuple[Tensor, ...]:
        count = len(given) - len(self.tensors())
        state = _refilled(self.initial, (tensor.clone() for tensor in given[count:]))
        return *self.run(state, *given[:count]), *_tensors(state)

    def run(self, state: Any, *inputs: Tensor) -> tuple[Tensor, ...]:
        """The outputs; `state` is updated in place."""
        raise NotImplementedError


class EncodeStep(Step):
    def __init__(self, codec: Codec, heard: int):
        super().__init__(codec.init_state(1).encode)
        self.codec, self.heard, self.other = codec, heard, codec.init_state(1)

    def run(self, state: Any, *inputs: Tensor) -> tuple[Tensor, ...]:
        codes_BQT = self.codec.encode_step(replace(self.other, encode=state), *inputs)
        return (codes_BQT[:, : self.heard, 0],)


class DecodeStep(Step):
    def __init__(self, codec: Codec):
        super().__init__(codec.init_state(1).decode)
        self.codec, self.other = codec, codec.init_state(1)

    def run(self, state: Any, *inputs: Tensor) -> tuple[Tensor, ...]:
        return (self.codec.decode_step(replace(self.other, decode=state), inputs[0][..., None]),)


class LMStep(Step):
    def __init__(self, lm: LM, pad_bias: float):
        super().__init__(init_state(lm, [Sampling.greedy(pad_bias)]))
        self.lm = lm

    def run(self, state: Any, *inputs: Tensor) -> tuple[Tensor, ...]:
        out = step(self.lm, state, *inputs)
        return out.tokens_BK, out.user_text_B


def _tensors(state: State) -> Iterator[Tensor]:
    """The tensors of a state that change from frame to frame; a layer that needs no past has an empty one."""
    for field in fields(state):  # pyright: ignore[reportArgumentType]  (every subclass is a dataclass)
        value = getattr(state, field.name)
        for item in value if isinstance(value, list) else [value]:
            if isinstance(item, State) and not isinstance(item, SlotSampling):
                yield from _tensors(item)
            elif isinstance(item, Tensor) and item.numel():
                yield item


def _refilled(state: S, tensors: Iterator[Tensor]) -> S:
    """A copy of `state` whose tensors are those that `_tensors` would give."""

    def new(value: Any) -> Any:
        if isinstance(value, State) and not isinstance(value, SlotSampling):
            return _refilled(value, tensors)
        if isinstance(value, list):
            return [new(item) for item in value]
        return next(tensors) if isinstance(value, Tensor) and value.numel() else value

    return replace(state, **{f.name: new(getattr(state, f.name)) for f in fields(state)})  # pyright: ignore
