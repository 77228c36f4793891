"""Position embeddings: rotations of queries and keys (RoPE), or sinusoids added to the input."""

from functools import cache

import torch
from torch import Tensor

Rotation = (
    tuple[Tensor, Tensor] | Tensor
)  # cosines and signed sines, [B, H, T, D]; or complex numbers, [B, H, T, D / 2]


def turns(
    position_BT: Tensor, dim: int, max_period: float, interleaved: bool = True
) -> tuple[Tensor, Tensor]:
    """The rotation of each channel of heads of `dim` channels at each position, in float32.

    `interleaved` pairs neighbouring channels (Moshi, Mimi); otherwise channel d pairs with d + dim / 2 (Hibiki-Zero).
    """
    half = dim // 2
    rate_F = max_period ** (-torch.arange(half, device=position_BT.device, dtype=torch.float32) / half)
    angle_B1TF = position_BT[:, None, :, None].float() * rate_F
    cos, sin = angle_B1TF.cos(), angle_B1TF.sin()
    if interleaved:
        return torch.stack([cos, cos], -1).flatten(-2), torch.stack([-sin, sin], -1).flatten(-2)
    return torch.cat([cos, cos], -1), torch.cat([-sin, sin], -1)


def complex_rotation(position_BT: Tensor, moving: int, still: int, dim: int, max_period: float) -> Tensor:
    """As `turns` of neighbouring channels, for `moving` heads followed by `still` ones without rotation; on a CPU."""
    angle_BHTF = position_BT[:, None, :, None] * _rates(moving, still, dim, max_period)
    return torch.polar(torch.ones_like(angle_BHTF), angle_BHTF)


@cache
def _rates(moving: int, still: int, dim: int, max_period: float) -> Tensor:
    with torch.inference_mode(False):
        rate_F = max_period ** (-torch.arange(dim // 2, dtype=torch.float32) / (dim // 2))
        return torch.cat([rate_F.expand(moving, 1, -1), torch.zeros(still, 1, dim // 2)])


def rotate(x_BHTD: Tensor, rotation: Rotation, interleaved: bool = True) -> Tensor:
    """Rotate queries or keys by `turns`, computed in float32."""
    wide = x_BHTD.float()
    if isinstance(rotation, Tensor):
        turned_BHTF = torch.view_as_complex(wide.unflatten(-1, (-1, 2))) * rotation
        return torch.view_as_real(turned_BHTF).flatten(-2).to(x_BHTD.dtype)
    if interleaved:
        partner = wide.view(*wide.shape[:-1], -1, 2).flip(-1).flatten(-2)
    else:
        partner = wide.roll(wide.shape[-1] // 2, -1)
    cos, sin = rotation
    return torch.addcmul(wide * cos, partner, sin).to(x_BHTD.dtype)


def sinusoids(position_BT: Tensor, dim: int, max_period: float = 10_000.0) -> Tensor:
    """Position codes `[B, T, D]`, float32: cosines, then sines, of geometrically spaced periods."""
    half = dim // 2
    rate_F = max_period ** (-torch.arange(half, device=position_BT.device, dtype=torch.float32) / (half - 1))
    phase_BTF = position_BT[..., None].float() * rate_F
    return torch.cat([phase_BTF.cos(), phase_BTF.sin()], -1)
