"""Files that ask for more than they hold, or for what is not theirs: one line, at once, and little memory."""

import json
import resource
import shutil
import struct
import time
import zipfile
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from duologue.codec.codes import load_codes
from duologue.errors import InputError
from duologue.lm.tokenizer import Tokenizer
from duologue.weights import load
from duologue.weights.convert import convert
from duologue.weights.fields import read_json
from duologue.weights.gguf import GGUFFile
from duologue.weights.hf_config import hf_model_config
from duologue.weights.model import ASSETS
from duologue.weights.published import codec_config, model_config
from duologue.weights.read import tensor_names
from tests import golden
from tests.weights.published import MIMI, MOSHIKO_7B

FRAMES = {"width": 8, "hidden": 8, "blocks": 2, "kernel": 3, "samples": 240, "taps": 16}


@pytest.fixture(autouse=True)
def at_once():
    """Within 2 s of work and 100 MB."""
    before, began = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    yield
    assert time.process_time() - began < 2
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000  # kB


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"num_layers": 20_000}, "layers are at most 1024"),
        ({"depformer_num_layers": 20_000}, "layers are at most 1024"),
        ({"delays": [0] * 16 + [10**7]}, "need a delay from 0 up to 1024 frames"),
        ({"n_q": 10**6, "delays": [0] * (10**6 + 1)}, "audio streams are at most 256"),
        ({"context": 2**40}, "keys and values, more than is allowed"),
        ({"extra_heads_num_heads": 10**6}, "extra_heads is a whole number from 0 to 256"),
        ({"stt_config": {"audio_delay_seconds": 1e12}}, "audio_delay_seconds is a number from 0 to 60"),
        ({"tts_config": {"audio_delay": True}}, "audio_delay is a number from 0 to 60, not true"),
    ],
)
def test_sizes_of_a_language_model_that_cannot_be(change: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        model_config(MOSHIKO_7B | change)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"decoder": "frames", "frames": FRAMES | {"taps": 2**30}}, "taps .* from 16 to 65536"),
        ({"decoder": "frames", "frames": FRAMES | {"blocks": 2**19}}, "blocks are at most 1024"),
        ({"transformer": MIMI["transformer"] | {"num_layers": 20_000}}, "layers are at most 1024"),
        ({"seanet": MIMI["seanet"] | {"n_residual_layers": 10**6}}, "residual_layers is a whole number from 0 to 64"),
        ({"quantizer": MIMI["quantizer"] | {"n_q": 10**6}}, "codebooks are at most 256"),
        ({"sample_rate": 960 * 10**6, "frame_rate": 10**6}, "sample_rate is a whole number from 1 to"),
    ],
)  # fmt: skip
def test_sizes_of_a_codec_that_cannot_be(change: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        codec_config(MIMI | change, 8)


def test_sizes_of_a_hugging_face_port_that_cannot_be() -> None:
    values = read_json(golden.FOLDER / "hf_moshi" / "config.json")
    with pytest.raises(InputError, match="layers are at most 1024"):
        hf_model_config(values | {"num_hidden_layers": 20_000}, "config.json")


def model(tmp_path: Path, case: str, **change: object) -> str:
    """A golden model whose configuration asks for something else."""
    path = tmp_path / "model"
    shutil.copytree(golden.FOLDER / case, path)
    config = json.loads((path / "config.json").read_text()) | change
    (path / "config.json").write_text(json.dumps(config))
    return str(path)


@pytest.mark.parametrize(
    ("case", "change", "message"),
    [
        ("lm_moshi", {"num_layers": 1000}, "1,026 layers and streams, the file holds"),
        ("lm_moshi", {"text_card": 2**20}, "weights, more than its .* bytes hold"),
        ("mlx_q8", {"text_card": 2**20}, "weights, more than its .* bytes hold"),
        ("candle_q8", {"text_card": 2**20}, "weights, more than its .* bytes hold"),
    ],
)
def test_more_than_the_file_holds(tmp_path: Path, case: str, change: dict, message: str) -> None:
    opened = load(model(tmp_path, case, **change))
    with pytest.raises(InputError, match=message):
        _ = opened.lm


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("case", ["lm_moshi", "torch_q8"])
def test_weights_that_are_no_numbers(tmp_path: Path, case: str, value: float) -> None:
    folder = Path(model(tmp_path, case))
    (weights,) = folder.glob("model*.safetensors")
    tensors = load_file(weights)
    name = "text_linear.weight_scb" if case == "torch_q8" else "text_linear.weight"
    tensors[name][-1] = value
    save_file(tensors, weights)
    with pytest.raises(InputError, match="text_linear.weight holds NaN or infinity"):
        _ = load(str(folder)).lm


def test_an_adapter_of_no_numbers(tmp_path: Path) -> None:
    tensors = load_file(golden.FOLDER / "lora" / "lora.safetensors")
    name = sorted(tensors)[0]
    save_file(tensors | {name: tensors[name] * torch.nan}, tmp_path / "lora.safetensors")
    with pytest.raises(InputError, match="holds NaN or infinity"):
        _ = load(str(golden.FOLDER / "lm_moshi"), lora=tmp_path / "lora.safetensors").lm


def test_nothing_is_copied_that_is_no_tokenizer(tmp_path: Path) -> None:
    """Nor through a link, which an unpacked archive may bring along."""
    convert("tiny", tmp_path / "tiny", "pytorch")
    name = json.loads((tmp_path / "tiny" / "config.json").read_text())["tokenizer_name"]
    (tmp_path / "tiny" / name).unlink()
    (tmp_path / "tiny" / name).symlink_to("/etc/passwd")
    with pytest.raises(InputError, match="not a SentencePiece model"):
        convert(str(tmp_path / "tiny"), tmp_path / "copy", "pytorch")
    assert not (tmp_path / "copy").exists()


def test_headers_larger_than_any_models(tmp_path: Path) -> None:
    """A million empty tensors."""
    path = tmp_path / "model.safetensors"
    entry = b'"%07d":{"dtype":"F32","shape":[0],"data_offsets":[0,0]},'
    header = b"{" + b"".join(entry % i for i in range(400_000)).rstrip(b",") + b"}"
    path.write_bytes(struct.pack("<Q", len(header)) + header)
    with pytest.raises(InputError, match="a header of .* bytes is more than a model has"):
        tensor_names(path)


@pytest.mark.parametrize(
    ("counts", "body", "message"),
    [
        ((0, 1), struct.pack("<Q1sIIQ", 1, b"k", 9, 9, 2**22) + struct.pack("<IQ", 0, 0) * 2**20, "more items than"),
        ((2**22, 0), struct.pack("<QIIQ", 0, 0, 0, 0) * 2**20, "it announces 4,194,304 tensors"),
        ((0, 2**22), struct.pack("<QIB", 0, 0, 0) * 2**20, "and 4,194,304 values"),
    ],
)  # fmt: skip
def test_gguf_files_that_never_end(
    tmp_path: Path, counts: tuple[int, int], body: bytes, message: str
) -> None:
    path = tmp_path / "model.gguf"
    path.write_bytes(b"GGUF" + struct.pack("<IQQ", 3, *counts) + body)
    with pytest.raises(InputError, match=message):
        GGUFFile(path)


def npz(path: Path, **members: bytes) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(f"{name}.npy", data)
    return path


def npy(shape: tuple[int, ...], dtype: str, data: bytes) -> bytes:
    header = f"{{'descr': '{dtype}', 'fortran_order': False, 'shape': {shape}, }}".encode()
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + data


@pytest.mark.parametrize(
    "codes",
    [
        npy((8, 2**40), "<i2", b""),
        npy((8, 3), "<i2", bytes(2**27)),
        npy((2**13, 2**13), "|i1", bytes(2**26)),
        npy((-8, -3), "<i2", bytes(48)),
    ],
    ids=["announced", "more", "packed", "negative"],
)
def test_codes_that_take_more_than_they_may(tmp_path: Path, codes: bytes) -> None:
    rates = {"sample_rate": npy((), "<i8", bytes(8)), "frame_rate": npy((), "<f8", bytes(8))}
    path = npz(tmp_path / "x.npz", codes=codes, model=npy((), "<U1", b"x\0\0\0"), **rates)
    with pytest.raises(InputError):
        load_codes(path)


def test_a_vocabulary_with_a_piece_that_is_no_text(tmp_path: Path) -> None:
    whole = (ASSETS / "tiny" / "tokenizer.model").read_bytes()
    at = whole.index("▁the".encode()) + 4
    (tmp_path / "text.model").write_bytes(whole[:at] + b"\x80" + whole[at + 1 :])
    with pytest.raises(InputError, match="not a SentencePiece model"):
        Tokenizer(tmp_path / "text.model")


def test_vocabularies_and_json_without_end(tmp_path: Path) -> None:
    for name in ("text.model", "config.json"):
        with open(tmp_path / name, "wb") as file:
            file.truncate(2**30)  # a hole: it takes no room on the disk
    with pytest.raises(InputError, match="not a SentencePiece model"):
        Tokenizer(tmp_path / "text.model")
    with pytest.raises(InputError, match="larger than 16 MiB"):
        read_json(tmp_path / "config.json")
    assert Tokenizer(ASSETS / "tiny" / "tokenizer.model").size
