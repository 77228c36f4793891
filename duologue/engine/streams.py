"""What recognition and synthesis run on: `interfaces.Streams` in torch, and the choice between that and MLX."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from duologue.engine.backend import FEW, SMALL, one_thread
from duologue.engine.options import DEFAULT, Options
from duologue.interfaces import Conditions, Listened, Streams, Unguided, channels, pause_heads, spread
from duologue.lm.model import NO_INPUT, TO_GENERATE
from duologue.lm.sampling import Sampling
from duologue.lm.step import StepOutput, Thought, init_state, listen, restart, speak, tell
from duologue.lm.step_state import Guidance
from duologue.weights import Model
from duologue.weights.quantized import halved_codec, quantized_lm


def open_streams(
    model: Model,
    slots: int = 1,
    options: Options = DEFAULT,
    conditions: Conditions | None = None,
    unguided: Unguided | None = None,
    codebooks: int | None = None,
) -> Streams:
    """Load a model into the backend that the options choose. `conditions` are the default of every slot; others must
    have the same length."""
    streams = _opened(model, slots, options, conditions, unguided, codebooks)
    _warm_up(streams, model)
    return streams


def _opened(
    model: Model,
    slots: int,
    options: Options,
    conditions: Conditions | None,
    unguided: Unguided | None,
    codebooks: int | None,
) -> Streams:
    if options.resolved() == "torch":
        if options.quantize:
            model.lm, model.codec = quantized_lm(model, options.quantize), halved_codec(model)
        return TorchStreams(model, slots, conditions, unguided, codebooks)
    from duologue.mlx.streams import MLXStreams

    return MLXStreams(model, slots, options.quantize, conditions, unguided, codebooks)


def _warm_up(streams: Streams, model: Model) -> None:
    """Run one step with no active slot: the first step packs the weights, and takes as long as forty others."""
    lm, slots, nobody_B = model.files.config.lm, streams.slots, np.zeros(streams.slots, bool)
    if lm.heard:
        streams.encode(np.zeros((slots, model.codec_config.frame_size), np.float32), nobody_B)
    streams.listen(np.full((slots, lm.heard), NO_INPUT, np.int64), nobody_B)
    said_BQ = np.full((slots, lm.depth_steps), TO_GENERATE, np.int64)
    tokens_BK = streams.speak(np.full(slots, lm.pad_id, np.int64), said_BQ, nobody_B)
    if lm.depth_steps:
        streams.decode(tokens_BK[:, 1:], nobody_B)


class TorchStreams:
    """In torch, on the device that the model was loaded to."""

    def __init__(
        self,
        model: Model,
        slots: int,
        conditions: Conditions | None = None,
        unguided: Unguided | None = None,
        codebooks: int | None = None,
    ):
        self.slots = slots
        self._lm, self._codec = model.lm, model.codec
        self._heads, self._channels = pause_heads(model), channels(model)
        self._small = model.device.type == "cpu" and self._lm.config.temporal.dim <= SMALL
        self._codec_state = self._codec.init_state(slots * self._channels)
        guidance = None
        if unguided is not None:
            guidance = Guidance(self._condition(unguided.conditions), unguided.text)
        condition = self._condition(conditions or {})
        self._state = init_state(self._lm, [model.sampling] * slots, condition, guidance, codebooks)
        self._thought: Thought | None = None
        self._part = self._state  # of the slots that run in this step

    def _condition(self, values: Conditions) -> Any:
        if self._lm.conditioning is None:
            return None
        given: dict[str, Any] = {
            name: value if isinstance(value, str) else tuple(torch.from_numpy(part) for part in value)
            for name, value in values.items()
        }
        with torch.no_grad():
            return self._lm.conditioning(given)

    def start(
        self, slot: int, sampling: Sampling, conditions: Conditions | None = None, null_until: int = 0
    ) -> None:
        mask_B = torch.zeros(self.slots, dtype=torch.bool, device=self._lm.device)
        mask_B[slot] = True
        self._codec_state.reset(mask_B.repeat_interleave(self._channels))
        if self._lm.conditioning is not None:
            tell(self._lm, self._state, slot, self._condition(conditions or {}))
        restart(self._lm, self._state, mask_B)
        self._state.sampling.set(slot, sampling)
        self._state.null_until_B[slot] = null_until

    def encode(self, wav_BS: np.ndarray, exec_B: np.ndarray) -> np.ndarray:
        return self._codec_step(self._codec.encode_step, wav_BS, exec_B)[..., 0]

    def decode(self, codes_BQ: np.ndarray, exec_B: np.ndarray) -> np.ndarray:
        codes_XQ = codes_BQ.clip(min=0).reshape(self.slots * self._channels, -1)
        wav_XS = self._codec_step(self._codec.decode_step, codes_XQ[..., None], exec_B.repeat(self._channels))
        return wav_XS.reshape(self.slots, self._channels, -1)

    def _codec_step(self, step: Callable[..., Tensor], x: np.ndarray, exec_B: np.ndarray) -> np.ndarray:
        def run(slots_N: Tensor | None, given: Tensor, exec_: Tensor) -> Tensor:
            if slots_N is None:
                return step(self._codec_state, given, exec_)
            part = self._codec_state.gather(slots_N)
            out = step(part, given)
            self._codec_state.scatter(slots_N, part)
            return out

        return self._each(run, exec_B, x)[0]

    def listen(
        self, heard_BQ: np.ndarray, exec_B: np.ndarray, allowed_BV: np.ndarray | None = None
    ) -> Listened:
        def run(slots_N: Tensor | None, heard: Tensor, *rest: Tensor) -> tuple[Tensor, ...]:
            allowed = None if allowed_BV is None else rest[0]
            if slots_N is None:
                self._thought = thought = listen(self._lm, self._state, heard, rest[-1], allowed)
            else:
                self._part = self._state.gather(slots_N)
                self._thought = thought = listen(self._lm, self._part, heard, None, allowed)
            z_BD = thought.hidden_BD[: len(heard)]
            with torch.inference_mode():
                pauses = [head(z_BD).float().softmax(-1)[:, 0] for head in self._lm.extra_heads][
                    : self._heads
                ]
                pauses_BH = torch.stack(pauses, 1) if pauses else z_BD.new_zeros(len(z_BD), 0)
                return thought.text_B, self._lm.write_down(z_BD), pauses_BH.float(), thought.finite_B

        inputs = (heard_BQ,) if allowed_BV is None else (heard_BQ, allowed_BV)
        return Listened(*self._each(run, exec_B, *inputs))

    def speak(
        self, text_B: np.ndarray, audio_BQ: np.ndarray, exec_B: np.ndarray, depth: bool = True
    ) -> np.ndarray:
        def run(slots_N: Tensor | None, text: Tensor, audio: Tensor, exec_: Tensor) -> Tensor:
            assert self._thought is not None
            if slots_N is None:
                return speak(self._lm, self._state, self._thought, text, audio, exec_, depth).tokens_BK
            out: StepOutput = speak(self._lm, self._part, self._thought, text, audio, None, depth)
            self._state.scatter(slots_N, self._part)
            return out.tokens_BK

        return self._each(run, exec_B, text_B, audio_BQ)[0]

    def _each(
        self, run: Callable[..., Tensor | tuple[Tensor, ...]], exec_B: np.ndarray, *inputs: np.ndarray
    ) -> tuple[np.ndarray, ...]:
        """Call `run` on the device, with its outputs in numpy. The time of a small model grows with the slots in a
        step, so inactive ones are left out; `run` is given those that are in."""
        device, count = self._lm.device, int(exec_B.sum())
        part = self._small and 0 < count < len(exec_B)
        slots_N = torch.from_numpy(exec_B.nonzero()[0]) if part else None
        given = [torch.from_numpy(x[exec_B] if part else x).to(device) for x in inputs]
        with one_thread(self._small and count <= FEW):
            out = run(slots_N, *given, torch.from_numpy(exec_B).to(device))
        arrays = [x.cpu().numpy() for x in (out if isinstance(out, tuple) else (out,))]
        return tuple(spread(x, exec_B) if part else x for x in arrays)
