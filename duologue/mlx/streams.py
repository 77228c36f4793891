"""Codec and language model in MLX for recognition and synthesis: what `engine.streams` is in torch."""

from typing import Any

import mlx.core as mx
import numpy as np

from duologue.interfaces import Conditions, Listened, Unguided, channels, pause_heads
from duologue.lm.sampling import Sampling
from duologue.mlx.load import Quantize, load_codec, load_lm
from duologue.mlx.step import Thought, init_state, listen, restart, speak, tell
from duologue.mlx.step_state import Guidance
from duologue.weights import Model


class MLXStreams:
    """`interfaces.Streams` in MLX."""

    def __init__(
        self,
        model: Model,
        slots: int,
        quantize: Quantize | None = None,
        conditions: Conditions | None = None,
        unguided: Unguided | None = None,
        codebooks: int | None = None,
        dtype: mx.Dtype | None = None,
    ):
        self.slots = slots
        self._codec, self._lm = load_codec(model), load_lm(model, dtype, quantize)
        self._heads, self._channels = pause_heads(model), channels(model)
        self._codec_state = self._codec.init_state(slots * self._channels)
        guidance = None
        if unguided is not None:
            guidance = Guidance(self._condition(unguided.conditions), unguided.text)
        condition = self._condition(conditions or {})
        self._state = init_state(self._lm, [model.sampling] * slots, condition, guidance, codebooks)
        self._thought: Thought | None = None
        mx.eval(self._codec_state.arrays(), self._state.arrays())

    def _condition(self, values: Conditions) -> Any:
        if self._lm.conditioning is None:
            return None
        given: dict[str, Any] = {
            name: value if isinstance(value, str) else tuple(mx.array(part) for part in value)
            for name, value in values.items()
        }
        return self._lm.conditioning(given)

    def start(
        self, slot: int, sampling: Sampling, conditions: Conditions | None = None, null_until: int = 0
    ) -> None:
        mask_B = mx.array([i == slot for i in range(self.slots)])
        self._codec_state.reset(mx.repeat(mask_B, self._channels))
        if self._lm.conditioning is not None:
            tell(self._lm, self._state, slot, self._condition(conditions or {}))
        restart(self._lm, self._state, mask_B)
        self._state.sampling.set(slot, sampling)
        self._state.null_until_B[slot] = null_until
        mx.eval(self._codec_state.arrays(), self._state.arrays())

    def encode(self, wav_BS: np.ndarray, exec_B: np.ndarray) -> np.ndarray:
        codes_BQT = self._codec.encode_step(self._codec_state, mx.array(wav_BS), mx.array(exec_B))
        mx.eval(codes_BQT, self._codec_state.encode.arrays())
        return np.array(codes_BQT[..., 0]).astype(np.int64)

    def listen(
        self, heard_BQ: np.ndarray, exec_B: np.ndarray, allowed_BV: np.ndarray | None = None
    ) -> Listened:
        self._state.grow()
        heard, allowed = (
            mx.array(heard_BQ.astype(np.int32)),
            None if allowed_BV is None else mx.array(allowed_BV),
        )
        self._thought = listen(self._lm, self._state, heard, mx.array(exec_B), allowed)
        z_BD = self._thought.hidden_BD[: self.slots]
        heads = self._lm.extra_heads[: self._heads]
        pauses = [mx.softmax(head(z_BD).astype(mx.float32), -1)[:, 0] for head in heads]
        pauses_BH = mx.stack(pauses, 1) if pauses else mx.zeros((self.slots, 0))
        out = self._thought.text_B, self._lm.write_down(z_BD), pauses_BH, self._thought.finite_B
        mx.eval(self._thought, out, self._state.arrays())
        text_B, user_text_B, pauses_BH, finite_B = (np.array(value) for value in out)
        return Listened(text_B.astype(np.int64), user_text_B.astype(np.int64), pauses_BH, finite_B)

    def speak(
        self, text_B: np.ndarray, audio_BQ: np.ndarray, exec_B: np.ndarray, depth: bool = True
    ) -> np.ndarray:
        assert self._thought is not None
        text, audio = mx.array(text_B.astype(np.int32)), mx.array(audio_BQ.astype(np.int32))
        out = speak(self._lm, self._state, self._thought, text, audio, mx.array(exec_B), depth)
        mx.eval(out, self._state.arrays())
        return np.array(out.tokens_BK).astype(np.int64)

    def decode(self, codes_BQ: np.ndarray, exec_B: np.ndarray) -> np.ndarray:
        codes_XQ = np.maximum(codes_BQ, 0).astype(np.int32).reshape(self.slots * self._channels, -1)
        exec_X = mx.array(exec_B.repeat(self._channels))
        wav_XS = self._codec.decode_step(self._codec_state, mx.array(codes_XQ)[..., None], exec_X)
        mx.eval(wav_XS, self._codec_state.decode.arrays())
        return np.array(wav_XS).reshape(self.slots, self._channels, -1)
