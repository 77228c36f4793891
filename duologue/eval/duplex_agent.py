"""A model as the agent of scenes."""

from dataclasses import replace
from typing import Any

import numpy as np

from duologue.engine.backend import TorchBackend
from duologue.eval.duplex_play import Spoken
from duologue.lm.sampling import Sampling


class ModelAgent:
    """A model in torch: what `duologue.load` gives, or `duplex.Parts`."""

    def __init__(self, model: Any, slots: int, sampling: Sampling | None = None):
        self._sampling: Sampling = sampling or model.sampling
        self._backend = TorchBackend(model, slots)
        self.slots, self.frame_size, self.tokenizer = slots, self._backend.frame_size, model.tokenizer

    def start(self, seeds: dict[int, int]) -> None:
        self._backend.start({slot: replace(self._sampling, seed=seed) for slot, seed in seeds.items()})

    def step(self, wav_BS: np.ndarray, exec_B: np.ndarray) -> Spoken:
        out = self._backend.step(wav_BS, exec_B)
        return Spoken(np.nan_to_num(out.wav_BS), out.text_B, out.user_text_B)
