"""Token embeddings: -1 means no input and embeds to zero."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from duologue.nn.initial import normal_
from duologue.nn.linear import FEW


def all_given(ids: Tensor) -> bool:
    """Whether every id is an input; checked only where that is cheap, as for the ids of a frame."""
    if ids.device.type != "cpu" or ids.numel() > FEW or torch.compiler.is_compiling():
        return False
    return min(ids.flatten().tolist(), default=-1) >= 0


def two_in_one(first: Tensor, second: Tensor, entries: int, nothing: int) -> Tensor:
    """The id of a pair of text tokens for an embedding of `entries` rows; `second` is -1 or `nothing` if there is
    none."""
    return first + (second.masked_fill(second == nothing, -1) + 1) * entries


class TokenEmbedding(nn.Module):
    """A table of vectors, `[...]` int64 to `[..., D]`.

    `low_rank`: rows of that width and one projection to D. `two_streams`: an id carries two tokens,
    (second + 1) * entries + first, each with a projection of its own (the look-ahead text of the TTS models).
    """

    def __init__(self, entries: int, dim: int, low_rank: int | None = None, two_streams: bool = False):
        super().__init__()
        width = low_rank or dim
        self.entries = entries
        self.weight = nn.Parameter(normal_(torch.empty(entries, width), dim**-0.5))
        self.projection = nn.Linear(width, dim, bias=False) if low_rank and not two_streams else None
        self.first = nn.Linear(width, dim, bias=False) if two_streams else None
        self.second = nn.Linear(width, dim, bias=False) if two_streams else None

    def forward(self, ids: Tensor) -> Tensor:
        if self.first is None and all_given(ids):
            y = F.embedding(ids, self.weight)
            return y if self.projection is None else self.projection(y)
        given = (ids >= 0)[..., None]
        ids = ids.clamp(min=0)
        if self.first is not None and self.second is not None:
            second = torch.div(ids, self.entries, rounding_mode="floor") - 1
            ahead = self.second(F.embedding(second.clamp(min=0), self.weight))
            y = self.first(F.embedding(ids % self.entries, self.weight))
            return torch.where(given, y + torch.where((second >= 0)[..., None], ahead, 0), 0)
        y = torch.where(given, F.embedding(ids, self.weight), 0)
        return y if self.projection is None else self.projection(y)
