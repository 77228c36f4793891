"""A language model read into 8 or 4 bits, and how much memory that takes."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from duologue.config import DepthConfig, LMConfig, TransformerConfig
from duologue.errors import InputError
from duologue.lm import LM, Sampling
from duologue.lm.step import init_state, step
from duologue.nn.linear import Linear
from duologue.nn.quantized import LEVELS, Int8Linear, whole_int8_of_torch
from duologue.weights import Model, load
from duologue.weights.files import ModelFiles
from duologue.weights.layouts import lm_layout
from duologue.weights.packed import Int8Rows, quantize_int8
from duologue.weights.published import ModelConfig
from duologue.weights.quantized import halved_codec, quantized_lm
from duologue.weights.random import random_lm
from duologue.weights.save import as_int8, linears, save_tensors
from duologue.weights.write import lm_json, write_json

ERROR = {"q8": 0.02, "q4": 0.12}  # of a product, relative: of random weights and inputs
CONFIG = LMConfig(
    temporal=TransformerConfig(64, 2, 2, 264, 10, norm="rms_norm_f32", gated=True),
    depth=DepthConfig(64, 2, 1, 264, (0, 1, 1, 1)),
    audio_streams=8,
    delays=(0, *(0, 1, 1, 1) * 2),
    card=32,
    text_card=40,
    text_card_out=40,
)


class InMemory(Model):
    """A random model, or one of given values."""

    def __init__(self, values: dict[str, object] | None = None, model_type: str = "moshi"):
        config = ModelConfig(CONFIG, model_type=model_type)
        super().__init__(ModelFiles("it", config, Path), torch.device("cpu"), torch.float32)
        self.values = values or random_lm(CONFIG).state_dict()

    def stored_lm(self) -> Iterator:
        yield from self.values.items()


@pytest.mark.parametrize("kind", ERROR)
def test_a_model(kind: str) -> None:
    """The same context as the whole model's, within what rounding does; embeddings and norms are as they were."""
    plain, rounded = random_lm(CONFIG), quantized_lm(InMemory(), kind)
    assert not rounded.training
    assert not any(isinstance(inner, Linear) for inner in rounded.modules())
    kept = dict(rounded.named_parameters())
    assert kept
    assert all("emb" in name or "norm" in name for name in kept)
    assert all(torch.equal(value, dict(plain.named_parameters())[name]) for name, value in kept.items())
    states = [init_state(lm, [Sampling.greedy()] * 2) for lm in (plain, rounded)]
    told = {"text_B": torch.tensor([5, 7]), "audio_BQ": torch.tensor([[1, 2, 3, 4], [5, 6, 7, 8]])}
    for t in range(12):
        heard_BQ = torch.full((2, 4), t)
        a, b = (step(lm, s, heard_BQ, **told) for lm, s in zip((plain, rounded), states, strict=True))
        error = (a.hidden_BD - b.hidden_BD).norm() / a.hidden_BD.norm()
        assert 0 < error < 5 * ERROR[kind]


def test_8_bit_rows_stay_as_they_are() -> None:
    values = random_lm(CONFIG).state_dict()
    packed = quantize_int8(values["text_head.weight"])
    lm = quantized_lm(InMemory({**values, "text_head.weight": packed}), "q8")
    assert isinstance(lm.text_head, Int8Linear)
    assert_close(lm.text_head(torch.eye(64)), packed.dense().T, atol=1e-5, rtol=6e-4)


def test_some_models_read_eos_as_padding() -> None:
    rows = quantized_lm(InMemory(model_type="hibiki"), "q8").text_emb.weight
    assert torch.equal(rows[2], rows[3])
    rows = quantized_lm(InMemory(), "q8").text_emb.weight
    assert not torch.equal(rows[2], rows[3])


def test_refused() -> None:
    with pytest.raises(InputError, match=r"q8 or q4, not .q3."):
        quantized_lm(InMemory(), "q3")
    with pytest.raises(InputError, match="is for a CPU"):
        quantized_lm(load("tiny", "meta"), "q8")


