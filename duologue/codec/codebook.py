"""One codebook: nearest-neighbour look-up, and learning by moving averages (EMA) instead of gradients."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from duologue.nn.linear import FEW, Kernel, fastest

EPSILON = 1e-5  # floor of the usage that divides the sums


class Codebook(nn.Module):
    """`entries` vectors, stored as the published files store them: a running sum of the members of each cluster, and a
    running count. The vector is their ratio.

    Learning (section 3.3.2, after SoundStream): k-means on the first batch, then exponential moving averages; an entry
    used less than a tenth of its fair share is replaced by a vector of the batch.
    """

    def __init__(self, entries: int, dim: int, decay: float = 0.99, dead_below: float = 0.1):
        super().__init__()
        self.decay = decay
        self.dead_below = dead_below
        self.register_buffer("embedding_sum", torch.zeros(entries, dim))
        self.register_buffer("cluster_usage", torch.ones(entries))
        self.register_buffer("initialized", torch.zeros(1))
        self._cache: tuple[tuple[int, ...], Tensor, Tensor] | None = None
        self._search: tuple[Tensor, Kernel] | None = None
        self.embedding_sum: Tensor
        self.cluster_usage: Tensor
        self.initialized: Tensor

    def __getstate__(self) -> dict[str, Any]:
        """Copies and pickles leave out the cached vectors."""
        return {**vars(self), "_cache": None, "_search": None}

    def _vectors(self) -> tuple[Tensor, Tensor]:
        """The vectors `[V, D]` and half their squared lengths `[V]`; computed once until the buffers change."""
        if torch.compiler.is_compiling():
            return self._ratio()
        key = (self.embedding_sum.data_ptr(), self.embedding_sum._version, self.cluster_usage._version)
        if self._cache is None or self._cache[0] != key:
            with torch.inference_mode(False):  # they may be used in training
                self._cache = key, *self._ratio()
        return self._cache[1:]

    def _ratio(self) -> tuple[Tensor, Tensor]:
        vectors_VD = self.embedding_sum / self.cluster_usage.clamp(min=EPSILON)[:, None]
        return vectors_VD, vectors_VD.square().sum(-1) / 2

    def is_initialized(self) -> bool:
        return bool(self.initialized.item())

    def nearest(self, x_BTD: Tensor) -> Tensor:
        """Index of the nearest entry, `[B, T]`; no gradient."""
        if torch.is_autocast_enabled(x_BTD.device.type):  # in 16 bits neighbours could not be told apart
            with torch.autocast(x_BTD.device.type, enabled=False):
                return self.nearest(x_BTD.float())
        vectors_VD, half_norm_V = self._vectors()
        rows = x_BTD.numel() // x_BTD.shape[-1]
        if rows > FEW or x_BTD.dtype != torch.float32 or torch.compiler.is_compiling():
            return (x_BTD.detach() @ vectors_VD.T - half_norm_V).argmax(-1)
        if self._search is None or self._search[0] is not vectors_VD:
            self._search = vectors_VD, fastest(vectors_VD, -half_norm_V, rows)
        return self._search[1](x_BTD.detach()).argmax(-1)

    def lookup(self, codes_BT: Tensor) -> Tensor:
        """The entries of `codes_BT`: `[B, T, D]`."""
        return F.embedding(codes_BT, self._vectors()[0])

    @torch.no_grad()
    def learn(self, x_BTD: Tensor) -> tuple[Tensor, Tensor]:
        """Codes and entries of a training batch, before the codebook is updated with it."""
        x_ND = x_BTD.detach().flatten(0, -2).float()
        if not self.is_initialized():
            self._start(x_ND)
        codes_BT = self.nearest(x_BTD)
        vector_BTD = self.lookup(codes_BT)
        counts_V = torch.bincount(codes_BT.flatten(), minlength=len(self.cluster_usage)).to(x_ND.dtype)
        sums_VD = torch.zeros_like(self.embedding_sum).index_add_(0, codes_BT.flatten(), x_ND)
        _sum_over_ranks(counts_V, sums_VD)
        self.cluster_usage.lerp_(counts_V, 1 - self.decay)
        self.embedding_sum.lerp_(sums_VD, 1 - self.decay)
        self._replace_dead(x_ND)
        return codes_BT, vector_BTD

    def _start(self, x_ND: Tensor) -> None:
        centres_VD, usage_V = kmeans(x_ND, len(self.cluster_usage))
        _broadcast(centres_VD, usage_V)
        self.embedding_sum.copy_(centres_VD * usage_V[:, None])
        self.cluster_usage.copy_(usage_V)
        self.initialized.fill_(1)

    def _replace_dead(self, x_ND: Tensor) -> None:
        fair = self.cluster_usage.sum() / len(self.cluster_usage)
        dead_V = self.cluster_usage < self.dead_below * fair
        new_VD = x_ND[torch.randint(len(x_ND), (len(dead_V),), device=x_ND.device)]
        _broadcast(new_VD)
        self.embedding_sum.copy_(torch.where(dead_V[:, None], fair * new_VD, self.embedding_sum))
        self.cluster_usage.copy_(torch.where(dead_V, fair, self.cluster_usage))


def kmeans(x_ND: Tensor, clusters: int, iterations: int = 20) -> tuple[Tensor, Tensor]:
    """Centres `[clusters, D]` and their member counts (at least 1), from random members; empty clusters start again."""

    def draw() -> Tensor:
        return x_ND[torch.randint(len(x_ND), (clusters,), device=x_ND.device)]

    if len(x_ND) < clusters:
        centres_VD = draw()
    else:
        centres_VD = x_ND[torch.randperm(len(x_ND), device=x_ND.device)[:clusters]]
    counts_V = torch.ones(clusters, device=x_ND.device)
    for _ in range(iterations):
        nearest_N = (x_ND @ centres_VD.T - centres_VD.square().sum(-1) / 2).argmax(-1)
        counts_V = torch.bincount(nearest_N, minlength=clusters).to(x_ND.dtype)
        sums_VD = torch.zeros_like(centres_VD).index_add_(0, nearest_N, x_ND)
        centres_VD = torch.where((counts_V == 0)[:, None], draw(), sums_VD / counts_V.clamp(min=1)[:, None])
    return centres_VD, counts_V.clamp(min=1)


def _distributed() -> bool:
    return torch.distributed.is_available() and torch.distributed.is_initialized()


def _sum_over_ranks(*tensors: Tensor) -> None:
    if _distributed():
        for tensor in tensors:
            torch.distributed.all_reduce(tensor)


def _broadcast(*tensors: Tensor) -> None:
    if _distributed():
        for tensor in tensors:
            torch.distributed.broadcast(tensor, 0)
