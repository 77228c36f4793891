"""Codec and language model together, in MLX: what `engine.duplex` and `engine.backend` are in torch."""

from collections.abc import Callable

import mlx.core as mx
import numpy as np

from duologue.interfaces import Frames, Rewrite, TextMarks, check_duplex
from duologue.lm.persona import Persona
from duologue.lm.sampling import Sampling
from duologue.mlx.device import on_gpu
from duologue.mlx.load import Quantize, load_codec, load_lm
from duologue.mlx.model import TO_GENERATE
from duologue.mlx.persona import Prefix
from duologue.mlx.state import compiled
from duologue.mlx.step import StepOutput, init_state, listen, restart, speak, step_frame
from duologue.weights import Model


class MLXBackend:
    """`interfaces.Backend` in MLX. On a GPU `compile` is always on: the step is compiled when the backend is created,
    and again whenever a conversation doubles its ring of keys and values."""

    def __init__(
        self,
        model: Model,
        slots: int = 1,
        quantize: Quantize | None = None,
        compile: bool = False,
        dtype: mx.Dtype | None = None,
        told: Persona | None = None,
    ):
        check_duplex(model.name, model.files.config.lm, model.codec_config)
        self.model, self.slots = model, slots
        self.sample_rate = model.codec_config.sample_rate
        self.frame_size = model.codec_config.frame_size
        self.marks = TextMarks(model.files.config.lm.pad_id, model.files.config.lm.epad_id)
        self._compile = compile or on_gpu()
        self._codec, self._lm = load_codec(model), load_lm(model, dtype, quantize)
        self._prefix = None if told is None else Prefix(self._lm, told)
        self.rebuild()

    def rebuild(self) -> None:
        self._codec_state = self._codec.init_state(self.slots)
        told = self._lm.conditioning
        condition = None if told is None else told(dict(self.model.conditions))
        self._state = init_state(self._lm, [self.model.sampling] * self.slots, condition)
        self._steps = {
            run: compiled(run, self._codec_state, self._state) if self._compile else run
            for run in (self._step, self._step_codes)
        }
        self._settle()
        if self._compile:  # compile now, not in the first frame of a conversation
            nobody = np.zeros(self.slots, bool)
            self.step(np.zeros((self.slots, self.frame_size), np.float32), nobody)

    def start(self, sampling: dict[int, Sampling]) -> None:
        mask_B = mx.array([slot in sampling for slot in range(self.slots)])
        self._codec_state.reset(mask_B)
        restart(self._lm, self._state, mask_B)
        if self._prefix is not None:
            self._prefix.begin(self._state, list(sampling))
        for slot, settings in sampling.items():
            self._state.sampling.set(slot, settings)
        self._settle()

    def refer(self, slot: int, vectors_TD: np.ndarray) -> None:
        if self._state.references is None:
            raise ValueError("this model takes no references")
        self._state.references.refer(slot, mx.array(vectors_TD))
        self._settle()

    def step(self, wav_BS: np.ndarray, exec_B: np.ndarray, rewrite: Rewrite | None = None) -> Frames:
        return self._run(self._step, rewrite, wav_BS, exec_B)

    def step_codes(self, heard_BQ: np.ndarray, exec_B: np.ndarray, rewrite: Rewrite | None = None) -> Frames:
        """As `step`, on the codes of a frame that was heard before."""
        return self._run(self._step_codes, rewrite, heard_BQ.astype(np.int32), exec_B)

    def _run(
        self, step: Callable[..., tuple[mx.array, ...]], rewrite: Rewrite | None, *inputs: np.ndarray
    ) -> Frames:
        self._codec_state.grow()
        self._state.grow()
        heard, exec_B = (mx.array(value) for value in inputs)
        # What looks at a token while the frame is computed cannot be compiled.
        out = self._steps[step](heard, exec_B) if rewrite is None else step(heard, exec_B, rewrite)
        self._settle(*out)
        wav_BS, *tokens, finite_B = (np.array(value) for value in out)
        text_B, user_text_B, heard_BQ, tokens_BK = (value.astype(np.int64) for value in tokens)
        return Frames(wav_BS, text_B, user_text_B, heard_BQ, tokens_BK, finite_B)

    def _step(
        self, wav_BS: mx.array, exec_B: mx.array, rewrite: Rewrite | None = None
    ) -> tuple[mx.array, ...]:
        hear_B = exec_B
        if self._prefix is not None:  # whose last frame is heard in place of the first
            hear_B = exec_B & ~self._prefix.first(self._state)
        codes_BQT = self._codec.encode_frame(self._codec_state, wav_BS, hear_B)
        return self._step_codes(codes_BQT[:, : self._lm.config.heard, 0], exec_B, rewrite)

    def _step_codes(
        self, heard_BQ: mx.array, exec_B: mx.array, rewrite: Rewrite | None = None
    ) -> tuple[mx.array, ...]:
        heard_BQ, audio_BQ = heard_BQ.astype(mx.int32), None
        if self._prefix is not None:
            heard_BQ, audio_BQ = self._prefix.tokens(self._prefix.first(self._state), heard_BQ)
        _, tokens_BK, user_text_B, _, finite_B = self._frame(heard_BQ, exec_B, audio_BQ, rewrite)
        spoken_BQ = tokens_BK[:, 1:]
        ready_B = (spoken_BQ >= 0).all(-1)
        codes_BQ1 = mx.maximum(spoken_BQ, 0)[..., None]
        wav_BS = self._codec.decode_frame(self._codec_state, codes_BQ1, ready_B & exec_B)
        finite_B = finite_B & (mx.isfinite(wav_BS).all(-1) | ~ready_B)
        wav_BS = mx.where(ready_B[:, None], wav_BS, 0.0)
        text_B = mx.where(ready_B, tokens_BK[:, 0], TO_GENERATE)
        return wav_BS, text_B, user_text_B, heard_BQ, tokens_BK, finite_B

    def _frame(
        self, heard_BQ: mx.array, exec_B: mx.array, audio_BQ: mx.array | None, rewrite: Rewrite | None
    ) -> StepOutput:
        if rewrite is None:
            return step_frame(self._lm, self._state, heard_BQ, exec_B, audio_BQ=audio_BQ)
        thought = listen(self._lm, self._state, heard_BQ, exec_B)
        text_B = mx.array(rewrite(np.array(thought.text_B).astype(np.int64)).astype(np.int32))
        return speak(self._lm, self._state, thought, text_B, audio_BQ, exec_B)

    def _settle(self, *out: mx.array) -> None:
        """Evaluate the state: a lazy array belongs to the thread that created it, and the next step may run on
        another."""
        mx.eval(out, self._codec_state.arrays(), self._state.arrays())


class MLXCodec:
    """`interfaces.CodecBackend` in MLX."""

    def __init__(self, model: Model):
        self._codec = load_codec(model)
        self._state = self._codec.init_state(1)

    def encode_frame(self, wav_S: np.ndarray) -> np.ndarray:
        codes_BQT = self._codec.encode_step(self._state, mx.array(wav_S)[None])
        mx.eval(codes_BQT, self._state.encode.arrays())
        return np.array(codes_BQT[0, :, 0]).astype(np.int64)

    def decode_frame(self, codes_Q: np.ndarray) -> np.ndarray:
        wav_BS = self._codec.decode_step(self._state, mx.array(codes_Q.astype(np.int32))[None, :, None])
        mx.eval(wav_BS, self._state.decode.arrays())
        return np.array(wav_BS[0])
