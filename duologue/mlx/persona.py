"""The persona prefix in MLX; `engine.persona.Prefix` is its torch counterpart."""

import mlx.core as mx
import numpy as np

from duologue.lm.persona import TONE, Persona, codes_of
from duologue.lm.sampling import Sampling
from duologue.mlx.attention import KVCache
from duologue.mlx.model import LM, TO_GENERATE
from duologue.mlx.step import init_state, step
from duologue.mlx.step_state import StepState


class Prefix:
    """A persona's prompt run through a model: the state from which every conversation starts. The prompt's last frame
    is the conversation's first, because the model generates its first token there."""

    def __init__(self, lm: LM, told: Persona):
        self._lm = lm
        config = lm.config
        self.state = init_state(lm, [Sampling.greedy()])
        self._tone_BQ = _ids(codes_of(TONE, config.heard, config.card).numpy())
        late_Q = np.array(config.delays[1 : 1 + config.spoken]) > 0
        text_T, agent_TQ = told.text_T.numpy(), told.agent_TQ.numpy()
        if told.replayed:
            self._replay(*(part.numpy() for part in told.replayed))
        for s in range(len(text_T) - 1):
            audio_Q = np.where(late_Q, agent_TQ[s], agent_TQ[s + 1])
            step(lm, self.state, self._tone_BQ, None, _ids(text_T[s + 1 : s + 2]), _ids(audio_Q[None]))
            mx.eval(self.state.arrays())
        self.frame = int(self.state.frame_B[0])  # index of the conversation's first frame
        self._late_BQ = _ids(np.where(late_Q, agent_TQ[-1], TO_GENERATE)[None])

    def _replay(self, inputs_ND: np.ndarray, tokens_K2: np.ndarray) -> None:
        state, ring = self.state, self.state.tokens_BKC.shape[-1]
        for x_D in inputs_ND:
            state.grow()
            self._lm.temporal.step(state.temporal, mx.array(x_D)[None, None].astype(self._lm.dtype))
            mx.eval(state.arrays())
        state.frame_B = state.frame_B + len(inputs_ND)
        for i in (0, 1):
            state.tokens_BKC[0, :, (len(inputs_ND) + i) % ring] = _ids(tokens_K2[:, i])

    def begin(self, state: StepState, slots: list[int]) -> None:
        """Start these slots, which were just reset, from the prefix."""
        for mine, its in zip(state.temporal.caches, self.state.temporal.caches, strict=True):
            _copy(mine, its, slots)
        for slot in slots:
            state.tokens_BKC[slot] = self.state.tokens_BKC[0]
            state.frame_B[slot] = self.frame

    def first(self, state: StepState) -> mx.array:
        """Which slots are in their first frame, `[B]`."""
        return state.frame_B == self.frame

    def tokens(self, first_B: mx.array, heard_BQ: mx.array) -> tuple[mx.array, mx.array]:
        """The user codes and the forced agent codes of this frame; in a slot's first frame they end the prefix."""
        first_B1 = first_B[:, None]
        return mx.where(first_B1, self._tone_BQ, heard_BQ), mx.where(first_B1, self._late_BQ, TO_GENERATE)


def _copy(mine: KVCache, its: KVCache, slots: list[int]) -> None:
    """Copy the keys and values of a ring buffer that has not wrapped."""
    used = its.used
    while (length := mine.keys_BHCD.shape[2]) < used:
        mine.used = length
        mine.grow()
    mine.used = max(mine.used, used)
    for slot in slots:
        mine.keys_BHCD[slot, :, :used] = its.keys_BHCD[0, :, :used]
        mine.values_BHCD[slot, :, :used] = its.values_BHCD[0, :, :used]
        mine.seen_B[slot] = its.seen_B[0]


def _ids(tokens: np.ndarray) -> mx.array:
    return mx.array(tokens.astype(np.int32))
