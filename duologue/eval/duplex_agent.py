"""A model as the agent that scenes are played to."""

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from duologue.engine.duplex import Duplex
from duologue.eval.duplex_play import Spoken
from duologue.lm.sampling import Sampling
from duologue.lm.step import StepOutput, step


class _Listening(Duplex):
    """Also tells what the first extra head writes down of the user."""

    def __init__(self, model: Any, sampling: list[Sampling]):
        super().__init__(model, sampling)
        self._speak, self.caption_B = self._listen, torch.full((len(sampling),), -1)

    def _listen(self, lm: Any, state: Any, heard_BQ: Tensor, exec_B: Tensor | None) -> StepOutput:
        out = step(lm, state, heard_BQ, exec_B)
        if len(lm.extra_heads):
            self.caption_B = lm.extra_heads[0](out.hidden_BD).argmax(-1)
        return out


class ModelAgent:
    """A model (anything with `name`, `codec`, `lm`, `tokenizer` and `sampling`, as `duologue.load` gives)."""

    def __init__(self, model: Any, slots: int, sampling: Sampling | None = None):
        self._sampling: Sampling = sampling or model.sampling
        self._duplex = _Listening(model, [self._sampling] * slots)
        self.slots, self.frame_size, self.tokenizer = slots, self._duplex.frame_size, model.tokenizer
        self._device = model.lm.device

    def start(self, seeds: dict[int, int]) -> None:
        mask_B = torch.zeros(self.slots, dtype=torch.bool)
        mask_B[list(seeds)] = True
        settings = {slot: replace(self._sampling, seed=seed) for slot, seed in seeds.items()}
        self._duplex.reset(mask_B.to(self._device), settings)

    def step(self, wav_BS: np.ndarray, exec_B: np.ndarray) -> Spoken:
        with torch.no_grad():
            out = self._duplex.step(
                torch.from_numpy(wav_BS).to(self._device), torch.from_numpy(exec_B).to(self._device)
            )
        wav_BS = np.nan_to_num(out.wav_BS.float().cpu().numpy())
        return Spoken(wav_BS, out.text_B.cpu().numpy(), self._duplex.caption_B.cpu().numpy())
