"""Normalisation layers of the published models."""

import torch
from torch import Tensor, nn

from duologue.nn.linear import HookFree, WeightCache


class RMSNorm(HookFree):
    """Root-mean-square norm, computed in float32 (Helium, section 3.2 of the Moshi paper).

    The variance floor is *added* to the mean square; the published models use 1e-8 ("rms_norm_f32") or 1e-5.
    """

    def __init__(self, dim: int, eps: float = 1e-8):
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(dim))
        self.prepared = WeightCache(self, _by_length)

    def forward(self, x_D: Tensor) -> Tensor:
        if x_D.dtype == torch.float32 and not torch.is_grad_enabled() and not torch.compiler.is_compiling():
            # Norms dominate the step of a small model, so they use as few operations as possible.
            weight_D, floor = self.prepared.get()
            return x_D * (weight_D / torch.hypot(torch.linalg.vector_norm(x_D, 2, -1, True), floor))
        wide_D = x_D.float()
        length = torch.linalg.vector_norm(wide_D, dim=-1, keepdim=True)
        scale = torch.rsqrt(length * length / x_D.shape[-1] + self.eps)
        return (wide_D * (self.weight.float() * scale)).to(x_D.dtype)


def _by_length(norm: RMSNorm) -> tuple[Tensor, Tensor]:
    """Weights and variance floor for the length of a vector instead of its mean square."""
    dim = len(norm.weight)
    return norm.weight * dim**0.5, norm.weight.new_full((1,), (dim * norm.eps) ** 0.5)


class LayerScale(nn.Module):
    """A learnt gain for each channel of a residual branch; starts small so that a deep stack starts near identity."""

    def __init__(self, dim: int, init: float):
        super().__init__()
        self.scale = nn.Parameter(torch.full((dim,), init))

    def forward(self, x_D: Tensor) -> Tensor:
        return self.scale * x_D


def make_scale(dim: int, init: float | None) -> nn.Module:
    """A layer scale, if the model has them."""
    return nn.Identity() if init is None else LayerScale(dim, init)


def add_scaled(x_D: Tensor, scale: nn.Module, update_D: Tensor) -> Tensor:
    """Add a residual branch, scaled if it has a scale."""
    return torch.addcmul(x_D, scale.scale, update_D) if isinstance(scale, LayerScale) else x_D + update_D


def make_norm(kind: str, dim: int) -> nn.Module:
    """A norm by the name it has in the published configs (`config.NORMS`)."""
    eps = 1e-8 if kind.endswith("_f32") else 1e-5
    return RMSNorm(dim, eps) if kind.startswith("rms") else nn.LayerNorm(dim, eps)
