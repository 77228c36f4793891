"""Quantised weights in the packings of three families of files, and unpacking.

Every kind packs along the columns, so its rows can be cut, joined and reordered without unpacking. `dense` is what a
matrix product on any device needs; a faster path may take the packed tensors as they are.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import TypeVar

import torch
from torch import Tensor

P = TypeVar("P", bound="Packed")
CHUNK = 2**22  # weights unpacked at a time

AFFINE_BITS = (2, 3, 4, 5, 6, 8)
AFFINE_GROUPS = (32, 64, 128)
MLX_GROUP = {8: 64, 4: 32}  # weights that share a scale, as published
INT8_LEVELS = 127
BLOCK = 32  # weights of a GGUF block
LEAST_EXPONENT = -19  # of a scale: its last bit is then still one of float16's, 2**-24


@dataclass(frozen=True)
class Packed:
    """A matrix `[rows, columns]`."""

    @property
    def shape(self) -> tuple[int, int]:
        raise NotImplementedError

    def _dense(self) -> Tensor:
        raise NotImplementedError

    def tensors(self) -> dict[str, Tensor]:
        """The tensors it is made of, each with a first dimension of rows; unsigned words as signed ones, with which
        torch can do more."""
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        parts = {name: value for name, value in values.items() if isinstance(value, Tensor)}
        return {n: t.view(torch.int32) if t.dtype == torch.uint32 else t for n, t in parts.items()}

    def of_tensors(self: P, parts: dict[str, Tensor]) -> P:
        """The same with other tensors, as `tensors` gives them."""
        return replace(self, **{n: t.view(getattr(self, n).dtype) for n, t in parts.items()})

    def __getitem__(self: P, rows: slice | Tensor) -> P:
        """Some of the rows."""
        return self.of_tensors({name: value[rows] for name, value in self.tensors().items()})

    def same_kind(self, other: object) -> bool:
        """Whether `other` is packed in the same way, and can be joined to this."""
        if not isinstance(other, Packed) or type(other) is not type(self):
            return False
        return all(getattr(self, f.name) == getattr(other, f.name) for f in fields(self) if f.name in KIND)

    def equals(self, other: object) -> bool:
        if not isinstance(other, Packed) or not self.same_kind(other):
            return False
        theirs = other.tensors()
        return all(torch.equal(value, theirs[name]) for name, value in self.tensors().items())

    def dense(self, dtype: torch.dtype = torch.float32) -> Tensor:
        """The weights `[rows, columns]`. A copy; never more than it and some millions of weights in memory."""
        rows, columns = self.shape
        whole = torch.empty(rows, columns, dtype=dtype)
        step = max(1, CHUNK // max(1, columns))
        for start in range(0, rows, step):
            whole[start : start + step] = self[slice(start, start + step)]._dense()
        return whole


KIND = ("bits", "group")


def join(parts: Sequence[Tensor | Packed]) -> Tensor | Packed:
    """One matrix of the rows of several; packed if all are packed in the same way."""
    first = parts[0]
    if len(parts) == 1:
        return first
    if isinstance(first, Packed) and all(first.same_kind(p) for p in parts):
        columns = [p.tensors() for p in parts if isinstance(p, Packed)]
        return first.of_tensors({name: torch.cat([c[name] for c in columns]) for name in columns[0]})
    return torch.cat([p.dense() if isinstance(p, Packed) else p for p in parts])


@dataclass(frozen=True)
class Affine(Packed):
    """MLX: `group` neighbours share a scale and a bias, w = scale * q + bias. q is a stream of `bits` each, the lowest
    first, in 32-bit words."""

    data: Tensor  # uint32 [rows, columns * bits / 32]
    scales: Tensor  # [rows, columns / group]
    biases: Tensor
    bits: int
    group: int

    @property
    def shape(self) -> tuple[int, int]:
        return self.scales.shape[0], self.scales.shape[1] * self.group

    def _dense(self) -> Tensor:
        q = unpack_bits(self.data.contiguous().view(torch.uint8), self.bits).float()
        q = q.unflatten(1, (-1, self.group))
        return (self.scales.float()[..., None] * q + self.biases.float()[..., None]).flatten(1)


@dataclass(frozen=True)
class Int8Rows(Packed):
    """PyTorch q8 (bitsandbytes): each row has its largest absolute value, which 127 stands for."""

    data: Tensor  # int8 [rows, columns]
    largest: Tensor  # float32 [rows]

    @property
    def shape(self) -> tuple[int, int]:
        return self.data.shape[0], self.data.shape[1]

    def _dense(self) -> Tensor:
        return self.data.float() * (self.largest.float() / INT8_LEVELS)[:, None]


@dataclass(frozen=True)
class Q8Blocks(Packed):
    """GGUF q8_0: 32 neighbours share a float16 scale, which stands before their 32 bytes."""

    data: Tensor  # uint8 [rows, columns / 32, 34]

    @property
    def shape(self) -> tuple[int, int]:
        return self.data.shape[0], self.data.shape[1] * BLOCK

    def _dense(self) -> Tensor:
        scale = self.data[..., :2].contiguous().view(torch.float16).float()
        return (scale * self.data[..., 2:].contiguous().view(torch.int8).float()).flatten(1)


def unpack_bits(data: Tensor, bits: int) -> Tensor:
    """uint8 `[rows, bytes]` to its numbers of `bits` each, uint8 `[rows, bytes * 8 / bits]`."""
    if bits == 8:
        return data
    if bits in (2, 4):
        shift = torch.arange(0, 8, bits, dtype=torch.uint8)
        return ((data[..., None] >> shift) & (2**bits - 1)).flatten(1)
    single = (data[..., None] >> torch.arange(8, dtype=torch.uint8)) & 1
    weight = 2 ** torch.arange(bits, dtype=torch.uint8)
    return (single.flatten(1).unflatten(1, (-1, bits)) * weight).sum(-1, dtype=torch.uint8)


def pack_bits(q: Tensor, bits: int) -> Tensor:
    """The inverse of `unpack_bits`."""
    if bits == 8:
        return q
    single = (q[..., None] >> torch.arange(bits, dtype=torch.uint8)) & 1
    weight = 2 ** torch.arange(8, dtype=torch.uint8)
    return (single.flatten(1).unflatten(1, (-1, 8)) * weight).sum(-1, dtype=torch.uint8)


def quantize_affine(w: Tensor, bits: int, group: int) -> Affine:
    """`w` `[rows, columns]` packed as MLX does it, bit for bit. Scales and biases have the dtype of `w`.

    The end of the range that is larger in absolute value, and zero, are met exactly.
    """
    levels = 2**bits - 1
    g = w.float().unflatten(1, (-1, group))
    low, high = g.amin(-1), g.amax(-1)
    from_low = low.abs() > high.abs()
    scale = ((high - low) / levels).clamp(min=1e-7)
    scale = torch.where(from_low, scale, -scale)
    edge = torch.where(from_low, low, high)
    q0 = (edge / scale).round()
    bias = torch.where(q0 != 0, edge, 0.0)
    scale = torch.where(q0 != 0, edge / q0, scale)
    q = ((g - bias[..., None]) / scale[..., None]).round().clamp(0, levels).to(torch.uint8)
    data = pack_bits(q.flatten(1), bits).contiguous().view(torch.uint32)
    return Affine(data, scale.to(w.dtype), bias.to(w.dtype), bits, group)


SHORT = 4  # significant bits of a scale whose products with 7-bit numbers have the 11 of float16


def quantize_int8(w: Tensor, exact: bool = False) -> Int8Rows:
    """`w` `[rows, columns]` in 8 bits a weight and a scale a row. `exact`: each weight it stands for is a float16
    number, since the scales are rounded up to few bits, by an eighth at most."""
    wide = w.float()
    largest = wide.abs().amax(-1)
    if exact:
        mantissa, exponent = torch.frexp(largest / INT8_LEVELS)
        scale = torch.ldexp((mantissa * 2**SHORT).ceil() / 2**SHORT, exponent.clamp(min=LEAST_EXPONENT))
        largest = scale * INT8_LEVELS
    q = (wide * (INT8_LEVELS / largest.clamp(min=1e-30))[:, None]).round()
    return Int8Rows(q.to(torch.int8), largest)


def quantize_q8_0(w: Tensor) -> Q8Blocks:
    """`w` `[rows, columns]` in GGUF's q8_0; halves are rounded away from zero, as its other writers do."""
    g = w.float().unflatten(1, (-1, BLOCK))
    scale = g.abs().amax(-1, keepdim=True) / INT8_LEVELS
    x = g * torch.where(scale == 0, 0.0, 1 / scale)
    q = (x.abs() + 0.5).floor() * x.sign()
    parts = scale.half().contiguous().view(torch.uint8), q.to(torch.int8).view(torch.uint8)
    return Q8Blocks(torch.cat(parts, -1))
