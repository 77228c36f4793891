"""Mutated files of every kind that a model is made of: read, or refused in a line. No other error, and no crash.

A few of each in the suite; thousands with `pytest -m slow tests/weights/test_fuzz.py`.
"""

import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from duologue.errors import InputError
from duologue.lm.tokenizer import TextStream, Tokenizer
from duologue.weights import load
from duologue.weights.model import ASSETS
from tests import golden

FEW, MANY = 15, 1500


def use_tokenizer(path: Path) -> None:
    """Everything that a conversation does with it."""
    tokenizer = Tokenizer(path)
    stream = TextStream(tokenizer)
    for token in range(min(tokenizer.size, 500)):
        stream.push(token)
    tokenizer.decode(tokenizer.encode("Good morning, how are you?"))


def use_lm(path: Path) -> None:
    _ = load(str(path.parent)).lm


def use_codec(path: Path) -> None:
    _ = load(str(path.parent)).codec


def use_adapter(path: Path) -> None:
    _ = load(str(golden.FOLDER / "lm_moshi"), lora=path).lm


def use_single(path: Path) -> None:
    opened = load(str(path))
    opened.parts()
    _ = opened.codec if not opened.has_lm else opened.lm


# Which file of which folder is mutated, and what then reads it.
TARGETS: dict[str, tuple[Path, str, Callable[[Path], object]]] = {
    "safetensors": (golden.FOLDER / "lm_moshi", "model.safetensors", use_lm),
    "single": (golden.FOLDER / "lm_heads", "model.safetensors", use_single),
    "mlx": (golden.FOLDER / "mlx_q4", "model.q4.safetensors", use_lm),
    "int8": (golden.FOLDER / "torch_q8", "model.q8.safetensors", use_lm),
    "hf": (golden.FOLDER / "hf_moshi", "model.safetensors", use_lm),
    "hf_codec": (golden.FOLDER / "hf_mimi", "model.safetensors", use_codec),
    "gguf": (golden.FOLDER / "candle_q8", "model.q8.gguf", use_lm),
    "config": (golden.FOLDER / "lm_cond", "config.json", use_lm),
    "hf_config": (golden.FOLDER / "hf_moshi", "config.json", use_lm),
    "hf_codec_config": (golden.FOLDER / "hf_mimi", "config.json", use_codec),
    "adapter": (golden.FOLDER / "lora", "lora.safetensors", use_adapter),
    "tokenizer": (ASSETS / "tiny", "tokenizer.model", use_tokenizer),
}

# Where (in thousandths of the part that is not only numbers), what is done there, and with which byte.
EDIT = st.tuples(
    st.integers(0, 999),
    st.sampled_from(["set", "set", "set", "cut", "insert", "repeat", "zero"]),
    st.integers(0, 255),
)


def mutated(whole: bytes, edits: list[tuple[int, str, int]], header: int) -> bytes:
    data = bytearray(whole)
    for place, kind, byte in edits:
        at = min(len(data), max(1, min(header, len(data)))) * place // 1000
        if kind == "set" and data:
            data[min(at, len(data) - 1)] = byte
        elif kind == "cut":
            del data[at : at + byte]
        elif kind == "insert":
            data[at:at] = bytes([byte]) * (1 + byte % 9)
        elif kind == "repeat":
            data[at:at] = data[at : at + byte]
        elif kind == "zero":
            data[at : at + 8] = bytes(len(data[at : at + 8]))
    return bytes(data)


def header_of(whole: bytes) -> int:
    """Bytes in which a change is worth more than in a list of numbers."""
    if whole[8:9] == b"{":
        return 8 + int.from_bytes(whole[:8], "little")
    return whole.find(b"text_linear.weight") + 60 if whole[:4] == b"GGUF" else len(whole)


def attack(name: str, examples: int) -> int:
    folder, file, use = TARGETS[name]
    whole, refused = (folder / file).read_bytes(), 0

    with tempfile.TemporaryDirectory() as temporary:
        copy = Path(temporary) / "model"
        shutil.copytree(folder, copy, ignore=shutil.ignore_patterns("io.safetensors"))

        @settings(
            max_examples=examples, deadline=None, derandomize=True, database=None,
            suppress_health_check=list(HealthCheck),
        )  # fmt: skip
        @given(st.lists(EDIT, min_size=1, max_size=4))
        def run(edits: list[tuple[int, str, int]]) -> None:
            nonlocal refused
            (copy / file).write_bytes(mutated(whole, edits, header_of(whole)))
            try:
                use(copy / file)
            except InputError as error:
                refused += 1
                line = str(error)
            else:
                line = ""
            assert "\n" not in line
            assert len(line) < 1000

        run()
    return refused


@pytest.mark.parametrize("name", TARGETS)
def test_a_few_mutated_files(name: str) -> None:
    assert attack(name, FEW) > 0


@pytest.mark.slow
@pytest.mark.parametrize("name", TARGETS)
def test_many_mutated_files(name: str) -> None:
    assert attack(name, MANY) > MANY / 10
