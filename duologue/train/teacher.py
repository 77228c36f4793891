"""Speech models whose hidden states codebook 0 learns to predict: one call, waveform in, states out.

WavLM and HuBERT come through `transformers` (the paper's choice: WavLM-large, section 3.3), a Whisper encoder
through CTranslate2, which runs fast on a CPU. Nothing here is trained.
"""

from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import soxr
import torch
from torch import Tensor
from torch.nn import functional as F

from duologue.errors import InputError
from duologue.train.losses import mel_filterbank
from duologue.types import StrPath

SAMPLE_RATE = 24_000
_HEARD_RATE = 16_000  # every teacher here hears 16 kHz
_FRAME = 320  # samples of 16 kHz in one state, 20 ms


class Teacher(Protocol):
    """A frozen speech model. `frame_rate` in Hz, `dim` the width of its states."""

    dim: int
    frame_rate: float

    def __call__(self, wav_BS: Tensor) -> Tensor:
        """Waveforms float32 [B, S] of 24 kHz in [-1, 1] -> states float32 [B, T, dim], on the waveform's device.

        State t is centred on (t + 0.5) / frame_rate seconds; T = S * frame_rate / 24000, rounded down.
        """
        ...


def pool(states_BTD: Tensor, kernel: int = 8, stride: int = 4) -> Tensor:
    """States of 50 Hz -> means of 160 ms around each 80 ms frame, [B, T / 4, D].

    It looks ahead, which a causal encoder cannot: that is what makes codebook 0 predict (section 3.3).
    """
    margin = (kernel - stride) // 2
    pooled_BDT = F.avg_pool1d(states_BTD.transpose(1, 2), kernel, stride, margin, count_include_pad=False)
    return pooled_BDT.transpose(1, 2)


def to_heard_rate(wav_BS: Tensor) -> Tensor:
    """24 kHz -> 16 kHz, cut to whole states of 20 ms."""
    resampled_SB = soxr.resample(wav_BS.detach().cpu().float().numpy().T, SAMPLE_RATE, _HEARD_RATE)
    samples = wav_BS.shape[1] * _HEARD_RATE // SAMPLE_RATE // _FRAME * _FRAME
    if samples == 0:
        raise InputError("a teacher needs at least 20 ms of audio")
    resampled_SB = np.pad(resampled_SB[:samples], [(0, max(0, samples - len(resampled_SB))), (0, 0)])
    return torch.from_numpy(np.ascontiguousarray(resampled_SB.T)).to(wav_BS.device)


class TransformersTeacher:
    """WavLM, HuBERT, wav2vec 2.0: a folder or hub name, through `transformers`.

    `layer` picks a hidden state (0: before the first block; -1: after the last); None is the mean of all blocks.
    The paper does not say which it takes.
    """

    frame_rate = 50.0

    def __init__(
        self, source: StrPath, layer: int | None = -1, device: str = "cpu", revision: str | None = None
    ) -> None:
        transformers = _need("transformers")
        name = str(source)
        try:
            extractor = transformers.AutoFeatureExtractor.from_pretrained(name, revision=revision)
            model = transformers.AutoModel.from_pretrained(name, revision=revision)
        except (OSError, ValueError) as error:
            raise InputError(f"cannot load the teacher {name}: {str(error).splitlines()[0]}") from error
        if extractor.sampling_rate != _HEARD_RATE:
            raise InputError(f"the teacher {name} hears {extractor.sampling_rate} Hz, not {_HEARD_RATE} Hz")
        self.normalize: bool = extractor.do_normalize
        self.model = model.to(device).eval().requires_grad_(False)
        self.layer = layer
        self.dim: int = model.config.hidden_size

    @torch.no_grad()
    def __call__(self, wav_BS: Tensor) -> Tensor:
        """See `Teacher`."""
        heard_BS = to_heard_rate(wav_BS).to(self.model.device)
        if self.normalize:
            variance, mean = torch.var_mean(heard_BS, dim=1, keepdim=True, correction=0)
            heard_BS = (heard_BS - mean) / (variance + 1e-7).sqrt()
        # The convolutions in front see 400 samples for each 320: half the rest on either side keeps states centred.
        output = self.model(F.pad(heard_BS, (40, 40)), output_hidden_states=True)
        hidden = output.hidden_states
        states_BTD = torch.stack(hidden[1:]).mean(0) if self.layer is None else hidden[self.layer]
        return states_BTD.to(wav_BS.device, torch.float32)


class WhisperTeacher:
    """The encoder of a Whisper model in CTranslate2's format, in `folder`.

    Whisper expects 30 s; silence up to `context` seconds stands after the audio (30 s at most in all). Less is
    faster: with base, 10 s give states of cosine 0.99 to those of 30 s, at a third of the time.
    """

    frame_rate = 50.0

    def __init__(self, folder: StrPath, context: float = 10.0, threads: int = 2) -> None:
        if not (Path(folder) / "model.bin").is_file():
            raise InputError(f"{folder} is not a Whisper model for CTranslate2: it has no model.bin")
        self._ctranslate2 = _need("ctranslate2")
        self._model = self._ctranslate2.models.Whisper(
            str(folder), device="cpu", intra_threads=threads, compute_type="int8"
        )
        self.context = min(context, 30.0)
        self._filters = mel_filterbank(400, self._model.n_mels, _HEARD_RATE)
        self.dim = self._encode(torch.zeros(1, self._model.n_mels, 8)).shape[-1]

    @torch.no_grad()
    def __call__(self, wav_BS: Tensor) -> Tensor:
        """See `Teacher`. Raises InputError for more than 30 s."""
        heard_BS = to_heard_rate(wav_BS).cpu()
        frames = heard_BS.shape[1] // _FRAME
        if frames > 30 * self.frame_rate:
            raise InputError("Whisper hears at most 30 s at a time: give it shorter pieces")
        padding = max(0, int(self.context * _HEARD_RATE) - heard_BS.shape[1])
        states_BTD = self._encode(whisper_mel(F.pad(heard_BS, (0, padding)), self._filters))
        return states_BTD[:, :frames].to(wav_BS.device)

    def _encode(self, mel_BMT: Tensor) -> Tensor:
        features = self._ctranslate2.StorageView.from_array(np.ascontiguousarray(mel_BMT.numpy()))
        return torch.from_numpy(np.array(self._model.encode(features, to_cpu=True), dtype=np.float32))


def whisper_mel(heard_BS: Tensor, filters_FM: Tensor) -> Tensor:
    """16 kHz audio [B, S] -> Whisper's log-mel spectrum [B, M, S / 160]: 25 ms windows, 80 dB of range."""
    spec_BFT = torch.stft(heard_BS, 400, 160, window=torch.hann_window(400), return_complex=True)
    mel_BMT = filters_FM.T @ spec_BFT[..., :-1].abs().square()
    log_BMT = mel_BMT.clamp(min=1e-10).log10()
    log_BMT = torch.maximum(log_BMT, log_BMT.amax((1, 2), keepdim=True) - 8)
    return (log_BMT + 4) / 4


def _need(module: str) -> Any:
    try:
        return import_module(module)
    except ImportError as error:
        raise InputError(f"{module} is missing: pip install 'duologue[train]'") from error
