"""What a model of the PersonaPlex kind is told before a conversation begins (`engine.persona`), as tokens."""

from dataclasses import dataclass

import torch
from torch import Tensor

# Codes of Mimi's first eight codebooks.
SILENCE = (948, 243, 1178, 546, 1736, 1030, 1978, 2008)
TONE = (430, 1268, 381, 1611, 1095, 1495, 56, 472)  # 440 Hz


@dataclass(frozen=True)
class Persona:
    """The prompt, a frame a row: text tokens `[T]` and the agent's codes `[T, Q]`. `replayed`: inputs of the temporal
    transformer `[N, D]` that come before, and the tokens after them (`[K, 2]`: those read next, and those of the next
    frame that are known)."""

    text_T: Tensor
    agent_TQ: Tensor
    replayed: tuple[Tensor, Tensor] | None = None


def codes_of(codes: tuple[int, ...], count: int, card: int) -> Tensor:
    """A frame of silence or of the tone, `[1, count]`."""
    return torch.tensor([[code % card for code in codes[:count]]])
