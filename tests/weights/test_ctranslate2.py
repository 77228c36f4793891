"""Whisper's encoder out of a model for CTranslate2: every weight in its place, and one line for every other file."""

import os
import struct
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.testing import assert_close

from duologue.codec.whisper import WhisperEncoder
from duologue.config import WhisperConfig
from duologue.errors import InputError
from duologue.nn.attention import attend
from duologue.weights.ctranslate2 import load_whisper_encoder, read_ctranslate2

SMALL = WhisperConfig(mels=20, dim=32, heads=2, layers=2, feedforward=64)
WHISPER_TINY = "DUOLOGUE_WHISPER_TINY"  # a folder with Whisper tiny for CTranslate2


def weights(config: WhisperConfig, dtype: str = "<f2") -> dict[str, np.ndarray]:
    """Of a Whisper encoder, under the names that CTranslate2 gives them, and one array that is none of its."""
    rng, d = np.random.default_rng(0), config.dim
    shapes: dict[str, tuple[int, ...]] = {
        "conv1/weight": (d, config.mels, 3), "conv1/bias": (d,), "conv2/weight": (d, d, 3), "conv2/bias": (d,),
        "layer_norm/gamma": (d,), "layer_norm/beta": (d,),
    }  # fmt: skip
    for n in range(config.layers):
        for name, rows, columns in (
            ("self_attention/linear_0", 3 * d, d), ("self_attention/linear_1", d, d),
            ("ffn/linear_0", config.feedforward, d), ("ffn/linear_1", d, config.feedforward),
        ):  # fmt: skip
            shapes |= {f"layer_{n}/{name}/weight": (rows, columns), f"layer_{n}/{name}/bias": (rows,)}
        for name in ("self_attention", "ffn"):
            shapes |= {f"layer_{n}/{name}/layer_norm/{part}": (d,) for part in ("gamma", "beta")}
    found = {f"encoder/{name}": rng.normal(0, 0.2, shape).astype(dtype) for name, shape in shapes.items()}
    return found | {
        "encoder/num_heads": np.array(config.heads, "<i2"),
        "decoder/scale_embeddings": np.ones((), "<i1"),
    }


def written(arrays: dict[str, np.ndarray]) -> bytes:
    """`model.bin` as CTranslate2 writes it (version 6)."""
    kinds = {"float32": 0, "int8": 1, "int16": 2, "int32": 3, "float16": 4}

    def text(value: str) -> bytes:
        return struct.pack("<H", len(value) + 1) + value.encode() + b"\0"

    data = struct.pack("<I", 6) + text("WhisperSpec") + struct.pack("<II", 3, len(arrays))
    for name, array in arrays.items():
        data += text(name) + struct.pack(f"<B{array.ndim}I", array.ndim, *array.shape)
        data += struct.pack("<BI", kinds[array.dtype.name], array.nbytes) + array.tobytes()
    return data + struct.pack("<I", 0)  # no aliases


def folder(path: Path, arrays: dict[str, np.ndarray]) -> Path:
    (path / "model.bin").write_bytes(written(arrays))
    return path


@pytest.mark.parametrize("dtype", ["<f2", "<f4"])
def test_every_array_is_read(tmp_path: Path, dtype: str) -> None:
    arrays = weights(SMALL, dtype)
    found = read_ctranslate2(folder(tmp_path, arrays))
    assert found.keys() == arrays.keys()
    for name, array in arrays.items():
        assert found[name].dtype == array.dtype and np.array_equal(found[name], array)


def as_whisper(encoder: WhisperEncoder, mel_BMT: Tensor) -> Tensor:
    """The states `[B, T, D]` of the layers as Whisper uses them: all of them see the whole recording."""
    x_BDT = F.gelu(F.conv1d(mel_BMT, encoder.conv1.weight, encoder.conv1.bias, padding=1))
    x_BDT = F.gelu(F.conv1d(x_BDT, encoder.conv2.weight, encoder.conv2.bias, 2, 1))
    half = x_BDT.shape[1] // 2
    rate_D = 10_000.0 ** (-torch.arange(half, dtype=torch.float64) / (half - 1))
    angle_TD = torch.arange(x_BDT.shape[2])[:, None] * rate_D
    positions_TD = torch.cat([angle_TD.sin(), angle_TD.cos()], 1).half().float()  # as the file holds them
    x_BTD = x_BDT.mT + positions_TD
    for layer in encoder.transformer.layers:
        attention = layer.attention
        q, k, v = attention._qkv(layer.norm1(x_BTD), None)
        x_BTD = x_BTD + attention.out_proj(attend(q, k, v, None))
        x_BTD = x_BTD + layer.mlp(layer.norm2(x_BTD))
    return encoder.norm(x_BTD)


