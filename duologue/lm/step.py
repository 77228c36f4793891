"""The step of the language model: one frame of a batch of conversations. Its state is in `step_state`.

`step` is `listen`, which ends with the choice of the text token, and then `speak`, which begins with the depth
transformer. Callers that need to see or replace that token (speech synthesis) call the two in turn.
"""

from dataclasses import dataclass, fields
from typing import cast

import torch
from torch import Tensor

from duologue.lm.condition import Condition
from duologue.lm.model import LM, NO_INPUT, TO_GENERATE
from duologue.lm.sampling import Sampling, SlotSampling
from duologue.lm.step_state import Backbone, Conditions, Doubled, Guidance, References, StepState
from duologue.nn.state import per_slot, running


@dataclass
class Thought:
    """Output of `listen`: the text token that the model chose for this frame, and the context of the depth transformer
    (`[B, D]`; with guidance `[2B, D]`, the conditional half first). `finite_B`: see `StepOutput`."""

    text_B: Tensor
    hidden_BD: Tensor
    finite_B: Tensor


@dataclass
class StepOutput:
    """Output of one step.

    `text_B` is the text token of this frame, at once. `tokens_BK` is the newest frame whose codebooks are all known
    (`[B, 1 + Q]`: text and the agent's codes, delays undone; -2 while there is none yet): the one to decode.
    `user_text_B` is the token of the user's transcript (-1: the model writes none, see `LM.write_down`). `finite_B` is
    false where the hidden state or the logits of a head are NaN or infinite.
    """

    text_B: Tensor
    tokens_BK: Tensor
    user_text_B: Tensor
    hidden_BD: Tensor
    finite_B: Tensor


def init_state(
    lm: LM,
    sampling: list[Sampling],
    condition: Condition | None = None,
    guidance: Guidance | None = None,
    codebooks: int | None = None,
) -> StepState:
    """State for `len(sampling)` slots, each with its own settings.

    `condition` holds for all slots, or has a row for each; `tell` changes a slot's. `codebooks`: how many the depth
    transformer predicts, all by default; the rest are no input.
    """
    config, batch = lm.config, len(sampling)
    conditioning = config.conditioning
    ring = max(config.delays) + 2
    if guidance is not None and (conditioning.prepended or conditioning.streamed):
        raise ValueError("a model that is told things between frames is not guided")
    backbone: Backbone | Doubled
    if guidance is None:
        backbone = Backbone(lm.temporal.init_state(batch), _conditions(lm, condition, batch))
    else:
        halves = [_conditions(lm, c, batch) for c in (condition, guidance.condition)]
        backbone = Doubled(Backbone(lm.temporal.init_state(2 * batch), _joined(*halves)), batch)
    state = StepState(
        backbone,
        torch.full((batch, config.streams, ring), TO_GENERATE, device=lm.device),
        torch.zeros(batch, dtype=torch.int64, device=lm.device),
        torch.zeros(batch, dtype=torch.int64, device=lm.device),
        SlotSampling.of(sampling, lm.device),
        guidance,
        config.spoken if codebooks is None else codebooks,
        References.none(batch, lm.text_emb.weight[0]) if conditioning.streamed else None,
    )
    _prepend(lm, state, None)
    return state


def restart(lm: LM, state: StepState, mask_B: Tensor | None = None) -> None:
    """Make the slots of `mask_B` (None: all) as new: a reset, and what this model reads before its first frame."""
    state.reset(mask_B)
    _prepend(lm, state, mask_B)


@torch.inference_mode()
def _prepend(lm: LM, state: StepState, mask_B: Tensor | None) -> None:
    told = state.inner.conditions
    if told.prepended_BSD is not None:
        for x_BD in told.prepended_BSD.unbind(1):
            lm.temporal.step(state.temporal, x_BD[:, None], running(mask_B), told.crossed)


def tell(lm: LM, state: StepState, slot: int, condition: Condition) -> None:
    """Set the condition of one slot from its next step on; what is read before the first frame, from its next `restart`
    on. Its attended sequence must have the length of the others'; with guidance, the null half keeps its condition."""
    conditions, new = state.inner.conditions, _conditions(lm, condition, 1)
    if conditions.summed_B1D is not None and new.summed_B1D is not None:
        conditions.summed_B1D[slot] = new.summed_B1D[0]
    if conditions.prepended_BSD is not None and new.prepended_BSD is not None:
        conditions.prepended_BSD[slot] = new.prepended_BSD[0]
    for mine, its in zip([*conditions.keys, *conditions.values], [*new.keys, *new.values], strict=True):
        mine[slot] = its[0]