LARGE = LMConfig(
    temporal=TransformerConfig(1024, 8, 12, 4224, 100, norm="rms_norm_f32", gated=True),
    depth=DepthConfig(64, 2, 1, 264, (0, 1, 1, 1)),
    audio_streams=8,
    delays=(0, *(0, 1, 1, 1) * 2),
    card=512,
    text_card=2000,
    text_card_out=2000,
)
MEASURE = """
import sys
from duologue.weights import load
from duologue.weights.quantized import halved_codec, quantized_lm

def held(line):
    (found,) = [row for row in open("/proc/self/status") if row.startswith(line)]
    return 1024 * int(found.split()[1])

quantized_lm(load("tiny"), "q8")
before = held("VmRSS")
lm = quantized_lm(load(sys.argv[1]), "q8")
print(held("VmHWM") - before)
"""


def stored_8_bits(config: LMConfig) -> Iterator[tuple[str, Tensor | Int8Rows]]:
    with torch.device("meta"):
        lm = LM(config)
    packed = linears(lm)
    for name, value in lm.state_dict().items():
        if name in packed:
            data = torch.randint(-127, 128, value.shape, dtype=torch.int8)
            yield name, Int8Rows(data, torch.full((len(value),), 0.1))
        else:
            yield name, torch.ones(value.shape, dtype=torch.bfloat16)


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the system tells it in no file")
def test_a_model_in_8_bits_never_stands_in_memory_in_more(tmp_path: Path) -> None:
    """At its peak a process has the packed weights, the embeddings in 32 bits and some tens of megabytes: neither the
    whole model in another form nor all of the mapped file. (What `getrusage` calls the peak may be that of the process
    that started this one.)"""
    with torch.device("meta"):
        lm = LM(LARGE)
    path = tmp_path / "model.q8.safetensors"
    save_tensors(
        path, stored_8_bits(LARGE), lm.state_dict(), lm_layout("pytorch", LARGE).sources, as_int8(lm)
    )
    write_json(tmp_path / "config.json", lm_json(LARGE) | {"moshi_name": path.name})
    apart = {
        "MALLOC_MMAP_THRESHOLD_": str(2**20)
    }  # matrices of their own in memory, as those of 7 B are by their size
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, str(tmp_path)],
        capture_output=True, text=True, check=True, env=os.environ | apart,
    )  # fmt: skip
    assert path.stat().st_size > 150e6
    share = int(done.stdout) / path.stat().st_size
    assert 0.9 < share < 1.35, share


def test_the_codec_keeps_its_products_in_16_bits_and_hears_and_says_the_same() -> None:
    whole, model = load("tiny").codec, load("tiny")
    wav_BS = 0.1 * torch.randn(2, 24 * 1920, generator=torch.Generator().manual_seed(0))
    codec = halved_codec(model)
    assert codec is model.codec
    rounded = 0
    for (name, mine), its in zip(codec.named_parameters(), whole.parameters(), strict=True):
        module = codec.get_submodule(name.rpartition(".")[0])
        if name.endswith("weight") and isinstance(module, nn.Linear | nn.Conv1d | nn.ConvTranspose1d):
            assert torch.equal(mine.half().float(), mine)
            rounded += not torch.equal(mine, its)
        else:
            assert torch.equal(mine, its)
    assert rounded > 10
    for mine, its in zip(codec.buffers(), whole.buffers(), strict=True):
        assert torch.equal(mine, its)
    codes_BQT = whole.encode(wav_BS)
    assert (codec.encode(wav_BS) == codes_BQT).float().mean() > 0.98
    said_BS = whole.decode(codes_BQT)
    assert (codec.decode(codes_BQT) - said_BS).std() < 2e-3 * said_BS.std()


def test_the_product_of_8_bits_of_a_gpu_is_that_of_a_cpu() -> None:
    """Its kernel exists on a CPU too: rows are rounded by themselves, and few are filled up."""
    torch.manual_seed(0)
    data_NK, largest_N = torch.randint(-127, 128, (24, 64), dtype=torch.int8), torch.rand(24) + 0.5
    product = whole_int8_of_torch(data_NK, largest_N / LEVELS)
    weight_NK = data_NK.float() * (largest_N / LEVELS)[:, None]
    for rows in (1, 3, 40):
        x_BK = torch.randn(rows, 64)
        assert float((product(x_BK) - x_BK @ weight_NK.T).norm() / (x_BK @ weight_NK.T).norm()) < 0.02
        assert torch.equal(product(x_BK)[:1], product(x_BK[:1]))
    assert product(torch.randn(2, 64).bfloat16()).dtype == torch.bfloat16
