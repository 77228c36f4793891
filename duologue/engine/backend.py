"""What runs the model for the conversations: a small interface, and its torch version. It knows slots and frames,
not clients, clocks or text."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch

from ..lm.sampling import Sampling
from ..weights import Model
from .duplex import Duplex, DuplexFrame


@dataclass(frozen=True)
class Frames:
    """What one step gave each slot, in numpy: as `DuplexFrame`. Rows of slots that did not run mean nothing."""

    wav_BS: np.ndarray
    text_B: np.ndarray
    heard_BQ: np.ndarray
    tokens_BK: np.ndarray
    finite_B: np.ndarray


class Backend(Protocol):
    """A model with a number of slots. One thread uses it at a time."""

    slots: int
    frame_size: int
    sample_rate: int

    def start(self, sampling: dict[int, Sampling]) -> None:
        """Make these slots as new; the first frame they then hear must be silence, and what they say to it is void."""
        ...

    def step(self, wav_BS: np.ndarray, exec_B: np.ndarray) -> Frames:
        """Hear and say one frame in the slots of `exec_B` (bool `[B]`). After an exception no slot can be trusted
        until `rebuild`."""
        ...

    def rebuild(self) -> None:
        """Throw away the state of all slots. The weights stay."""
        ...


class TorchBackend:
    """The model in torch, on the device it was loaded to. Raises InputError if it cannot both listen and speak."""

    def __init__(self, model: Model, slots: int = 1, compile: bool = False):
        self.model, self.slots, self._compile = model, slots, compile
        self.sample_rate = model.codec_config.sample_rate
        self.rebuild()
        self.frame_size = self._duplex.frame_size

    def rebuild(self) -> None:
        self._duplex = Duplex(self.model, [self.model.sampling] * self.slots, self._compile)

    def start(self, sampling: dict[int, Sampling]) -> None:
        mask_B = torch.zeros(self.slots, dtype=torch.bool)
        mask_B[list(sampling)] = True
        self._duplex.reset(mask_B.to(self.model.device), sampling)

    def step(self, wav_BS: np.ndarray, exec_B: np.ndarray) -> Frames:
        device = self.model.device
        out = self._duplex.step(torch.from_numpy(wav_BS).to(device), torch.from_numpy(exec_B).to(device))
        return _frames(out)

    def step_codes(self, heard_BQ: np.ndarray, exec_B: np.ndarray) -> Frames:
        """As `step`, on the codes of a frame that was heard before."""
        device = self.model.device
        return _frames(
            self._duplex.step_codes(
                torch.from_numpy(heard_BQ).to(device), torch.from_numpy(exec_B).to(device)
            )
        )


def _frames(out: DuplexFrame) -> Frames:
    return Frames(
        out.wav_BS.float().cpu().numpy(),
        out.text_B.cpu().numpy(),
        out.heard_BQ.cpu().numpy(),
        out.tokens_BK.cpu().numpy(),
        out.finite_B.cpu().numpy(),
    )
