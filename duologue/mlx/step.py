"""The step of the language model: one frame of a batch of conversations (`lm/step.py`, `lm/step_state.py`)."""

from typing import NamedTuple

import mlx.core as mx

from duologue.lm.sampling import Sampling
from duologue.mlx.condition import Condition
from duologue.mlx.model import LM, NO_INPUT, TO_GENERATE
from duologue.mlx.sampling import SlotSampling
from duologue.mlx.state import keep
from duologue.mlx.step_state import Backbone, Conditions, Crossed, Doubled, Guidance, References, StepState


class Thought(NamedTuple):
    """Output of `listen`: the text token that the model chose for this frame, and the context of the depth transformer
    (`[B, D]`; with guidance `[2B, D]`, the conditional half first)."""

    text_B: mx.array
    hidden_BD: mx.array
    finite_B: mx.array


class StepOutput(NamedTuple):
    """Output of one step: the text token of this frame, the newest frame whose codebooks are all known (`[B, 1 + Q]`,
    -2 while there is none yet), the token of the user's transcript (-1: none), the temporal context, and whether all
    that was computed is finite."""

    text_B: mx.array
    tokens_BK: mx.array
    user_text_B: mx.array
    hidden_BD: mx.array
    finite_B: mx.array


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
    if guidance is None:
        rows, conditions = batch, _conditions(lm, condition, batch)
    else:
        halves = [_conditions(lm, c, batch) for c in (condition, guidance.condition)]
        rows, conditions = 2 * batch, _joined(*halves)
    backbone = Backbone(lm.temporal.init_state(rows, dtype=lm.dtype), conditions)
    state = StepState(
        backbone if guidance is None else Doubled(backbone),
        mx.full((batch, config.streams, ring), TO_GENERATE, mx.int32),
        mx.zeros(batch, mx.int32),
        mx.zeros(batch, mx.int32),
        SlotSampling.of(sampling),
        guidance,
        config.spoken if codebooks is None else codebooks,
        References.none(batch, config.temporal.dim, lm.dtype) if conditioning.streamed else None,
    )
    _prepend(lm, state, None)
    return state


def restart(lm: LM, state: StepState, mask_B: mx.array | None = None) -> None:
    """Make the slots of `mask_B` (None: all) as new: a reset, and what this model reads before its first frame."""
    state.reset(mask_B)
    _prepend(lm, state, mask_B)


def _prepend(lm: LM, state: StepState, mask_B: mx.array | None) -> None:
    told = state.inner.conditions
    if told.prepended_BSD is not None:
        for s in range(told.prepended_BSD.shape[1]):
            state.grow()
            x_B1D = told.prepended_BSD[:, s : s + 1]
            lm.temporal.step(state.temporal, x_B1D, mask_B, told.pairs)


def tell(lm: LM, state: StepState, slot: int, condition: Condition) -> None:
    """Set the condition of one slot from its next step on; what is read before the first frame, from its next `restart`
    on. Its attended sequence must have the length of the others'; with guidance, the null half keeps its condition."""
    conditions, new = state.inner.conditions, _conditions(lm, condition, 1)
    if conditions.summed_B1D is not None and new.summed_B1D is not None:
        conditions.summed_B1D[slot] = new.summed_B1D[0]
    if conditions.prepended_BSD is not None and new.prepended_BSD is not None:
        conditions.prepended_BSD[slot] = new.prepended_BSD[0]
    for mine, its in zip(conditions.crossed, new.crossed, strict=True):
        mine.keys_BHSD[slot] = its.keys_BHSD[0]
        mine.values_BHSD[slot] = its.values_BHSD[0]


def _conditions(lm: LM, condition: Condition | None, batch: int) -> Conditions:
    """Each slot's own copy of a condition of 1 or `batch` rows."""
    crossed = lm.crossed(condition) or []
    condition = condition or Condition(None, None)

    def each(rows: mx.array) -> mx.array:
        return mx.contiguous(mx.broadcast_to(rows, (batch, *rows.shape[1:])))

    first = condition.prepended_BSD
    return Conditions(
        None if condition.summed_B1D is None else each(condition.summed_B1D),
        None if first is None else each(first.astype(lm.dtype)),
        [Crossed(each(k), each(v)) for k, v in crossed],
    )


def _joined(conditional: Conditions, null: Conditions) -> Conditions:
    if (conditional.summed_B1D is None) != (null.summed_B1D is None):
        raise ValueError("guidance needs a condition for both halves")
    summed = None
    if conditional.summed_B1D is not None and null.summed_B1D is not None:
        summed = mx.concatenate([conditional.summed_B1D, null.summed_B1D])
    crossed = [
        Crossed(
            mx.concatenate([one.keys_BHSD, other.keys_BHSD]),
            mx.concatenate([one.values_BHSD, other.values_BHSD]),
        )
        for one, other in zip(conditional.crossed, null.crossed, strict=True)
    ]
    return Conditions(summed, None, crossed)


