"""Rotary position embedding."""

import torch
from torch import Tensor


def rotate(x_BHTD: Tensor, position_BT: Tensor, max_period: float, interleaved: bool = True) -> Tensor:
    """Rotate queries or keys by their positions, computed in float32.

    `interleaved` pairs neighbouring channels (Moshi, Mimi); otherwise channel d pairs with d + D / 2 (Hibiki-Zero).
    """
    half = x_BHTD.shape[-1] // 2
    rate_F = max_period ** (-torch.arange(half, device=x_BHTD.device, dtype=torch.float32) / half)
    angle_B1TF = position_BT[:, None, :, None].float() * rate_F
    cos, sin = angle_B1TF.cos(), angle_B1TF.sin()
    wide = x_BHTD.float()
    if interleaved:
        real, imag = wide.unflatten(-1, (half, 2)).unbind(-1)
        turned = torch.stack([real * cos - imag * sin, real * sin + imag * cos], -1).flatten(-2)
    else:
        real, imag = wide.split(half, -1)
        turned = torch.cat([real * cos - imag * sin, real * sin + imag * cos], -1)
    return turned.to(x_BHTD.dtype)
