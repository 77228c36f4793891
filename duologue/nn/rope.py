"""Rotary position embedding."""

import torch
from torch import Tensor

Turns = tuple[Tensor, Tensor]  # cosines and signed sines, [B, 1, T, D]


def turns(position_BT: Tensor, dim: int, max_period: float, interleaved: bool = True) -> Turns:
    """How far each channel of heads of `dim` channels turns at each position, in float32.

    `interleaved` pairs neighbouring channels (Moshi, Mimi); otherwise channel d pairs with d + dim / 2 (Hibiki-Zero).
    """
    half = dim // 2
    rate_F = max_period ** (-torch.arange(half, device=position_BT.device, dtype=torch.float32) / half)
    angle_B1TF = position_BT[:, None, :, None].float() * rate_F
    cos, sin = angle_B1TF.cos(), angle_B1TF.sin()
    if interleaved:
        return torch.stack([cos, cos], -1).flatten(-2), torch.stack([-sin, sin], -1).flatten(-2)
    return torch.cat([cos, cos], -1), torch.cat([-sin, sin], -1)


def rotate(x_BHTD: Tensor, turned: Turns, interleaved: bool = True) -> Tensor:
    """Rotate queries or keys by `turns`, computed in float32."""
    wide = x_BHTD.float()
    if interleaved:
        partner = wide.view(*wide.shape[:-1], -1, 2).flip(-1).flatten(-2)
    else:
        partner = wide.roll(wide.shape[-1] // 2, -1)
    cos, sin = turned
    return (wide * cos + partner * sin).to(x_BHTD.dtype)
