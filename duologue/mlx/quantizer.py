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
        """Compute the vectors from the weights, after these are loaded."""
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
    """Residual vector quantiser: each codebook quantises the residual of those before, between two pointwise
    projections."""

    def __init__(self, config: QuantizerConfig, codebooks: int, outer_dim: int, inner_dim: int | None = None):
        super().__init__()
        self.in_proj = nn.Conv1d(inner_dim or outer_dim, config.dim, 1, bias=False)
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
    """Semantic and acoustic codebooks: two residual quantisers whose outputs are summed. With `semantic_dim`, the
    semantic ones quantise only the first `semantic_dim` channels of the latents."""

    def __init__(
        self,
        config: QuantizerConfig,
        outer_dim: int,
        latent_dim: int | None = None,
        semantic_dim: int | None = None,
    ):
        super().__init__()
        self.semantic_dim = semantic_dim
        self.semantic = ResidualVQ(config, config.semantic, outer_dim, semantic_dim or latent_dim)
        self.acoustic = ResidualVQ(config, config.codebooks - config.semantic, outer_dim, latent_dim)

    def encode(self, z_BTD: mx.array, codebooks: int) -> mx.array:
        first = min(codebooks, len(self.semantic.codebooks))
        codes_BQT = self.semantic.encode(self.semantic_part(z_BTD), first)
        if codebooks == first:
            return codes_BQT
        return mx.concatenate([codes_BQT, self.acoustic.encode(z_BTD, codebooks - first)], 1)

    def decode(self, codes_BQT: mx.array) -> mx.array:
        first = len(self.semantic.codebooks)
        z_BTD = self.semantic.decode(codes_BQT[:, :first])
        return z_BTD if codes_BQT.shape[1] <= first else z_BTD + self.acoustic.decode(codes_BQT[:, first:])

    def semantic_part(self, z_BTD: mx.array) -> mx.array:
        """The channels of latents that the semantic codebooks see."""
        return z_BTD if self.semantic_dim is None else z_BTD[..., : self.semantic_dim]
