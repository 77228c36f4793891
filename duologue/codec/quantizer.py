"""Split residual vector quantiser (section 3.3.2 of the Moshi paper): one semantic codebook beside an acoustic RVQ."""

from dataclasses import dataclass
from itertools import islice

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from duologue.codec.codebook import Codebook
from duologue.config import QuantizerConfig
from duologue.nn.linear import Parts, Product
from duologue.nn.stack import Stack


@dataclass
class Quantized:
    """What training needs of a quantised batch."""

    z_BDT: Tensor  # after the output projection; gradients pass straight through
    codes_BQT: Tensor
    commitment: Tensor  # scalar: how far the latents are from their codebook entries


class ResidualVQ(nn.Module):
    """Residual vector quantiser: each codebook quantises the residual of those before, between two pointwise
    projections."""

    def __init__(self, config: QuantizerConfig, codebooks: int, outer_dim: int, inner_dim: int | None = None):
        super().__init__()
        self.in_proj = nn.Conv1d(inner_dim or outer_dim, config.dim, 1, bias=False)
        self.out_proj = nn.Conv1d(config.dim, outer_dim, 1, bias=False)
        self.project_in = Product(self.in_proj, _pointwise)
        self.project_out = Product(self.out_proj, _pointwise)
        self.codebooks = Stack[Codebook](Codebook(config.entries, config.dim) for _ in range(codebooks))

    def encode(self, z_BDT: Tensor, codebooks: int) -> Tensor:
        """Codes `[B, codebooks, T]` of latents `[B, D, T]`."""
        residual_BTD = self.project_in(z_BDT.transpose(1, 2))
        codes: list[Tensor] = []
        for codebook in islice(self.codebooks, codebooks):
            codes.append(codebook.nearest(residual_BTD))
            if len(codes) < codebooks:
                residual_BTD = residual_BTD - codebook.lookup(codes[-1])
        return torch.stack(codes, 1)

    def decode(self, codes_BQT: Tensor) -> Tensor:
        """Latents `[B, D, T]` of codes `[B, Q, T]`, Q at most the number of codebooks."""
        books = zip(self.codebooks, codes_BQT.unbind(1), strict=False)
        vectors = [book.lookup(codes_BT) for book, codes_BT in books]
        return self.project_out(torch.stack(vectors).sum(0)).transpose(1, 2)

    def quantize(
        self, z_BDT: Tensor, codebooks: int, bypass_B: Tensor | None = None, used_B: Tensor | None = None
    ) -> Quantized:
        """Training: update the codebooks from the batch, and pass sequences in `bypass_B` through unquantised.
        `used_B`: how many codebooks each sequence uses (quantiser dropout; None: all)."""
        x_BTD = self.in_proj(z_BDT).transpose(1, 2)
        residual_BTD, total_BTD = x_BTD, torch.zeros_like(x_BTD)
        codes, commitments = [], []
        for number, codebook in enumerate(self.codebooks[:codebooks]):
            # The first batch initialises a codebook by k-means and leaves almost no residual for the next one,
            # which therefore waits for the batch after it.
            fresh = self.training and not codebook.is_initialized()
            if self.training:
                code_BT, vector_BTD = codebook.learn(residual_BTD)
            else:
                code_BT = codebook.nearest(residual_BTD)
                vector_BTD = codebook.lookup(code_BT)
            commitments.append(F.mse_loss(residual_BTD, vector_BTD))
            residual_BTD = residual_BTD - vector_BTD
            counted = vector_BTD if used_B is None else vector_BTD * (number < used_B)[:, None, None]
            total_BTD = total_BTD + counted
            codes.append(code_BT)
            if fresh:
                break
        y_BTD = x_BTD + (total_BTD - x_BTD).detach()
        if bypass_B is not None:
            y_BTD = torch.where(bypass_B[:, None, None], x_BTD, y_BTD)
        z_BDT = self.out_proj(y_BTD.transpose(1, 2))
        return Quantized(z_BDT, torch.stack(codes, 1), torch.stack(commitments).mean())


def _pointwise(conv: nn.Conv1d) -> Parts:
    return conv.weight[..., 0], conv.bias


class SplitQuantizer(nn.Module):
    """Semantic and acoustic codebooks: two residual quantisers whose outputs are summed.

    Both quantise the same latents, as in Mimi. With `semantic_dim`, the semantic codebooks quantise only the first
    `semantic_dim` channels, so training the acoustic ones cannot change their input; the acoustic ones quantise all
    `latent_dim`.
    """

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

    def encode(self, z_BDT: Tensor, codebooks: int) -> Tensor:
        first = min(codebooks, len(self.semantic.codebooks))
        codes_BQT = self.semantic.encode(self.semantic_part(z_BDT), first)
        if codebooks == first:
            return codes_BQT
        return torch.cat([codes_BQT, self.acoustic.encode(z_BDT, codebooks - first)], 1)

    def decode(self, codes_BQT: Tensor) -> Tensor:
        first = len(self.semantic.codebooks)
        z_BDT = self.semantic.decode(codes_BQT[:, :first])
        return z_BDT if codes_BQT.shape[1] <= first else z_BDT + self.acoustic.decode(codes_BQT[:, first:])

    def semantic_part(self, z_BDT: Tensor) -> Tensor:
        """The channels of latents that the semantic codebooks see."""
        return z_BDT if self.semantic_dim is None else z_BDT[:, : self.semantic_dim]