def by_hand(arrays: dict[str, np.ndarray], config: WhisperConfig, mel_MT: np.ndarray) -> np.ndarray:
    """The same from the arrays, in numpy and double precision."""

    def get(name: str) -> np.ndarray:
        return arrays[f"encoder/{name}"].astype(np.float64)

    def norm(x_TD: np.ndarray, name: str) -> np.ndarray:
        centred = x_TD - x_TD.mean(1, keepdims=True)
        return centred / np.sqrt((centred**2).mean(1, keepdims=True) + 1e-5) * get(f"{name}/gamma") + get(
            f"{name}/beta"
        )

    def linear(x_TD: np.ndarray, name: str) -> np.ndarray:
        return x_TD @ get(f"{name}/weight").T + get(f"{name}/bias")

    def gelu(x: np.ndarray) -> np.ndarray:
        return x * (1 + torch.erf(torch.from_numpy(x / 2**0.5)).numpy()) / 2

    def convolve(x_TC: np.ndarray, name: str, stride: int) -> np.ndarray:
        padded = np.pad(x_TC, ((1, 1), (0, 0)))
        rows = [
            np.einsum("kc,dck->d", padded[t : t + 3], get(f"{name}/weight"))
            for t in range(0, len(x_TC), stride)
        ]
        return gelu(np.stack(rows) + get(f"{name}/bias"))

    x_TD = convolve(convolve(mel_MT.T, "conv1", 1), "conv2", 2)
    half = config.dim // 2
    angle_TD = np.arange(len(x_TD))[:, None] * 10_000.0 ** (-np.arange(half) / (half - 1))
    x_TD = x_TD + np.concatenate([np.sin(angle_TD), np.cos(angle_TD)], 1).astype(np.float16)
    for n in range(config.layers):
        name = f"layer_{n}/self_attention"
        parts = np.split(linear(norm(x_TD, f"{name}/layer_norm"), f"{name}/linear_0"), 3, 1)
        heads = []
        for q, k, v in zip(*(np.split(part, config.heads, 1) for part in parts), strict=True):
            scores = np.exp(q @ k.T / np.sqrt(q.shape[1]))
            heads.append(scores / scores.sum(1, keepdims=True) @ v)
        x_TD = x_TD + linear(np.concatenate(heads, 1), f"{name}/linear_1")
        name = f"layer_{n}/ffn"
        inner = gelu(linear(norm(x_TD, f"{name}/layer_norm"), f"{name}/linear_0"))
        x_TD = x_TD + linear(inner, f"{name}/linear_1")
    return norm(x_TD, "layer_norm")


def test_each_weight_is_where_whisper_has_it(tmp_path: Path) -> None:
    """The layers, run as Whisper runs them, give the states that its own formulas give with these arrays."""
    arrays, encoder = weights(SMALL), WhisperEncoder(SMALL, 1920)
    stack = encoder.stack.weight.clone()
    load_whisper_encoder(encoder, folder(tmp_path, arrays))
    assert torch.equal(encoder.stack.weight, stack)  # Whisper has no such layer
    mel_MT = np.random.default_rng(1).normal(0, 0.5, (SMALL.mels, 40))
    with torch.no_grad():
        found = as_whisper(encoder, torch.from_numpy(mel_MT).float()[None])[0]
    assert_close(found.double(), torch.from_numpy(by_hand(arrays, SMALL, mel_MT)), rtol=0, atol=1e-4)


