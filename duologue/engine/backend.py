"""`interfaces.Backend` in torch, and the choice between torch and MLX."""

from collections.abc import Callable, Generator
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor

from duologue.engine.duplex import Duplex, DuplexFrame
from duologue.engine.options import DEFAULT, Options
from duologue.engine.persona import Persona, Prefix, persona
from duologue.interfaces import Backend, CodecBackend, Frames, Rewrite, TextMarks, warm_up
from duologue.lm.sampling import Sampling
from duologue.weights import Model
from duologue.weights.quantized import halved_codec, quantized_lm

# Up to this width of the language model and this many conversations, a frame is too little work for several threads:
# they would wait for each other, and for other processes.
SMALL = 512
FEW = 16


def open_backend(model: Model, slots: int = 1, options: Options = DEFAULT) -> Backend:
    """Load a model into the backend that the options choose, and warm it up so that its first step is not slow."""
    backend = _backend(model, slots, options)
    warm_up(backend)
    return backend


def _backend(model: Model, slots: int, options: Options) -> Backend:
    if options.resolved() == "torch":
        if options.quantize:
            model.lm, model.codec = quantized_lm(model, options.quantize), halved_codec(model)
        return TorchBackend(model, slots, options.compile, persona(model, options))
    from duologue.mlx.backend import MLXBackend

    told = persona(model, options)
    model.__dict__.pop("codec", None)  # torch's, which has encoded the voice
    return MLXBackend(model, slots, options.quantize, options.compile, told=told)


def open_codec(model: Model, options: Options = DEFAULT) -> CodecBackend:
    """As `open_backend`, for the codec alone."""
    if options.resolved() == "torch":
        return TorchCodec(model)
    from duologue.mlx.backend import MLXCodec

    return MLXCodec(model)


class TorchBackend:
    """The model in torch, on the device it was loaded to. Raises InputError if it cannot both listen and speak."""

    def __init__(self, model: Model, slots: int = 1, compile: bool = False, told: Persona | None = None):
        self.model, self.slots, self._compile = model, slots, compile
        self._prefix = None if told is None else Prefix(model.lm, told)
        self.sample_rate = model.codec_config.sample_rate
        self.marks = TextMarks(model.lm.config.pad_id, model.lm.config.epad_id)
        self.rebuild()
        self._small = model.device.type == "cpu" and model.lm.config.temporal.dim <= SMALL
        self.frame_size = self._duplex.frame_size

    def rebuild(self) -> None:
        self._duplex = Duplex(self.model, [self.model.sampling] * self.slots, self._compile, self._prefix)

    def start(self, sampling: dict[int, Sampling]) -> None:
        mask_B = torch.zeros(self.slots, dtype=torch.bool)
        mask_B[list(sampling)] = True
        self._duplex.reset(mask_B.to(self.model.device), sampling)

    def refer(self, slot: int, vectors_TD: np.ndarray) -> None:
        self._duplex.refer(slot, torch.from_numpy(vectors_TD))

    def step(self, wav_BS: np.ndarray, exec_B: np.ndarray, rewrite: Rewrite | None = None) -> Frames:
        return self._run(Duplex.step, wav_BS, exec_B, rewrite)

    def step_codes(self, heard_BQ: np.ndarray, exec_B: np.ndarray, rewrite: Rewrite | None = None) -> Frames:
        """As `step`, for the codes of the user's frame instead of its samples."""
        return self._run(Duplex.step_codes, heard_BQ, exec_B, rewrite)

    def _run(
        self,
        step: Callable[..., DuplexFrame],
        heard: np.ndarray,
        exec_B: np.ndarray,
        rewrite: Rewrite | None,
    ) -> Frames:
        device, count = self.model.device, int(exec_B.sum())
        with one_thread(self._small and count <= FEW):
            if not self._small or self._compile or count == 0 or self.slots == 1:
                inputs = torch.from_numpy(heard).to(device), torch.from_numpy(exec_B).to(device)
                everyone_N = torch.arange(self.slots)
                return _frames(step(self._duplex, *inputs, _on_rows(rewrite, everyone_N, self.slots)))
            # The time of a small model grows with the slots in a step, so inactive ones are left out.
            slots_N = torch.from_numpy(exec_B.nonzero()[0])
            part = self._duplex.gather(slots_N)
            alone_B = torch.ones(count, dtype=torch.bool)
            run = step(
                part, torch.from_numpy(heard)[slots_N], alone_B, _on_rows(rewrite, slots_N, self.slots)
            )
            self._duplex.scatter(slots_N, part)
            return _frames(run).spread(exec_B)


def _on_rows(rewrite: Rewrite | None, slots_N: Tensor, slots: int) -> Callable[[Tensor], Tensor] | None:
    """`rewrite`, for the tokens of these slots alone."""
    if rewrite is None:
        return None

    index_N = slots_N.numpy()

    def rewritten(text_N: Tensor) -> Tensor:
        text_B = np.zeros(slots, np.int64)
        text_B[index_N] = text_N.cpu().numpy()
        return torch.from_numpy(rewrite(text_B)[index_N]).to(text_N.device)

    return rewritten


@contextmanager
def one_thread(enough: bool) -> Generator[None]:
    """One thread inside, if that is `enough`: threads synchronise a thousand times a frame, and wait for other
    processes each time."""
    threads = torch.get_num_threads()
    if not enough or threads == 1:
        yield
        return
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


class TorchCodec:
    """A codec in torch, on the device it was loaded to."""

    def __init__(self, model: Model):
        self._codec = model.codec
        self._state = self._codec.init_state(1)

    def encode_frame(self, wav_S: np.ndarray) -> np.ndarray:
        wav_BS = torch.from_numpy(wav_S)[None].to(self._codec.device)
        return self._codec.encode_step(self._state, wav_BS)[0, :, 0].cpu().numpy()

    def decode_frame(self, codes_Q: np.ndarray) -> np.ndarray:
        codes_BQT = torch.from_numpy(codes_Q)[None, :, None].to(self._codec.device)
        return self._codec.decode_step(self._state, codes_BQT)[0].cpu().numpy()


def _frames(out: DuplexFrame) -> Frames:
    return Frames(
        out.wav_BS.float().cpu().numpy(),
        out.text_B.cpu().numpy(),
        out.user_text_B.cpu().numpy(),
        out.heard_BQ.cpu().numpy(),
        out.tokens_BK.cpu().numpy(),
        out.finite_B.cpu().numpy(),
    )
