"""Token embeddings: -1 means no input and embeds to zero (`lm/embedding.py`)."""

import mlx.core as mx
import mlx.nn as nn


class TokenEmbedding(nn.Embedding):
    """A table of vectors, `[...]` to `[..., D]`; `low_rank` and `two_streams` as in torch."""

    def __init__(self, entries: int, dim: int, low_rank: int | None = None, two_streams: bool = False):
        width = low_rank or dim
        super().__init__(entries, width)
        self.entries = entries
        self.projection = self.first = self.second = None
        if two_streams:
            self.first = nn.Linear(width, dim, bias=False)
            self.second = nn.Linear(width, dim, bias=False)
        elif low_rank:
            self.projection = nn.Linear(width, dim, bias=False)

    def __call__(self, ids: mx.array) -> mx.array:
        given = (ids >= 0)[..., None]
        ids = mx.maximum(ids, 0)
        if self.first is not None and self.second is not None:
            second = ids // self.entries - 1
            ahead = self.second(self.weight[mx.maximum(second, 0)])
            y = self.first(self.weight[ids % self.entries])
            return mx.where(given, y + mx.where((second >= 0)[..., None], ahead, 0), 0)
        y = mx.where(given, self.weight[ids], 0)
        return y if self.projection is None else self.projection(y)

    def to_quantized(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, group_size: int = 64, bits: int = 4, **rest
    ) -> nn.Module:
        """The quantised replacement that `mlx.nn.quantize` uses for a table without projections; others stay as they
        are."""
        return QuantizedTokenEmbedding.from_embedding(self, group_size, bits, **rest)


class QuantizedTokenEmbedding(nn.QuantizedEmbedding):
    """The same with quantised rows."""

    def __call__(self, ids: mx.array) -> mx.array:
        return mx.where((ids >= 0)[..., None], super().__call__(mx.maximum(ids, 0)), 0)
