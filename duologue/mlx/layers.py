"""Norms, feed-forward blocks, activations and rotary positions (`nn/norm.py`, `nn/mlp.py`, `nn/rope.py`).

The activations are our own because those of `mlx.nn` are compiled at run time, which on Linux needs a C++ compiler.
"""

import math

import mlx.core as mx
import mlx.nn as nn

from duologue.nn.mlp import gated_hidden


def elu(x: mx.array) -> mx.array:
    return mx.where(x > 0, x, mx.expm1(mx.minimum(x, 0)))


def silu(x: mx.array) -> mx.array:
    return x * mx.sigmoid(x)


def gelu(x: mx.array) -> mx.array:
    return x * (1 + mx.erf(x / math.sqrt(2))) / 2


class RMSNorm(nn.Module):
    """Root-mean-square norm, computed in float32 (Helium, section 3.2 of the Moshi paper)."""

    def __init__(self, dim: int, eps: float = 1e-8):
        super().__init__()
        self.eps = eps
        self.weight = mx.ones(dim)

    def __call__(self, x_D: mx.array) -> mx.array:
        return mx.fast.rms_norm(x_D, self.weight, self.eps)


class LayerScale(nn.Module):
    """A learnt gain for each channel of a residual branch."""

    def __init__(self, dim: int, init: float):
        super().__init__()
        self.scale = mx.full(dim, init)

    def __call__(self, x_D: mx.array) -> mx.array:
        return self.scale * x_D


def make_scale(dim: int, init: float | None) -> nn.Module:
    """A layer scale, if the model has them."""
    return nn.Identity() if init is None else LayerScale(dim, init)


def make_norm(kind: str, dim: int) -> nn.Module:
    """A norm by the name it has in the published configs (`config.NORMS`)."""
    eps = 1e-8 if kind.endswith("_f32") else 1e-5
    return RMSNorm(dim, eps) if kind.startswith("rms") else nn.LayerNorm(dim, eps)


class MLP(nn.Module):
    """Two linear layers with a GELU between (Mimi's transformers)."""

    def __init__(self, dim: int, hidden: int, bias: bool = False):
        super().__init__()
        self.linear_in = nn.Linear(dim, hidden, bias)
        self.linear_out = nn.Linear(hidden, dim, bias)

    def __call__(self, x_BTD: mx.array) -> mx.array:
        return self.linear_out(gelu(self.linear_in(x_BTD)))


class GatedMLP(nn.Module):
    """SiLU-gated feed-forward block (Helium and the depth transformer)."""

    def __init__(self, dim: int, feedforward: int):
        super().__init__()
        hidden = gated_hidden(dim, feedforward)
        self.linear_in = nn.Linear(dim, 2 * hidden, bias=False)
        self.linear_out = nn.Linear(hidden, dim, bias=False)

    def __call__(self, x_BTD: mx.array) -> mx.array:
        gate, value = mx.split(self.linear_in(x_BTD), 2, -1)
        return self.linear_out(silu(gate) * value)


def rotate(x_BHTD: mx.array, position_BT: mx.array, max_period: float, interleaved: bool = True) -> mx.array:
    """Rotate queries or keys by their positions, computed in float32 (in the torch version's order: `mx.fast.rope`
    drifts from it in an hour-long conversation)."""
    half = x_BHTD.shape[-1] // 2
    rate_F = mx.power(max_period, -mx.arange(half, dtype=mx.float32) / half)
    angle_B1TF = position_BT[:, None, :, None].astype(mx.float32) * rate_F
    cos, sin = mx.cos(angle_B1TF), mx.sin(angle_B1TF)
    wide = x_BHTD.astype(mx.float32)
    if interleaved:
        pairs = wide.reshape(*wide.shape[:-1], half, 2)
        real, imag = pairs[..., 0], pairs[..., 1]
        turned = mx.stack([real * cos - imag * sin, real * sin + imag * cos], -1).reshape(wide.shape)
    else:
        real, imag = mx.split(wide, 2, -1)
        turned = mx.concatenate([real * cos - imag * sin, real * sin + imag * cos], -1)
    return turned.astype(x_BHTD.dtype)


def sinusoids(position_BT: mx.array, dim: int, max_period: float = 10_000.0) -> mx.array:
    """Position codes `[B, T, D]`, float32: cosines, then sines, of geometrically spaced periods."""
    half = dim // 2
    rate_F = mx.power(max_period, -mx.arange(half, dtype=mx.float32) / (half - 1))
    phase_BTF = position_BT[..., None].astype(mx.float32) * rate_F
    return mx.concatenate([mx.cos(phase_BTF), mx.sin(phase_BTF)], -1)
