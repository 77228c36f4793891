"""Writing weights tensor by tensor, in any family's names and packing."""

import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from duologue.lm import LM
from duologue.lm.embedding import TokenEmbedding
from duologue.weights.gguf import F32, Q8_0, Plan, write_gguf
from duologue.weights.names import LOW_RANK, Source
from duologue.weights.packed import (
    BLOCK,
    MLX_GROUP,
    Affine,
    Int8Rows,
    Packed,
    Q8Blocks,
    join,
    quantize_affine,
    quantize_int8,
    quantize_q8_0,
)
from duologue.weights.read import Sources, Stored, halves

Named = Iterable[tuple[str, Stored]]
Encode = Callable[[str, Stored, str], list[tuple[str, Tensor]]]  # name in the file, value, our name

NAMES = {
    torch.float64: "F64", torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16", torch.int64: "I64",
    torch.int32: "I32", torch.int8: "I8", torch.uint8: "U8", torch.uint32: "U32", torch.bool: "BOOL",
}  # fmt: skip
WORD = 8  # bytes: a tensor of a multiple of these leaves the next one aligned
ENTRY_BYTES = 200  # of the header, for a tensor, beside its name


class SafetensorsWriter:
    """A safetensors file written one tensor at a time. The header's place is kept free for at most `names`, each with
    its scales."""

    def __init__(self, path: Path, names: Iterable[str]):
        self.file = open(path, "wb")  # noqa: SIM115
        self.room = -(-sum(3 * (len(name) + ENTRY_BYTES) for name in [*names, ""]) // WORD) * WORD
        self.file.write(b" " * (8 + self.room))
        self.entries: dict[str, Any] = {"__metadata__": {"format": "pt"}}
        self.offset = 0
        self.ragged: list[tuple[str, Tensor]] = []

    def add(self, name: str, value: Tensor) -> None:
        # What would put the next tensor out of line waits for the end: odd shapes, all of them small.
        if value.numel() * value.element_size() % WORD:
            self.ragged.append((name, value.clone()))
        else:
            self._write(name, value)

    def _write(self, name: str, value: Tensor) -> None:
        raw = value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy()
        end = self.offset + raw.nbytes
        self.entries[name] = {
            "dtype": NAMES[value.dtype],
            "shape": list(value.shape),
            "data_offsets": [self.offset, end],
        }
        self.file.write(raw.data)
        self.offset = end

    def finish(self) -> None:
        for name, value in sorted(self.ragged, key=lambda one: -one[1].element_size()):
            self._write(name, value)
        header = json.dumps(self.entries, separators=(",", ":")).encode()
        assert len(header) <= self.room
        self.file.seek(0)
        self.file.write(self.room.to_bytes(8, "little") + header.ljust(self.room))
        self.close()

    def close(self) -> None:
        self.file.close()


def scattered(values: Named, sources: Sources) -> Iterator[tuple[str, Stored, str]]:
    """The tensors of a file, each with our name of it or of a part, from ours: `read.stored_tensors` the other way."""
    for place, parts, ours in _gathered(values, sources):
        yield place.name, _whole(place, parts), ours


def _gathered(values: Named, sources: Sources) -> Iterator[tuple[Source, list[Any], str]]:
    """The tensors of a file in their parts."""
    parts: dict[str, dict[int, Stored]] = {}
    for ours, value in values:
        source = sources(ours)[0]
        start = 0
        for piece in (source, *source.joined):
            mine = value if piece.rows is None else value[start : start + piece.rows]
            start += piece.rows or 0
            if piece.heads:
                rows = halves(mine.shape[0], piece.heads).argsort()
                mine = mine[rows.to(mine.device) if isinstance(mine, Tensor) else rows]
            for place in (piece, *piece.copies):
                found = parts.setdefault(place.name, {})
                found[place.part] = mine
                if len(found) == place.parts:
                    yield place, [found[i] for i in range(place.parts)], ours
                    del parts[place.name]
    assert not parts, sorted(parts)


def _whole(place: Source, parts: list[Any]) -> Stored:
    if place.stacked:
        return torch.stack([part.dense() if isinstance(part, Packed) else part for part in parts])
    whole = join(parts)
    if isinstance(whole, Tensor) and place.name.endswith((".alpha", ".learnt_padding")):
        return whole.view(1, 1, -1)
    return whole


def save_tensors(
    path: Path, values: Named, meta: dict[str, Tensor], sources: Sources, encode: Encode
) -> None:
    """Our tensors as a safetensors file, stored as `encode` says. `meta`: all of them, for their names and shapes."""
    writer = SafetensorsWriter(path, [place.name for place, _, _ in _gathered(meta.items(), sources)])
    try:
        for name, value, ours in scattered(values, sources):
            for key, tensor in encode(name, value, ours):
                writer.add(key, tensor)
        writer.finish()
    finally:
        writer.close()


def save_gguf(path: Path, values: Named, meta: dict[str, Tensor], sources: Sources) -> None:
    """Our tensors as a GGUF file: matrices in q8_0, all else in float32, as Candle's own tool does it."""
    shapes = [(name, tuple(value.shape)) for name, value, _ in scattered(meta.items(), sources)]
    plan: list[Plan] = [
        (name, shape, Q8_0 if len(shape) == 2 and shape[1] % BLOCK == 0 else F32) for name, shape in shapes
    ]
    kinds = {name: kind for name, _, kind in plan}

    def encoded() -> Iterator[tuple[str, Stored]]:
        for name, value, _ in scattered(values, sources):
            if kinds[name] == Q8_0:
                yield name, value if isinstance(value, Q8Blocks) else quantize_q8_0(_plain(value))
            else:
                yield name, _plain(value).float()

    write_gguf(path, plan, encoded())


def _plain(value: Stored) -> Tensor:
    return value.dense() if isinstance(value, Packed) else value


def as_stored(dtype: torch.dtype | None = None) -> Encode:
    """Nothing given up, or floating-point numbers in `dtype`. What was packed needs float32."""

    def encode(name: str, value: Stored, ours: str) -> list[tuple[str, Tensor]]:
        tensor = _plain(value)
        return [(name, tensor.to(dtype) if dtype and tensor.is_floating_point() else tensor)]

    return encode


def linears(module: nn.Module) -> set[str]:
    """The weights of linear layers, the one that nothing reads among them."""
    names = {name + ".weight" for name, inner in module.named_modules() if isinstance(inner, nn.Linear)}
    return names | {LOW_RANK}


def tables(lm: LM) -> set[str]:
    """The embedding tables that are used as they are, without a projection."""
    return {
        name + ".weight"
        for name, inner in lm.named_modules()
        if isinstance(inner, nn.Embedding)
        or (isinstance(inner, TokenEmbedding) and inner.projection is None and inner.first is None)
    }


def as_mlx(lm: LM, bits: int) -> Encode:
    """MLX's affine groups, as `mlx.nn.quantize` makes them; columns that do not divide into groups stay plain. What is
    not packed is in 16 bits."""
    packable, group = linears(lm) | tables(lm), MLX_GROUP[bits]

    def encode(name: str, value: Stored, ours: str) -> list[tuple[str, Tensor]]:
        if not isinstance(value, Affine) or (value.bits, value.group) != (bits, group):
            value = _in_16_bits(_plain(value))
            if ours not in packable or value.shape[-1] % group:
                return [(name, value)]
            value = quantize_affine(value, bits, group)
        head = name.removesuffix("weight")
        return [(name, value.data), (head + "scales", value.scales), (head + "biases", value.biases)]

    return encode


def as_int8(lm: LM) -> Encode:
    """The reference's 8 bits: linear layers alone, a scale a row."""
    packable = linears(lm)

    def encode(name: str, value: Stored, ours: str) -> list[tuple[str, Tensor]]:
        if ours not in packable:
            return [(name, _plain(value))]
        packed = value if isinstance(value, Int8Rows) else quantize_int8(_plain(value))
        return [(name, packed.data), (name + "_scb", packed.largest)]

    return encode


def as_exact_int8(packable: set[str]) -> Encode:
    """Matrices in 8 bits and a scale a row, chosen so that the weights they stand for are float16 numbers: a kernel for
    16 bits computes with exactly what the file says. All else in float16."""

    def encode(name: str, value: Stored, ours: str) -> list[tuple[str, Tensor]]:
        tensor = _plain(value)
        if ours not in packable or tensor.dim() != 2:
            return [(name, tensor.half() if tensor.is_floating_point() else tensor)]
        packed = quantize_int8(tensor, exact=True)
        return [(name, packed.data), (name + "_scb", packed.largest)]

    return encode


def _in_16_bits(value: Tensor) -> Tensor:
    return value.bfloat16() if value.dtype == torch.float32 else value
