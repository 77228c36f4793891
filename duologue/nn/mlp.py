"""Feed-forward blocks."""

import torch.nn.functional as F
from torch import Tensor

from duologue.nn.linear import HookFree, Linear


def gelu(x_BTD: Tensor) -> Tensor:
    """GELU without torch's call into a library, whose set-up takes several times as long as the few positions of a
    frame."""
    return F.gelu(x_BTD.mT).mT


class MLP(HookFree):
    """Two linear layers with a GELU between (Mimi's transformers)."""

    def __init__(self, dim: int, hidden: int, bias: bool = False):
        super().__init__()
        self.linear_in = Linear(dim, hidden, bias)
        self.linear_out = Linear(hidden, dim, bias)

    def forward(self, x_BTD: Tensor) -> Tensor:
        return self.linear_out(gelu(self.linear_in(x_BTD)))


class GatedMLP(HookFree):
    """SiLU-gated feed-forward block (Helium and the depth transformer)."""

    def __init__(self, dim: int, feedforward: int):
        super().__init__()
        hidden = gated_hidden(dim, feedforward)
        self.linear_in = Linear(dim, 2 * hidden, bias=False)
        self.linear_out = Linear(hidden, dim, bias=False)

    def forward(self, x_BTD: Tensor) -> Tensor:
        gate, value = self.linear_in(x_BTD).chunk(2, -1)
        return self.linear_out(F.silu(gate) * value)


def gated_hidden(dim: int, feedforward: int) -> int:
    """Width between the two layers of a gated block.

    The published models give the gated block about the weights of an ungated one: two thirds of its width, but
    21/8 of `dim` where the ungated width is exactly 4 * `dim`.
    """
    return 21 * dim // 8 if feedforward == 4 * dim else 2 * feedforward // 3
