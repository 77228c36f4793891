"""A codec with two encoders: in files, and refused where there is no place for it."""

import json
import shutil
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch

from benchmarks.peers.__main__ import codec_peers
from duologue import presets
from duologue.cli import main
from duologue.codec import Codec
from duologue.config import AcousticConfig, TransformerConfig, WhisperConfig
from duologue.errors import InputError
from duologue.weights import load
from duologue.weights.convert import convert
from duologue.weights.model import ASSETS
from duologue.weights.random import random_codec, random_lm
from duologue.weights.write import lm_json, write_codec, write_json, write_lm
from tests.codec.test_frames_files import NAMES
from tests.codec.two_encoders import CONFIG, FRAME, sound


@pytest.fixture(scope="module")
def codec() -> Codec:
    codec = random_codec(CONFIG)
    for weight in codec.parameters():
        weight.data = weight.data.half().float()
    return codec


@pytest.fixture(scope="module")
def whole(codec: Codec, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model in 16 bits."""
    folder = tmp_path_factory.mktemp("two") / "model"
    folder.mkdir()
    write_codec(folder / "codec.safetensors", codec, torch.float16)
    write_lm(folder / "model.safetensors", random_lm(presets.tiny_lm()), torch.float16)
    write_json(folder / "config.json", lm_json(presets.tiny_lm()) | NAMES)
    shutil.copy(ASSETS / "tiny" / "tokenizer.model", folder)
    return folder


def check_the_same(folder: Path, codec: Codec) -> None:
    found = load(str(folder)).codec
    assert found.config == codec.config
    expected = codec.state_dict()
    assert found.state_dict().keys() == expected.keys()
    for name, value in found.state_dict().items():
        assert torch.equal(value, expected[name].half().float()), name
    wav_BS = sound(1, 4)
    streamed, state = [], found.init_state(1)
    for part_BS in wav_BS.split(FRAME, 1):
        streamed.append(found.encode_step(state, part_BS))
    assert torch.equal(torch.cat(streamed, -1), found.encode(wav_BS))


@pytest.mark.parametrize("format", ["pytorch", "mlx", "candle"])
def test_there_and_back(codec: Codec, whole: Path, tmp_path: Path, format: str) -> None:
    check_the_same(whole, codec)
    convert(str(whole), tmp_path / "there", format)
    check_the_same(tmp_path / "there", codec)


def test_its_configuration_says_all(whole: Path) -> None:
    values = json.loads((whole / "codec.json").read_text())
    assert values["encoder"] == "whisper" and values["decoder"] == "frames"
    assert values["whisper"] == {
        "mels": 20, "dim": 32, "heads": 2, "layers": 2, "feedforward": 64, "context": 20, "period": 48,
    }  # fmt: skip
    assert values["acoustic"] == {"width": 24, "hidden": 48, "blocks": 2, "kernel": 5}
    assert values["quantizer"]["n_q_semantic"] == 3


CHANGES = {
    "a missing size": (lambda v: v["whisper"].pop("period"), r"period"),
    "an unknown size": (lambda v: v["acoustic"].update(width2=3), r"width2"),
    "no acoustic encoder": (lambda v: v.pop("acoustic"), r"acoustic"),
    "no encoder named": (lambda v: v.pop("encoder"), r"whisper|acoustic"),
    "a size that is none": (lambda v: v["whisper"].update(layers=0), r"layers is a whole number from 1"),
    "more semantic than there are": (
        lambda v: v["quantizer"].update(n_q_semantic=9),
        r"9 semantic codebooks",
    ),
    "another width": (lambda v: v["whisper"].update(dim=64), r"encoder\.conv1\.weight"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_another_configuration_is_one_clear_line(whole: Path, tmp_path: Path, change: str) -> None:
    shutil.copytree(whole, tmp_path / "model")
    values = json.loads((whole / "codec.json").read_text())
    apply, says = CHANGES[change]
    apply(values)
    (tmp_path / "model" / "codec.json").write_text(json.dumps(values))
    with pytest.raises(InputError, match=says) as refused:
        _ = load(str(tmp_path / "model")).codec
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("frames", [True, False])
def test_others_have_no_place_for_it(tmp_path: Path, frames: bool) -> None:
    config = CONFIG if frames else replace(CONFIG, frames=None)
    write_codec(tmp_path / "codec.safetensors", random_codec(config))
    with pytest.raises(InputError, match="no place for two encoders: use --format pytorch"):
        convert(str(tmp_path / "codec.safetensors"), tmp_path / "there", "hf")
    with pytest.raises(InputError, match="no other implementation has two encoders: leave out --peers"):
        codec_peers(random_codec(config), (tmp_path / "python",), 1, 1, 1)
    assert not (tmp_path / "there").exists()


def test_hugging_face_has_one_semantic_codebook(tmp_path: Path) -> None:
    config = replace(presets.tiny_codec(), quantizer=CONFIG.quantizer)
    write_codec(tmp_path / "codec.safetensors", random_codec(config))
    assert load(str(tmp_path / "codec.safetensors")).codec_config.quantizer.semantic == 3
    with pytest.raises(InputError, match="one semantic codebook: use --format pytorch"):
        convert(str(tmp_path / "codec.safetensors"), tmp_path / "there", "hf")


def test_info_tells_of_it(whole: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["info", str(whole)])
    out = capsys.readouterr().out
    assert "whisper.layers" in out and "acoustic.width" in out
    size = sum(weight.numel() for weight in Codec(CONFIG).parameters())
    assert f"codec: {size / 1e6:,.1f} M parameters" in out


def test_impossible_shapes_are_refused() -> None:
    with pytest.raises(InputError, match="both `whisper` and `acoustic`, or neither"):
        replace(CONFIG, acoustic=None)
    with pytest.raises(InputError, match="a width of 33 does not split into 2 heads"):
        WhisperConfig(dim=33, heads=2)
    with pytest.raises(InputError, match="kernel of an acoustic encoder is at least 2, not 1"):
        AcousticConfig(kernel=1)
    with pytest.raises(InputError, match="a context of 3 positions does not hold a block of 4"):
        TransformerConfig(16, 2, 1, 32, 3, block=4)


@pytest.mark.skipif(find_spec("mlx") is None, reason="needs the extra mlx")
def test_mlx_reads_what_was_written_for_it(codec: Codec, whole: Path, tmp_path: Path) -> None:
    from duologue.mlx.load import load_codec
    from tests.mlx.mirror import back, of

    convert(str(whole), tmp_path / "there", "mlx", "q8")
    wav_BS = sound(2, 12)
    found = back(load_codec(load(str(tmp_path / "there"))).encode(of(wav_BS)))
    assert torch.equal(found, load(str(whole)).codec.encode(wav_BS))