def step(
    lm: LM,
    state: StepState,
    heard_BQ: mx.array,
    exec_B: mx.array | None = None,
    text_B: mx.array | None = None,
    audio_BQ: mx.array | None = None,
) -> StepOutput:
    """Hear one frame of the user's codes `[B, Q]`; say one frame. The time base is that of `lm.step.step`.

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
    """`step` without growing the state: the part that is compiled."""
    thought = listen(lm, state, heard_BQ, exec_B)
    said_B = thought.text_B
    if text_B is not None:
        said_B = mx.where(text_B == TO_GENERATE, said_B, text_B)
    return speak(lm, state, thought, said_B, audio_BQ, exec_B)


def listen(
    lm: LM,
    state: StepState,
    heard_BQ: mx.array,
    exec_B: mx.array | None = None,
    allowed_BV: mx.array | None = None,
) -> Thought:
    """The first half of `step`, after `state.grow()`: hear one frame and choose its text token, among those of
    `allowed_BV` (bool) if given."""
    config, inner = lm.config, state.inner
    spoken = config.spoken
    delays_K = mx.array(config.delays)
    if config.heard:
        frame_BQ = state.frame_B[:, None] + delays_K[1 + spoken :]
        state.tokens_BKC = _written(state.tokens_BKC, 1 + spoken, frame_BQ, heard_BQ, exec_B)
    input_BK1, before_BK1 = _read(lm, state, delays_K, exec_B)
    run_B = exec_B
    if state.guidance is not None:
        input_BK1 = mx.concatenate([input_BK1, _hidden(state, delays_K, input_BK1, before_BK1)])
        run_B = None if exec_B is None else mx.concatenate([exec_B, exec_B])
    conditions = inner.conditions.summed_B1D
    x_B1D = lm.embed(input_BK1, None if conditions is None else Condition(conditions, None))
    if state.references is not None:
        x_B1D = x_B1D + state.references.take(exec_B)
    x_B1D = lm.temporal.step(inner.temporal, x_B1D, run_B, inner.conditions.pairs)
    z_BD = lm.out_norm(x_B1D)[:, 0]
    if state.guidance is None:
        logits_BV = lm.text_head(z_BD)
    elif state.guidance.text:
        logits_BV = _guided(lm.text_head(z_BD), state.sampling.guidance_B)
    else:
        logits_BV = lm.text_head(z_BD[: len(z_BD) // 2])
    finite_B = _finite(logits_BV)
    if allowed_BV is not None:
        logits_BV = mx.where(allowed_BV, logits_BV, -mx.inf)
    text_B = state.sampling.choose_text(logits_BV, state.frame_B, config.pad_id)
    return Thought(text_B, z_BD, finite_B)


def _finite(logits_BV: mx.array) -> mx.array:
    return ~(mx.isnan(logits_BV) | mx.isposinf(logits_BV)).any(-1)


def speak(
    lm: LM,
    state: StepState,
    thought: Thought,
    text_B: mx.array | None = None,
    audio_BQ: mx.array | None = None,
    exec_B: mx.array | None = None,
    depth: bool = True,
) -> StepOutput:
    """The second half, once for each `listen` and with the same `exec_B`: say the text token `text_B` (None: what was
    chosen) and the codes that go with it. Without `depth` no code is sampled: `audio_BQ`, or no input, is said."""
    config, z_BD, finite_B = lm.config, thought.hidden_BD, thought.finite_B
    spoken = config.spoken
    text_B = thought.text_B if text_B is None else text_B
    conditional_BD = z_BD if state.guidance is None else z_BD[: len(z_BD) // 2]
    user_text_B = lm.write_down(conditional_BD)
    said_B = lm.with_user_text(text_B, user_text_B) if config.reads_user_text else text_B
    said_BK = said_B[:, None]
    if spoken:
        codes_BQ = audio_BQ
        if depth:
            codes_BQ, said_finite_B = _speak(lm, state, z_BD, said_B, audio_BQ)
            finite_B = finite_B & said_finite_B
        given = 0 if codes_BQ is None else codes_BQ.shape[1]
        nothing_BQ = mx.full((len(said_B), spoken - given), NO_INPUT, mx.int32)
        said_BK = mx.concatenate([said_BK, *([] if codes_BQ is None else [codes_BQ]), nothing_BQ], 1)
    next_B = state.frame_B + 1
    state.tokens_BKC = _written(state.tokens_BKC, 0, next_B[:, None], said_BK, exec_B)
    state.frame_B = keep(state.frame_B, next_B, exec_B)
    tokens_BK = _complete(state, mx.array(config.delays[: 1 + state.codebooks]), exec_B)
    if config.reads_user_text:  # without the user's token
        first_B1, codes_BQ = tokens_BK[:, :1], tokens_BK[:, 1:]
        first_B1 = mx.where(first_B1 < 0, first_B1, first_B1 % (config.text_card + 1))
        tokens_BK = mx.concatenate([first_B1, codes_BQ], 1)
    finite_B = finite_B & mx.isfinite(conditional_BD).all(-1)
    return StepOutput(text_B, tokens_BK, user_text_B, conditional_BD, finite_B)


def _hidden(state: StepState, delays_K: mx.array, input_BK1: mx.array, before_BK1: mx.array) -> mx.array:
    """Input of the null half."""
    late_BK1 = state.frame_B[:, None, None] > delays_K[:, None] + state.null_until_B[:, None, None]
    seen_BK1 = late_BK1 | before_BK1
    if state.guidance is not None and not state.guidance.text:
        seen_BK1 = mx.concatenate([before_BK1[:, :1], seen_BK1[:, 1:]], 1)
    return mx.where(seen_BK1, input_BK1, NO_INPUT)


def _guided(logits_BV: mx.array, guidance_B: mx.array) -> mx.array:
    """`[2B, V]` to `[B, V]`; a slot whose guidance is 1 has the conditional logits to the bit."""
    conditional, null = mx.split(logits_BV.astype(mx.float32), 2)
    guidance_B1 = guidance_B[:, None]
    return mx.where(guidance_B1 == 1, conditional, null + (conditional - null) * guidance_B1)


def _written(
    ring_BKC: mx.array, first: int, frame_BK: mx.array, tokens_BK: mx.array, exec_B: mx.array | None
) -> mx.array:
    """The ring with `tokens_BK` as the streams from `first` on, each at its frame."""
    last = first + tokens_BK.shape[1]
    streams, ring = ring_BKC[:, first:last], ring_BKC.shape[-1]
    here_BKC = mx.arange(ring) == (frame_BK % ring)[..., None]
    streams = keep(streams, mx.where(here_BKC, tokens_BK[..., None], streams), exec_B)
    return mx.concatenate([ring_BKC[:, :first], streams, ring_BKC[:, last:]], 1)


def _read(lm: LM, state: StepState, delays_K: mx.array, exec_B: mx.array | None) -> tuple[mx.array, mx.array]:
    """The input of this step, `[B, K, 1]`, and where it is the initial token: until a stream's delay has passed."""
    ring = state.tokens_BKC.shape[-1]
    index = mx.broadcast_to((state.frame_B % ring)[:, None, None], (*state.tokens_BKC.shape[:2], 1))
    before_BK1 = (state.frame_B[:, None] <= delays_K)[..., None]
    if exec_B is not None:  # an inactive slot may have no tokens yet
        before_BK1 = before_BK1 | ~exec_B[:, None, None]
    tokens_BK1 = mx.take_along_axis(state.tokens_BKC, index, -1)
    return mx.where(before_BK1, lm.initial_tokens()[:, None], tokens_BK1), before_BK1


