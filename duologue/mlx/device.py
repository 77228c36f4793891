"""The device of MLX."""

import mlx.core as mx


def on_gpu() -> bool:
    """Whether MLX computes on a GPU (Metal), where compiled graphs and half precision pay."""
    return mx.default_device() == mx.gpu
