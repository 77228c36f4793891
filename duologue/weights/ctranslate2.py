"""Read Whisper models in CTranslate2's format (`model.bin`), from which training may start."""

import struct
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from duologue.codec.whisper import WhisperEncoder
from duologue.errors import InputError
from duologue.types import StrPath

DTYPES = {0: "<f4", 1: "<i1", 2: "<i2", 3: "<i4", 4: "<f2"}


def read_ctranslate2(folder: StrPath) -> dict[str, np.ndarray]:
    """The arrays of `folder/model.bin`, by name.

    The file: version (uint32), name, revision and number of variables (uint32); of each variable its name, rank
    (uint8), shape (uint32), type (uint8), bytes (uint32) and values. A name has its length (uint16) before it.
    Raises InputError.
    """
    path = Path(folder) / "model.bin"
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from None
    at = 0

    def take(kind: str, count: int = 1) -> tuple[int, ...]:
        nonlocal at
        values = struct.unpack_from(f"<{count}{kind}", data, at)
        at += struct.calcsize(f"<{count}{kind}")
        return values

    def text() -> str:
        nonlocal at
        (length,) = take("H")
        at += length
        return data[at - length : at].rstrip(b"\0").decode()

    arrays: dict[str, np.ndarray] = {}
    try:
        take("I")
        text()
        _, count = take("I", 2)
        for _ in range(count):
            name = text()
            shape = take("I", take("B")[0])
            (kind,), (size,) = take("B"), take("I")
            arrays[name] = np.frombuffer(data[at : at + size], DTYPES[kind]).reshape(shape)
            at += size
    except (struct.error, KeyError, ValueError):
        arrays = {}
    if not arrays:
        raise InputError(f"{path} is not a model of CTranslate2, or is damaged")
    return arrays


@torch.no_grad()
def load_whisper_encoder(encoder: WhisperEncoder, folder: StrPath) -> None:
    """Fill `encoder` with the weights of a Whisper model of its size. Raises InputError if the sizes differ.

    The layer after Whisper's (`stack`, which joins the positions of a frame) keeps the weights that it has.
    """
    arrays = read_ctranslate2(folder)
    wanted: dict[str, Tensor] = {}
    for name in ("conv1", "conv2"):
        wanted |= {f"{name}/{part}": getattr(getattr(encoder, name), part) for part in ("weight", "bias")}
    norms = {"layer_norm": encoder.norm}
    for number, layer in enumerate(encoder.transformer.layers):
        linears = {
            "self_attention/linear_0": layer.attention.in_proj,
            "self_attention/linear_1": layer.attention.out_proj,
            "ffn/linear_0": layer.mlp.linear_in,
            "ffn/linear_1": layer.mlp.linear_out,
        }
        for name, linear in linears.items():
            wanted[f"layer_{number}/{name}/weight"] = linear.weight
            wanted[f"layer_{number}/{name}/bias"] = linear.bias
        norms[f"layer_{number}/self_attention/layer_norm"] = layer.norm1
        norms[f"layer_{number}/ffn/layer_norm"] = layer.norm2
    for name, norm in norms.items():
        wanted |= {f"{name}/gamma": norm.weight, f"{name}/beta": norm.bias}
    heads = arrays.get("encoder/num_heads")
    if heads is None or heads.size != 1 or heads.item() != encoder.config.heads:
        raise InputError(f"{folder} holds no Whisper encoder of this size: encoder/num_heads does not fit")
    for name, parameter in wanted.items():
        found = arrays.get(f"encoder/{name}")
        if found is None or found.shape != parameter.shape or found.dtype.kind != "f":
            raise InputError(f"{folder} holds no Whisper encoder of this size: encoder/{name} does not fit")
    for name, parameter in wanted.items():
        parameter.copy_(torch.from_numpy(arrays[f"encoder/{name}"].astype(np.float32)))
