"""What we write, we read again, bit for bit; and it has the reference's own names."""

import json
from functools import partial
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from duologue.codec import Codec
from duologue.lm import LM
from duologue.weights.names import codec_sources, lm_sources, unused_names
from duologue.weights.published import codec_config, model_config
from duologue.weights.read import fill
from duologue.weights.write import lm_json, write_codec, write_lm
from tests import golden

CPU = torch.device("cpu")


@pytest.mark.parametrize("case", ["lm_moshi", "lm_shared", "lm_heads", "lm_cond", "lm_hibiki"])
def test_language_model(case: str, tmp_path: Path) -> None:
    lm = golden.lm(case)
    write_lm(tmp_path / "model.safetensors", lm)
    config = model_config(json.loads(json.dumps(lm_json(lm.config)))).lm
    assert config == lm.config
    with torch.device("meta"):
        again = LM(config)
    sources = partial(lm_sources, config=config)
    fill(again, tmp_path / "model.safetensors", sources, CPU, torch.float32, unused_names(config))
    for (name, ours), read in zip(lm.state_dict().items(), again.state_dict().values(), strict=True):
        assert torch.equal(ours, read), name


@pytest.mark.parametrize("case", ["mimi_small", "mimi_32"])
def test_codec(case: str, tmp_path: Path) -> None:
    codec = golden.codec(case, 8)
    write_codec(tmp_path / "mimi.safetensors", codec)
    config = codec_config(json.loads((tmp_path / "mimi.json").read_text()), 8)
    assert config == codec.config
    with torch.device("meta"):
        again = Codec(config)
    fill(again, tmp_path / "mimi.safetensors", partial(codec_sources, config=config), CPU, torch.float32)
    for (name, ours), read in zip(codec.state_dict().items(), again.state_dict().values(), strict=True):
        assert torch.equal(ours, read), name


@pytest.mark.parametrize(("case", "write"), [("mimi_32", write_codec), ("lm_moshi", write_lm)])
def test_the_reference_would_find_every_tensor(case: str, write, tmp_path: Path) -> None:
    """The two cases that hold the published (old) attention names."""
    model = golden.codec(case, 8) if case.startswith("mimi") else golden.lm(case)
    write(tmp_path / "model.safetensors", model)
    ours = load_file(tmp_path / "model.safetensors")
    theirs = load_file(golden.FOLDER / case / "model.safetensors")
    unused = unused_names(model.config) if isinstance(model, LM) else set()
    assert ours.keys() == theirs.keys() - unused
    for name, value in theirs.items():
        if name not in unused:
            assert ours[name].shape == value.shape, name
            torch.testing.assert_close(ours[name], value.float(), atol=0, rtol=0)


@pytest.mark.parametrize("case", ["lm_moshi", "lm_shared"])
def test_eight_bits(case: str, tmp_path: Path) -> None:
    """Matrices take a byte a weight, and what they stand for are float16 numbers near the weights."""
    lm = golden.lm(case)
    write_lm(tmp_path / "model.safetensors", lm, torch.int8)
    with torch.device("meta"):
        again = LM(lm.config)
    sources = partial(lm_sources, config=lm.config)
    fill(again, tmp_path / "model.safetensors", sources, CPU, torch.float32, unused_names(lm.config))
    stored = load_file(tmp_path / "model.safetensors")
    assert sum(value.dtype == torch.int8 for value in stored.values()) > 5
    for (name, ours), read in zip(lm.state_dict().items(), again.state_dict().values(), strict=True):
        assert torch.equal(read, read.half().float()), name
        if ours.dim() == 2:
            assert ((read - ours).abs().amax(1) <= ours.abs().amax(1) / 127 / 2 * 9 / 8 + 1e-7).all(), name


def test_a_codec_of_eight_bits(tmp_path: Path) -> None:
    codec = golden.codec("mimi_32", 8)
    write_codec(tmp_path / "mimi.safetensors", codec, torch.int8)
    with torch.device("meta"):
        again = Codec(codec.config)
    sources = partial(codec_sources, config=codec.config)
    fill(again, tmp_path / "mimi.safetensors", sources, CPU, torch.float32)
    rounded = {
        name for name, value in load_file(tmp_path / "mimi.safetensors").items() if value.dtype == torch.int8
    }
    assert rounded and all("transformer" in name for name in rounded)
    for (name, ours), read in zip(codec.state_dict().items(), again.state_dict().values(), strict=True):
        assert torch.allclose(read, ours, atol=float(ours.abs().max()) / 200), name
