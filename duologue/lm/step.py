"""One frame of a conversation at a time: the state of a batch of slots, and the step that moves it on."""

from dataclasses import dataclass

import torch
from torch import Tensor

from ..nn.state import State, per_slot, running
from ..nn.transformer import KeysValues, TransformerState
from .condition import Condition
from .model import LM, TO_GENERATE
from .sampling import Sampling, SlotSampling


@dataclass(frozen=True)
class Told:
    """A condition as the step uses it. It belongs to the slots, not to their past: a reset leaves it."""

    condition: Condition | None
    crossed: list[KeysValues] | None


@dataclass
class StepState(State):
    """Everything a batch of conversations remembers between frames."""

    temporal: TransformerState
    tokens_BKC: Tensor  # the last frames of every stream, a ring of max_delay + 2
    frame_B: Tensor  # int64: frames since the slot began
    sampling: SlotSampling
    told: Told

    def fresh(self, name: str) -> float:
        return TO_GENERATE if name == "tokens_BKC" else 0


@dataclass
class StepOutput:
    """What one step gives.

    `text_B` is the text token of this frame, at once. `tokens_BK` is the newest frame whose codebooks are all known
    (`[B, 1 + Q]`: text and the agent's codes, delays undone; -2 while there is none yet): the one to decode.
    `heard_B` is the token that writes down the user's words (-1: the model does not, see `LM.write_down`).
    """

    text_B: Tensor
    tokens_BK: Tensor
    heard_B: Tensor
    hidden_BD: Tensor


def init_state(lm: LM, sampling: list[Sampling], condition: Condition | None = None) -> StepState:
    """State for `len(sampling)` slots, each with its own settings; `condition` holds for all of them."""
    config, batch = lm.config, len(sampling)
    ring = max(config.delays) + 2
    crossed = lm.crossed(condition)
    if crossed is not None:
        crossed = [(k.expand(batch, -1, -1, -1), v.expand(batch, -1, -1, -1)) for k, v in crossed]
    return StepState(
        lm.temporal.init_state(batch),
        torch.full((batch, config.streams, ring), TO_GENERATE, device=lm.device),
        torch.zeros(batch, dtype=torch.int64, device=lm.device),
        SlotSampling.of(sampling, lm.device),
        Told(condition, crossed),
    )


def step(
    lm: LM,
    state: StepState,
    heard_BQ: Tensor,
    exec_B: Tensor | None = None,
    text_B: Tensor | None = None,
    audio_BQ: Tensor | None = None,
) -> StepOutput:
    """Hear one frame of the user's codes `[B, Q]`; say one frame.

    The time base is the reference generator's: step s reads the text and agent tokens of step s - 1, the user's
    undelayed codes of frame s and the delayed ones of frame s - 1. The codes pushed at step 0 are replaced by the
    initial token, so push one frame of silence first or an onset is lost.

    `text_B`, `audio_BQ`: tokens to say instead of sampling (-2: sample). Slots outside `exec_B` neither hear nor say
    anything and keep their state; ignore what they return.
    """
    if torch.compiler.is_compiling():
        with torch.no_grad():
            return _step(lm, state, heard_BQ, exec_B, text_B, audio_BQ)
    with torch.inference_mode():  # a tenth faster: nothing is noted for gradients
        out = _step(lm, state, heard_BQ, running(exec_B), text_B, audio_BQ)
    return StepOutput(out.text_B.clone(), out.tokens_BK.clone(), out.heard_B.clone(), out.hidden_BD.clone())