def _speak(
    lm: LM, state: StepState, z_BD: mx.array, text_B: mx.array, audio_BQ: mx.array | None
) -> tuple[mx.array, mx.array]:
    """The codes of this frame, as many as are spoken, and whether their logits were finite. With guidance both halves
    read the same tokens."""
    finite: list[mx.array] = []
    guided = state.guidance is not None

    def choose(q: int, logits_BV: mx.array) -> mx.array:
        if guided:
            logits_BV = _guided(logits_BV, state.sampling.guidance_B)
        finite.append(_finite(logits_BV))
        chosen_B = state.sampling.choose_audio(logits_BV, state.frame_B, q)
        if audio_BQ is not None:
            chosen_B = mx.where(audio_BQ[:, q] == TO_GENERATE, chosen_B, audio_BQ[:, q])
        return mx.concatenate([chosen_B, chosen_B]) if guided else chosen_B

    assert lm.depth is not None
    text_B = mx.concatenate([text_B, text_B]) if guided else text_B
    codes_BQ = lm.depth.sample(z_BD, text_B, choose, state.codebooks)[: len(state.frame_B)]
    return codes_BQ, mx.stack(finite).all(0)


def _complete(state: StepState, delays_K: mx.array, exec_B: mx.array | None) -> mx.array:
    ring = state.tokens_BKC.shape[-1]
    latest = ring - 2
    index = ((state.frame_B[:, None] - latest + delays_K) % ring)[..., None]
    tokens_BK = mx.take_along_axis(state.tokens_BKC[:, : len(delays_K)], index, -1)[..., 0]
    early_B = state.frame_B <= latest
    if exec_B is not None:
        early_B = early_B | ~exec_B
    return mx.where(early_B[:, None], TO_GENERATE, tokens_BK)
