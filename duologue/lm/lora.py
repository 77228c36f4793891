"""Low-rank adapters (LoRA), in the file format of moshi-finetune.

Every linear map W becomes W + scaling * B A, with W frozen. A starts random and B at zero, so that training starts from
the model itself.
"""

import math
from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from duologue.lm.model import LM


class LoRALinear(nn.Linear):
    """A frozen linear map with an adapter beside it; `weight` keeps its name."""

    def __init__(self, base: nn.Linear, rank: int, scaling: float):
        with torch.device("meta"):
            has_bias = base.bias is not None  # pyright: ignore[reportUnnecessaryComparison]
            super().__init__(base.in_features, base.out_features, has_bias)
        self.weight, self.bias, self.scaling = base.weight, base.bias, scaling
        weight = base.weight
        self.lora_A = nn.Linear(self.in_features, rank, bias=False, device=weight.device, dtype=weight.dtype)
        self.lora_B = nn.Linear(rank, self.out_features, bias=False, device=weight.device, dtype=weight.dtype)
        nn.init.kaiming_uniform_(self.lora_A.weight, a=math.sqrt(5))
        nn.init.zeros_(self.lora_B.weight)

    def forward(self, input: Tensor) -> Tensor:
        return F.linear(input, self.weight, self.bias) + self.scaling * self.lora_B(self.lora_A(input))


def add_lora(lm: LM, rank: int, scaling: float) -> None:
    """Freeze `lm` and put an adapter of `rank` beside every linear map: in 32 bits whatever the weights have (under
    autocast), for small steps would be lost in 16."""
    for weight in lm.parameters():
        weight.requires_grad_(False)
    for name, linear in list(_linears(lm)):
        parent, _, leaf = name.rpartition(".")
        adapted = LoRALinear(linear, rank, scaling)
        adapted.lora_A.float()
        adapted.lora_B.float()
        setattr(lm.get_submodule(parent), leaf, adapted)


@torch.no_grad()
def merge_lora(lm: LM) -> None:
    """Merge the adapters into the weights; `lm` then has its original modules and is trainable."""
    for name, linear in list(_linears(lm)):
        if isinstance(linear, LoRALinear):
            has_bias = linear.bias is not None  # pyright: ignore[reportUnnecessaryComparison]
            merged = nn.Linear(linear.in_features, linear.out_features, has_bias, device="meta")
            merged.weight = nn.Parameter(
                linear.weight + linear.scaling * (linear.lora_B.weight @ linear.lora_A.weight)
            )
            merged.bias = linear.bias
            parent, _, leaf = name.rpartition(".")
            setattr(lm.get_submodule(parent), leaf, merged)
    for weight in lm.parameters():
        weight.requires_grad_(True)


def _linears(lm: LM) -> Iterator[tuple[str, nn.Linear]]:
    for name, module in lm.named_modules():
        if isinstance(module, nn.Linear) and not name.rpartition(".")[2].startswith("lora_"):
            yield name, module