@pytest.mark.skipif(WHISPER_TINY not in os.environ, reason=f"needs Whisper tiny in the folder {WHISPER_TINY}")
@pytest.mark.skipif(find_spec("ctranslate2") is None, reason="needs ctranslate2")
def test_the_states_are_those_of_whisper_tiny() -> None:
    import ctranslate2

    encoder = WhisperEncoder(WhisperConfig(), 1920)
    load_whisper_encoder(encoder, os.environ[WHISPER_TINY])
    mel_BMT = torch.randn(1, 80, 3000, generator=torch.Generator().manual_seed(0)) * 0.3
    model = ctranslate2.models.Whisper(os.environ[WHISPER_TINY], device="cpu", compute_type="float32")
    states = model.encode(ctranslate2.StorageView.from_array(mel_BMT.numpy()), to_cpu=True)
    with torch.no_grad():
        assert_close(as_whisper(encoder, mel_BMT), torch.from_numpy(np.array(states)), rtol=0, atol=5e-4)


OTHERS = {
    "more heads": WhisperConfig(mels=20, dim=32, heads=4, layers=2, feedforward=64),
    "wider": WhisperConfig(mels=20, dim=64, heads=2, layers=2, feedforward=64),
    "deeper": WhisperConfig(mels=20, dim=32, heads=2, layers=3, feedforward=64),
    "more bands": WhisperConfig(mels=80, dim=32, heads=2, layers=2, feedforward=64),
    "other feed-forward": WhisperConfig(mels=20, dim=32, heads=2, layers=2, feedforward=128),
}


@pytest.mark.parametrize("other", OTHERS)
def test_another_size_is_refused(tmp_path: Path, other: str) -> None:
    encoder = WhisperEncoder(OTHERS[other], 1920)
    before = {name: value.clone() for name, value in encoder.state_dict().items()}
    with pytest.raises(InputError, match="no Whisper encoder of this size: encoder/"):
        load_whisper_encoder(encoder, folder(tmp_path, weights(SMALL)))
    for name, value in encoder.state_dict().items():
        assert torch.equal(value, before[name]), "half-filled"


def test_packed_weights_are_refused(tmp_path: Path) -> None:
    arrays = weights(SMALL)
    arrays["encoder/layer_1/ffn/linear_0/weight"] = np.zeros((64, 32), np.int8)
    with pytest.raises(InputError, match="encoder/layer_1/ffn/linear_0/weight does not fit"):
        load_whisper_encoder(WhisperEncoder(SMALL, 1920), folder(tmp_path, arrays))


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"cannot read .*model\.bin: No such file"):
        read_ctranslate2(tmp_path)


def test_a_file_cut_anywhere_is_refused(tmp_path: Path) -> None:
    whole = written({"encoder/conv1/bias": np.arange(5, dtype="<f4"), "b": np.ones((2, 3), "<f2")})
    for end in range(len(whole) - 4):  # without the number of aliases it is whole
        (tmp_path / "model.bin").write_bytes(whole[:end])
        with pytest.raises(InputError, match="not a model of CTranslate2, or is damaged"):
            read_ctranslate2(tmp_path)


@pytest.mark.parametrize(
    "data",
    [b"", b"PK\x03\x04" + bytes(200), b"\x80\x02}q\x00." + bytes(50), b"\xff" * 300, b'{"a": 1}' * 20],
    ids=["empty", "zip", "pickle", "ones", "json"],
)
def test_foreign_files_are_refused(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "model.bin").write_bytes(data)
    with pytest.raises(InputError, match="not a model of CTranslate2, or is damaged"):
        read_ctranslate2(tmp_path)


def test_damage_costs_no_time_and_no_memory(tmp_path: Path) -> None:
    """Whatever bytes are changed: an array or a clear line, at once."""
    whole = bytearray(written({"encoder/conv1/bias": np.arange(5, dtype="<f4"), "b": np.ones((2, 3), "<f2")}))
    rng = np.random.default_rng(0)
    refused = 0
    for _ in range(300):
        data = bytearray(whole)
        for at in rng.integers(len(whole), size=3):
            data[at] = rng.integers(256)
        (tmp_path / "model.bin").write_bytes(data)
        try:
            read_ctranslate2(tmp_path)
        except InputError:
            refused += 1
    assert refused > 50
