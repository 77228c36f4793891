"""Codebooks and the split residual vector quantiser (`codec/codebook.py`, `codec/quantizer.py`); no training."""

import mlx.core as mx
import mlx.nn as nn

from duologue.config import QuantizerConfig

EPSILON = 1e-5  # floor of the usage that divides the sums


class Codebook(nn.Module):
    """`entries` vectors, stored as a running sum of the members of each cluster and a running count."""

    def __init__(self, entries: int, dim: int):
        super().__init__()
        self.embedding_sum = mx.zeros((entries, dim))
        self.cluster_usage = mx.ones(entries)
        self.initialized = mx.zeros(1)

    def prepare(self) -> None:
        """Work out the vectors from the weights, once these are there."""
        self._vectors_VD = self.embedding_sum / mx.maximum(self.cluster_usage, EPSILON)[:, None]
        self._half_norm_V = mx.square(self._vectors_VD).sum(-1) / 2
        mx.eval(self._vectors_VD, self._half_norm_V)

    def nearest(self, x_BTD: mx.array) -> mx.array:
        """Index of the nearest entry, `[B, T]`."""
        return (x_BTD @ self._vectors_VD.T - self._half_norm_V).argmax(-1)

    def lookup(self, codes_BT: mx.array) -> mx.array:
        """The entries of `codes_BT`: `[B, T, D]`."""
        return self._vectors_VD[codes_BT]


class ResidualVQ(nn.Module):
    """Codebooks in a row, each quantising what the ones before left over, between two pointwise projections."""

    def __init__(self, config: QuantizerConfig, codebooks: int, outer_dim: int):
        super().__init__()
        self.in_proj = nn.Conv1d(outer_dim, config.dim, 1, bias=False)
        self.out_proj = nn.Conv1d(config.dim, outer_dim, 1, bias=False)
        self.codebooks = [Codebook(config.entries, config.dim) for _ in range(codebooks)]

    def encode(self, z_BTD: mx.array, codebooks: int) -> mx.array:
        """Codes `[B, codebooks, T]` of latents `[B, T, D]`."""
        residual_BTD = self.in_proj(z_BTD)
        codes = []
        for codebook in self.codebooks[:codebooks]:
            codes.append(codebook.nearest(residual_BTD))
            residual_BTD = residual_BTD - codebook.lookup(codes[-1])
        return mx.stack(codes, 1)

    def decode(self, codes_BQT: mx.array) -> mx.array:
        """Latents `[B, T, D]` of codes `[B, Q, T]`, Q at most the number of codebooks."""
        books = self.codebooks[: codes_BQT.shape[1]]
        vectors = [book.lookup(codes_BQT[:, q]) for q, book in enumerate(books)]
        return self.out_proj(sum(vectors[1:], vectors[0]))


class SplitQuantizer(nn.Module):
    """The semantic codebook and the acoustic codebooks see the same latents, and their outputs are summed."""

    def __init__(self, config: QuantizerConfig, outer_dim: int):
        super().__init__()
        self.semantic = ResidualVQ(config, 1, outer_dim)
        self.acoustic = ResidualVQ(config, config.codebooks - 1, outer_dim)

    def encode(self, z_BTD: mx.array, codebooks: int) -> mx.array:
        codes_B1T = self.semantic.encode(z_BTD, 1)
        if codebooks == 1:
            return codes_B1T
        return mx.concatenate([codes_B1T, self.acoustic.encode(z_BTD, codebooks - 1)], 1)

    def decode(self, codes_BQT: mx.array) -> mx.array:
        z_BTD = self.semantic.decode(codes_BQT[:, :1])
        return z_BTD if codes_BQT.shape[1] == 1 else z_BTD + self.acoustic.decode(codes_BQT[:, 1:])