def _step(
    lm: LM,
    state: StepState,
    heard_BQ: Tensor,
    exec_B: Tensor | None,
    text_B: Tensor | None,
    audio_BQ: Tensor | None,
) -> StepOutput:
    config = lm.config
    spoken = config.depth_steps
    delays_K = torch.tensor(config.delays, device=heard_BQ.device)
    if config.heard:
        frame_BQ = state.frame_B[:, None] + delays_K[1 + spoken :]
        _write(state.tokens_BKC, 1 + spoken, frame_BQ, heard_BQ, exec_B)
    input_BK1 = _read(lm, state, delays_K, exec_B)
    x_B1D = lm.embed_frame(input_BK1, state.told.condition)
    x_B1D = lm.temporal.step(state.temporal, x_B1D, exec_B, state.told.crossed)
    z_BD = lm.out_norm(x_B1D)[:, 0]
    said_B = state.sampling.choose_text(lm.text_head(z_BD), state.frame_B, config.pad_id)
    if text_B is not None:
        said_B = torch.where(text_B == TO_GENERATE, said_B, text_B)
    said_BK = said_B[:, None]
    if lm.depth is not None:
        said_BK = torch.cat([said_BK, _speak(lm, state, z_BD, said_B, audio_BQ)], 1)
    next_B = state.frame_B + 1
    _write(state.tokens_BKC, 0, next_B[:, None].expand_as(said_BK), said_BK, exec_B)
    state.frame_B.copy_(next_B if exec_B is None else torch.where(exec_B, next_B, state.frame_B))
    return StepOutput(said_B, _complete(state, delays_K[: 1 + spoken], exec_B), lm.write_down(z_BD), z_BD)


def _write(ring_BKC: Tensor, first: int, frame_BK: Tensor, tokens_BK: Tensor, exec_B: Tensor | None) -> None:
    streams = ring_BKC[:, first : first + tokens_BK.shape[1]]
    index = (frame_BK % ring_BKC.shape[-1])[..., None]
    new = tokens_BK[..., None]
    if exec_B is not None:
        new = torch.where(per_slot(exec_B, new), new, streams.gather(-1, index))
    streams.scatter_(-1, index, new)


def _read(lm: LM, state: StepState, delays_K: Tensor, exec_B: Tensor | None) -> Tensor:
    """The input of this step, `[B, K, 1]`: the initial token until a stream's delay has passed."""
    ring = state.tokens_BKC.shape[-1]
    index = (state.frame_B % ring)[:, None, None].expand(-1, lm.config.streams, 1)
    before_BK1 = (state.frame_B[:, None] <= delays_K)[..., None]
    if exec_B is not None:  # a slot at rest may hold nothing yet
        before_BK1 = before_BK1 | ~exec_B[:, None, None]
    return torch.where(before_BK1, lm.initial_tokens()[:, None], state.tokens_BKC.gather(-1, index))


def _speak(lm: LM, state: StepState, z_BD: Tensor, text_B: Tensor, audio_BQ: Tensor | None) -> Tensor:
    codebooks, entries = lm.config.depth_steps, lm.config.card
    noise_BQV = state.sampling.audio_noise(state.frame_B, codebooks, entries)

    def choose(q: int, logits_BV: Tensor) -> Tensor:
        noise_BV = None if noise_BQV is None else noise_BQV[:, q]
        sampled_B = state.sampling.choose_audio(logits_BV, state.frame_B, q, noise_BV)
        if audio_BQ is None:
            return sampled_B
        return torch.where(audio_BQ[:, q] == TO_GENERATE, sampled_B, audio_BQ[:, q])

    assert lm.depth is not None
    return lm.depth.sample(z_BD, text_B, choose)


def _complete(state: StepState, delays_K: Tensor, exec_B: Tensor | None) -> Tensor:
    ring = state.tokens_BKC.shape[-1]
    latest = ring - 2
    index = ((state.frame_B[:, None] - latest + delays_K) % ring)[..., None]
    tokens_BK = state.tokens_BKC[:, : len(delays_K)].gather(-1, index)[..., 0]
    early_B = state.frame_B <= latest
    if exec_B is not None:
        early_B = early_B | ~exec_B
    return tokens_BK.masked_fill(early_B[:, None], TO_GENERATE)