def _conditions(lm: LM, condition: Condition | None, batch: int) -> Conditions:
    """Each slot's own copy of a condition of 1 or `batch` rows."""
    crossed = lm.crossed(condition) or []
    condition = condition or Condition(None, None)

    def each(rows: Tensor) -> Tensor:
        return rows.detach().expand(batch, *rows.shape[1:]).clone()

    first = condition.prepended_BSD
    return Conditions(
        None if condition.summed_B1D is None else each(condition.summed_B1D),
        None if first is None else each(first.to(lm.text_emb.weight)),
        [each(k) for k, _ in crossed],
        [each(v) for _, v in crossed],
    )


def _joined(conditional: Conditions, null: Conditions) -> Conditions:
    if (conditional.summed_B1D is None) != (null.summed_B1D is None):
        raise ValueError("guidance needs a condition for both halves")
    summed = None
    if conditional.summed_B1D is not None and null.summed_B1D is not None:
        summed = torch.cat([conditional.summed_B1D, null.summed_B1D])
    keys = [torch.cat(pair) for pair in zip(conditional.keys, null.keys, strict=True)]
    return Conditions(
        summed, None, keys, [torch.cat(pair) for pair in zip(conditional.values, null.values, strict=True)]
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
    with torch.inference_mode():  # a tenth faster: no autograd bookkeeping
        return _outside(_step(lm, state, heard_BQ, running(exec_B), text_B, audio_BQ))


def listen(
    lm: LM,
    state: StepState,
    heard_BQ: Tensor,
    exec_B: Tensor | None = None,
    allowed_BV: Tensor | None = None,
) -> Thought:
    """The first half of `step`: hear one frame and choose its text token, among those of `allowed_BV` (bool) if
    given."""
    if torch.compiler.is_compiling():
        with torch.no_grad():
            return _listen(lm, state, lm.delays_K, heard_BQ, exec_B, allowed_BV)
    with torch.inference_mode():
        thought = _listen(lm, state, lm.delays_K, heard_BQ, running(exec_B), allowed_BV)
        return Thought(thought.text_B.clone(), thought.hidden_BD, thought.finite_B)


def speak(
    lm: LM,
    state: StepState,
    thought: Thought,
    text_B: Tensor | None = None,
    audio_BQ: Tensor | None = None,
    exec_B: Tensor | None = None,
    depth: bool = True,
) -> StepOutput:
    """The second half, once for each `listen` and with the same `exec_B`: say the text token `text_B` (None: what was
    chosen) and the codes that go with it. Without `depth` no code is sampled: `audio_BQ`, or no input, is said."""
    said_B = thought.text_B if text_B is None else text_B
    if torch.compiler.is_compiling():
        with torch.no_grad():
            return _say(lm, state, lm.delays_K, thought, said_B, audio_BQ, exec_B, depth)
    with torch.inference_mode():
        out = _say(lm, state, lm.delays_K, thought, said_B, audio_BQ, running(exec_B), depth)
        return _outside(out)


def _outside(out: StepOutput) -> StepOutput:
    return StepOutput(*(getattr(out, field.name).clone() for field in fields(out)))


def _step(
    lm: LM,
    state: StepState,
    heard_BQ: Tensor,
    exec_B: Tensor | None,
    text_B: Tensor | None,
    audio_BQ: Tensor | None,
) -> StepOutput:
    delays_K = lm.delays_K
    thought = _listen(lm, state, delays_K, heard_BQ, exec_B)
    said_B = thought.text_B
    if text_B is not None:
        said_B = torch.where(text_B == TO_GENERATE, said_B, text_B)
    return _say(lm, state, delays_K, thought, said_B, audio_BQ, exec_B, True)


def _listen(
    lm: LM,
    state: StepState,
    delays_K: Tensor,
    heard_BQ: Tensor,
    exec_B: Tensor | None,
    allowed_BV: Tensor | None = None,
) -> Thought:
    config, inner = lm.config, state.inner
    spoken = config.spoken
    if config.heard:
        frame_BQ = state.frame_B[:, None] + delays_K[1 + spoken :]
        _write(state.tokens_BKC, 1 + spoken, frame_BQ, heard_BQ, exec_B)
    input_BK1, before_BK1 = _read(lm, state, delays_K, exec_B)
    run_B = exec_B
    if state.guidance is not None:
        input_BK1 = torch.cat([input_BK1, _hidden(state, delays_K, input_BK1, before_BK1)])
        run_B = None if exec_B is None else exec_B.repeat(2)
    conditions = inner.conditions.summed_B1D
    x_B1D = lm.embed_frame(input_BK1, None if conditions is None else Condition(conditions, None))
    if state.references is not None:
        x_B1D = x_B1D + state.references.take(exec_B)
    x_B1D = lm.temporal.step(inner.temporal, x_B1D, run_B, inner.conditions.crossed)
    z_BD = lm.out_norm(x_B1D)[:, 0]
    if state.guidance is None:
        logits_BV = lm.text_head(z_BD)
    elif state.guidance.text:
        logits_BV = _guided(lm.text_head(z_BD), state.sampling.guidance_B)
    else:
        logits_BV = lm.text_head(z_BD.chunk(2)[0])
    finite_B = _finite(logits_BV)
    if allowed_BV is not None:
        logits_BV = logits_BV.masked_fill(~allowed_BV, -torch.inf)
    text_B = state.sampling.choose_text(logits_BV, state.frame_B, config.pad_id)
    return Thought(text_B, z_BD, finite_B)


def _finite(logits_BV: Tensor) -> Tensor:
    """Whether the largest logit is finite, `[B]`: NaN and infinity count as the largest. (A logit may be -inf.)"""
    return logits_BV.amax(-1).isfinite()


def _say(
    lm: LM,
    state: StepState,
    delays_K: Tensor,
    thought: Thought,
    said_B: Tensor,
    audio_BQ: Tensor | None,
    exec_B: Tensor | None,
    depth: bool,
) -> StepOutput:
    config, z_BD, finite_B = lm.config, thought.hidden_BD, thought.finite_B
    conditional_BD = z_BD if state.guidance is None else z_BD.chunk(2)[0]
    user_text_B, text_B = lm.write_down(conditional_BD), said_B
    if config.reads_user_text:
        said_B = lm.with_user_text(said_B, user_text_B)
    spoken, said_BK = config.spoken, said_B[:, None]
    if spoken:
        codes_BQ = audio_BQ
        if depth:
            codes_BQ, said_finite_B = _speak(lm, state, z_BD, said_B, audio_BQ)
            finite_B = finite_B & said_finite_B
        said_BK = torch.cat([said_BK, _filled(codes_BQ, len(said_B), spoken, said_B.device)], 1)
    next_B = state.frame_B + 1
    _write(state.tokens_BKC, 0, next_B[:, None].expand_as(said_BK), said_BK, exec_B)
    state.frame_B.copy_(next_B if exec_B is None else torch.where(exec_B, next_B, state.frame_B))
    tokens_BK = _complete(state, delays_K[: 1 + state.codebooks], exec_B)
    if config.reads_user_text:  # without the user's token
        tokens_BK[:, 0] = torch.where(
            tokens_BK[:, 0] < 0, tokens_BK[:, 0], tokens_BK[:, 0] % (config.text_card + 1)
        )
    finite_B = finite_B & conditional_BD.isfinite().all(-1)
    return StepOutput(text_B, tokens_BK, user_text_B, conditional_BD, finite_B)


def _filled(codes_BQ: Tensor | None, batch: int, codebooks: int, device: torch.device) -> Tensor:
    """Fill up with "no input" for the codebooks that are not spoken."""
    given = 0 if codes_BQ is None else codes_BQ.shape[1]
    if codes_BQ is not None and given == codebooks:
        return codes_BQ
    nothing_BQ = torch.full((batch, codebooks - given), NO_INPUT, device=device)
    return nothing_BQ if codes_BQ is None else torch.cat([codes_BQ, nothing_BQ], 1)


def _hidden(state: StepState, delays_K: Tensor, input_BK1: Tensor, before_BK1: Tensor) -> Tensor:
    """Input of the null half."""
    guidance = cast(Guidance, state.guidance)
    late_BK1 = state.frame_B[:, None, None] > delays_K[:, None] + state.null_until_B[:, None, None]
    seen_BK1 = late_BK1 | before_BK1
    if not guidance.text:
        seen_BK1 = torch.cat([before_BK1[:, :1], seen_BK1[:, 1:]], 1)
    return torch.where(seen_BK1, input_BK1, NO_INPUT)


def _guided(logits_BV: Tensor, guidance_B: Tensor) -> Tensor:
    """`[2B, V]` to `[B, V]`; a slot whose guidance is 1 has the conditional logits to the bit."""
    conditional, null = logits_BV.float().chunk(2)
    guidance_B1 = guidance_B[:, None]
    return torch.where(guidance_B1 == 1, conditional, null + (conditional - null) * guidance_B1)


def _write(ring_BKC: Tensor, first: int, frame_BK: Tensor, tokens_BK: Tensor, exec_B: Tensor | None) -> None:
    streams = ring_BKC[:, first : first + tokens_BK.shape[1]]
    index = (frame_BK % ring_BKC.shape[-1])[..., None]
    new = tokens_BK[..., None]
    if exec_B is not None:
        new = torch.where(per_slot(exec_B, new), new, streams.gather(-1, index))
    streams.scatter_(-1, index, new)


def _read(lm: LM, state: StepState, delays_K: Tensor, exec_B: Tensor | None) -> tuple[Tensor, Tensor]:
    """The input of this step, `[B, K, 1]`, and where it is the initial token: until a stream's delay has passed."""
    ring = state.tokens_BKC.shape[-1]
    index = (state.frame_B % ring)[:, None, None].expand(-1, lm.config.streams, 1)
    before_BK1 = (state.frame_B[:, None] <= delays_K)[..., None]
    if exec_B is not None:  # an inactive slot may have no tokens yet
        before_BK1 = before_BK1 | ~exec_B[:, None, None]
    tokens_BK1 = state.tokens_BKC.gather(-1, index)
    return torch.where(before_BK1, lm.initial_tokens()[:, None], tokens_BK1), before_BK1


def _speak(
    lm: LM, state: StepState, z_BD: Tensor, text_B: Tensor, audio_BQ: Tensor | None
) -> tuple[Tensor, Tensor]:
    """The codes of this frame, as many as are spoken, and whether their logits were finite. With guidance both halves
    read the same tokens."""
    peaks: list[Tensor] = []
    guided, codebooks = state.guidance is not None, state.codebooks
    noise_BQV = state.sampling.audio_noise(state.frame_B, codebooks, lm.config.card)

    def choose(q: int, logits_BV: Tensor) -> Tensor:
        if guided:
            logits_BV = _guided(logits_BV, state.sampling.guidance_B)
        peaks.append(logits_BV.amax(-1))
        noise_BV = None if noise_BQV is None else noise_BQV[:, q]
        chosen_B = state.sampling.choose_audio(logits_BV, state.frame_B, q, noise_BV)
        if audio_BQ is not None:
            chosen_B = torch.where(audio_BQ[:, q] == TO_GENERATE, chosen_B, audio_BQ[:, q])
        return chosen_B.repeat(2) if guided else chosen_B

    assert lm.depth is not None
    codes_BQ = lm.depth.sample(z_BD, text_B.repeat(2) if guided else text_B, choose, codebooks)
    finite_B = torch.stack(peaks).isfinite().all(0)
    return codes_BQ.chunk(2)[0] if guided else codes_BQ, finite_B


def _complete(state: StepState, delays_K: Tensor, exec_B: Tensor | None) -> Tensor:
    ring = state.tokens_BKC.shape[-1]
    latest = ring - 2
    index = ((state.frame_B[:, None] - latest + delays_K) % ring)[..., None]
    tokens_BK = state.tokens_BKC[:, : len(delays_K)].gather(-1, index)[..., 0]
    early_B = state.frame_B <= latest
    if exec_B is not None:
        early_B = early_B | ~exec_B
    return tokens_BK.masked_fill(early_B[:, None], TO_GENERATE)
