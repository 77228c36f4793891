"""The reference encoder: turns a text into vectors of which the language model reads one per frame (MoshiRAG,
arXiv 2604.12928; the encoder is ARC-Encoder, arXiv 2510.20535). A transformer with bidirectional attention, whose last
layer pools groups of tokens, and projections to the width of the language model.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from duologue.nn.attention import attend, split_heads
from duologue.nn.rope import rotate, turns
from duologue.nn.stack import Stack

HEAD = 128  # channels per attention head
THETA = 500_000.0  # the longest period of the rotation is 2 pi times this
EPSILON = 1e-5  # of RMSNorm
LONGEST_TEXT = 1024  # tokens; longer texts are truncated


@dataclass(frozen=True)
class EncoderShape:
    """The shape of an encoder, read from its tensors. `hidden` and `out`: widths of the two bridge layers' outputs;
    `width`: that of the language model."""

    entries: int
    dim: int
    layers: int
    heads: int
    kv_heads: int
    feedforward: int
    hidden: int
    out: int
    width: int


class EncoderAttention(nn.Module):
    def __init__(self, shape: EncoderShape):
        super().__init__()
        self.q_proj = nn.Linear(shape.dim, shape.heads * HEAD, bias=False)
        self.k_proj = nn.Linear(shape.dim, shape.kv_heads * HEAD, bias=False)
        self.v_proj = nn.Linear(shape.dim, shape.kv_heads * HEAD, bias=False)
        self.out_proj = nn.Linear(shape.heads * HEAD, shape.dim, bias=False)

    def forward(self, x_ND: Tensor, y_TD: Tensor) -> Tensor:
        """`x_ND` attends to all of `y_TD`."""
        q_BHNC = _rotated(split_heads(self.q_proj(x_ND)[None], HEAD))
        k_BHTC = _rotated(split_heads(self.k_proj(y_TD)[None], HEAD))
        v_BHTC = split_heads(self.v_proj(y_TD)[None], HEAD)
        return self.out_proj(attend(q_BHNC, k_BHTC, v_BHTC, None)[0])


def _rotated(x_BHTC: Tensor) -> Tensor:
    position_BT = torch.arange(x_BHTC.shape[2], device=x_BHTC.device)[None]
    return rotate(x_BHTC, turns(position_BT, HEAD, THETA))


class EncoderLayer(nn.Module):
    def __init__(self, shape: EncoderShape):
        super().__init__()
        self.norm1 = nn.RMSNorm(shape.dim, EPSILON)
        self.attention = EncoderAttention(shape)
        self.norm2 = nn.RMSNorm(shape.dim, EPSILON)
        self.gate = nn.Linear(shape.dim, shape.feedforward, bias=False)
        self.up = nn.Linear(shape.dim, shape.feedforward, bias=False)
        self.down = nn.Linear(shape.feedforward, shape.dim, bias=False)

    def forward(self, x_ND: Tensor, y_TD: Tensor) -> Tensor:
        seen_TD = self.norm1(y_TD)
        x_ND = x_ND + self.attention(seen_TD if x_ND is y_TD else self.norm1(x_ND), seen_TD)
        y_ND = self.norm2(x_ND)
        return x_ND + self.down(F.silu(self.gate(y_ND)) * self.up(y_ND))


class ReferenceEncoder(nn.Module):
    """`group`: how many tokens are pooled into one vector."""

    def __init__(self, shape: EncoderShape, group: int):
        super().__init__()
        self.group, self.width = group, shape.width
        self.embedding = nn.Embedding(shape.entries, shape.dim)
        self.layers = Stack(EncoderLayer(shape) for _ in range(shape.layers))
        self.bridge_in = nn.Linear(shape.dim, shape.hidden, bias=False)
        self.bridge_out = nn.Linear(shape.hidden, shape.out, bias=False)
        self.projection = nn.Linear(shape.out, shape.width, bias=False)

    @torch.inference_mode()
    def forward(self, tokens_T: Tensor) -> Tensor:
        """Token ids int64 `[T]` to vectors `[N, D]`, one per group of tokens. An empty text gives one zero vector,
        which means that nothing was found."""
        if not len(tokens_T):
            return self.projection.weight.new_zeros(1, self.width)
        x_TD = self.embedding(tokens_T[:LONGEST_TEXT])
        for layer in self.layers[:-1]:
            x_TD = layer(x_TD, x_TD)
        x_ND = self.layers[-1](_joined(x_TD, self.group), x_TD)
        return self.projection(self.bridge_out(self.bridge_in(x_ND)))


def _joined(x_TD: Tensor, group: int) -> Tensor:
    """Means of groups of at most `group` adjacent tokens; sizes differ by at most one, larger groups come first."""
    groups = -(-len(x_TD) // group)
    least, larger = divmod(len(x_TD), groups)
    sizes = [least + (i < larger) for i in range(groups)]
    return torch.stack([part.mean(0) for part in x_TD.split(sizes)])
