"""One frame of a conversation at a time (`lm/step.py`)."""

from dataclasses import dataclass
from typing import NamedTuple

import mlx.core as mx

from ..lm.sampling import Sampling
from .condition import Condition
from .model import LM, TO_GENERATE
from .sampling import SlotSampling
from .state import State, keep
from .transformer import KeysValues, TransformerState


@dataclass(frozen=True)
class Told:
    """A condition as the step uses it. It belongs to the slots, not to their past: a reset leaves it."""

    condition: Condition | None
    crossed: list[KeysValues] | None


@dataclass
class StepState(State):
    """Everything a batch of conversations remembers between frames."""

    temporal: TransformerState
    tokens_BKC: mx.array  # int32: the last frames of every stream, a ring of max_delay + 2
    frame_B: mx.array  # int32: frames since the slot began
    sampling: SlotSampling
    told: Told

    def fresh(self, name: str) -> float:
        return TO_GENERATE if name == "tokens_BKC" else 0


class StepOutput(NamedTuple):
    """What one step gives: the text token of this frame, the newest frame whose codebooks are all known (`[B, 1 + Q]`,
    -2 while there is none yet), the token that writes down the user's words (-1: none), and the temporal context."""

    text_B: mx.array
    tokens_BK: mx.array
    heard_B: mx.array
    hidden_BD: mx.array


def init_state(lm: LM, sampling: list[Sampling], condition: Condition | None = None) -> StepState:
    """State for `len(sampling)` slots, each with its own settings; `condition` holds for all of them."""
    config, batch = lm.config, len(sampling)
    ring = max(config.delays) + 2
    crossed = lm.crossed(condition)
    if crossed is not None:
        crossed = [
            (mx.broadcast_to(k, (batch, *k.shape[1:])), mx.broadcast_to(v, (batch, *v.shape[1:])))
            for k, v in crossed
        ]
    return StepState(
        lm.temporal.init_state(batch, dtype=lm.dtype),
        mx.full((batch, config.streams, ring), TO_GENERATE, mx.int32),
        mx.zeros(batch, mx.int32),
        SlotSampling.of(sampling),
        Told(condition, crossed),
    )


def step(
    lm: LM,
    state: StepState,
    heard_BQ: mx.array,
    exec_B: mx.array | None = None,
    text_B: mx.array | None = None,
    audio_BQ: mx.array | None = None,
) -> StepOutput:
    """Hear one frame of the user's codes `[B, Q]`; say one frame. The time base is described at the torch version.

    `text_B`, `audio_BQ`: tokens to say instead of sampling (-2: sample). Slots outside `exec_B` neither hear nor say
    anything and keep their state; ignore what they return.
    """
    state.grow()
    return step_frame(lm, state, heard_BQ, exec_B, text_B, audio_BQ)


def step_frame(
    lm: LM,
    state: StepState,
    heard_BQ: mx.array,
    exec_B: mx.array | None = None,
    text_B: mx.array | None = None,
    audio_BQ: mx.array | None = None,
) -> StepOutput:
    """`step` in a state that has room, as what is compiled calls it."""
    config = lm.config
    spoken = config.depth_steps
    delays_K = mx.array(config.delays)
    if config.heard:
        frame_BQ = state.frame_B[:, None] + delays_K[1 + spoken :]
        state.tokens_BKC = _written(state.tokens_BKC, 1 + spoken, frame_BQ, heard_BQ, exec_B)
    input_BK1 = _read(lm, state, delays_K, exec_B)
    x_B1D = lm.embed(input_BK1, state.told.condition)
    x_B1D = lm.temporal.step(state.temporal, x_B1D, exec_B, state.told.crossed)
    z_BD = lm.out_norm(x_B1D)[:, 0]
    said_B = state.sampling.choose_text(lm.text_head(z_BD), state.frame_B, config.pad_id)
    if text_B is not None:
        said_B = mx.where(text_B == TO_GENERATE, said_B, text_B)
    said_BK = said_B[:, None]
    if lm.depth is not None:
        said_BK = mx.concatenate([said_BK, _speak(lm, state, z_BD, said_B, audio_BQ)], 1)
    next_B = state.frame_B + 1
    state.tokens_BKC = _written(state.tokens_BKC, 0, next_B[:, None], said_BK, exec_B)
    state.frame_B = keep(state.frame_B, next_B, exec_B)
    return StepOutput(said_B, _complete(state, delays_K[: 1 + spoken], exec_B), lm.write_down(z_BD), z_BD)


def _written(
    ring_BKC: mx.array, first: int, frame_BK: mx.array, tokens_BK: mx.array, exec_B: mx.array | None
) -> mx.array:
    """The ring with `tokens_BK` as the streams from `first` on, each at its frame."""
    last = first + tokens_BK.shape[1]
    streams, ring = ring_BKC[:, first:last], ring_BKC.shape[-1]
    here_BKC = mx.arange(ring) == (frame_BK % ring)[..., None]
    streams = keep(streams, mx.where(here_BKC, tokens_BK[..., None], streams), exec_B)
    return mx.concatenate([ring_BKC[:, :first], streams, ring_BKC[:, last:]], 1)


def _read(lm: LM, state: StepState, delays_K: mx.array, exec_B: mx.array | None) -> mx.array:
    """The input of this step, `[B, K, 1]`: the initial token until a stream's delay has passed."""
    ring = state.tokens_BKC.shape[-1]
    index = mx.broadcast_to((state.frame_B % ring)[:, None, None], (*state.tokens_BKC.shape[:2], 1))
    before_BK1 = (state.frame_B[:, None] <= delays_K)[..., None]
    if exec_B is not None:  # a slot at rest may hold nothing yet
        before_BK1 = before_BK1 | ~exec_B[:, None, None]
    tokens_BK1 = mx.take_along_axis(state.tokens_BKC, index, -1)
    return mx.where(before_BK1, lm.initial_tokens()[:, None], tokens_BK1)


def _speak(lm: LM, state: StepState, z_BD: mx.array, text_B: mx.array, audio_BQ: mx.array | None) -> mx.array:
    def choose(q: int, logits_BV: mx.array) -> mx.array:
        sampled_B = state.sampling.choose_audio(logits_BV, state.frame_B, q)
        if audio_BQ is None:
            return sampled_B
        return mx.where(audio_BQ[:, q] == TO_GENERATE, sampled_B, audio_BQ[:, q])

    assert lm.depth is not None
    return lm.depth.sample(z_BD, text_B, choose)


def _complete(state: StepState, delays_K: mx.array, exec_B: mx.array | None) -> mx.array:
    ring = state.tokens_BKC.shape[-1]
    latest = ring - 2
    index = ((state.frame_B[:, None] - latest + delays_K) % ring)[..., None]
    tokens_BK = mx.take_along_axis(state.tokens_BKC[:, : len(delays_K)], index, -1)[..., 0]
    early_B = state.frame_B <= latest
    if exec_B is not None:
        early_B = early_B | ~exec_B
    return mx.where(early_B[:, None], TO_GENERATE, tokens_BK)
