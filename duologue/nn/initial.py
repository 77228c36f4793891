"""Random weights to begin with."""

from torch import Tensor, nn


def normal_(weight: Tensor, std: float) -> Tensor:
    """`weight` filled with normally distributed numbers; left alone on the meta device, where models are made before
    their weights are loaded: random numbers there would import torch's compiler, 2 s of each start."""
    return weight if weight.is_meta else nn.init.normal_(weight, std=std)
