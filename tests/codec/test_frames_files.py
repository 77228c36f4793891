"""A model whose codec has a frame decoder, in files: through every format that has a place for it."""

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
from duologue.config import FramesConfig
from duologue.errors import InputError
from duologue.weights import load
from duologue.weights.convert import LM_NAMES, convert
from duologue.weights.model import ASSETS
from duologue.weights.random import random_codec, random_lm
from duologue.weights.write import lm_json, write_codec, write_json, write_lm

CONFIG = replace(presets.tiny_codec(), frames=FramesConfig(24, 48, 3, 5, 240))
NAMES = {
    "moshi_name": "model.safetensors", "mimi_name": "codec.safetensors", "mimi_config_name": "codec.json",
    "tokenizer_name": "tokenizer.model",
}  # fmt: skip


@pytest.fixture(scope="module")
def codec() -> Codec:
    torch.manual_seed(0)
    codec = random_codec(CONFIG)
    # At 200 Hz, where training starts, rounding decides whether the highest harmonic is heard: higher, it is not.
    codec.decoder.voice.linear.bias.data[0] = 0.3
    return codec.half().float()


@pytest.fixture(scope="module")
def whole(codec: Codec, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model in 16 bits, as `nano` is published."""
    folder = tmp_path_factory.mktemp("frames") / "model"
    folder.mkdir()
    write_codec(folder / "codec.safetensors", codec, torch.float16)
    write_lm(folder / "model.safetensors", random_lm(presets.tiny_lm()), torch.float16)
    write_json(folder / "config.json", lm_json(presets.tiny_lm()) | NAMES)
    shutil.copy(ASSETS / "tiny" / "tokenizer.model", folder)
    return folder


def check_the_same(folder: Path, codec: Codec) -> None:
    """Bit for bit the same codec, still in 16 bits in the file."""
    model = load(str(folder))
    assert model.codec_config == CONFIG
    assert {getattr(value, "dtype", None) for _, value in model.stored_codec()} == {torch.float16}
    expected = codec.state_dict()
    assert model.codec.state_dict().keys() == expected.keys()
    assert all(torch.equal(value, expected[name]) for name, value in model.codec.state_dict().items())


@pytest.mark.parametrize(("format", "quantize"), [kind for kind in LM_NAMES if kind[0] not in ("hf", "onnx")])
def test_there_and_back(codec: Codec, whole: Path, tmp_path: Path, format, quantize) -> None:
    """However the language model is packed, the codec stays as it is."""
    convert(str(whole), tmp_path / "there", format, quantize)
    check_the_same(tmp_path / "there", codec)
    convert(str(tmp_path / "there"), tmp_path / "back", "pytorch")
    check_the_same(tmp_path / "back", codec)


def test_the_codec_alone(codec: Codec, whole: Path, tmp_path: Path) -> None:
    convert(str(whole / "codec.safetensors"), tmp_path / "alone", "pytorch")
    assert json.loads((tmp_path / "alone" / "codec.json").read_text())["decoder"] == "frames"
    check_the_same(tmp_path / "alone" / "codec.safetensors", codec)


@pytest.mark.parametrize("source", [".", "codec.safetensors"])
def test_hugging_face_has_no_place_for_it(whole: Path, tmp_path: Path, source: str) -> None:
    with pytest.raises(InputError, match="no place for a frame decoder: use --format pytorch"):
        convert(str(whole / source), tmp_path / "there", "hf")
    assert not list(tmp_path.iterdir())


def test_no_peer_has_it(codec: Codec, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="leave out --peers"):
        codec_peers(codec, (tmp_path / "python",), 1, 1, 1)


def test_a_lost_tensor_is_named(whole: Path, tmp_path: Path) -> None:
    shutil.copytree(whole, tmp_path / "model")
    config = json.loads((whole / "codec.json").read_text())
    config["frames"]["blocks"] = 4
    (tmp_path / "model" / "codec.json").write_text(json.dumps(config))
    with pytest.raises(InputError, match=r"the tensor decoder\.blocks\.3\.near\.weight is missing"):
        _ = load(str(tmp_path / "model")).codec


def test_info_tells_of_it(whole: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["info", str(whole)])
    out = capsys.readouterr().out
    assert "frames.width" in out
    size = sum(weight.numel() for weight in Codec(CONFIG).parameters())
    assert f"codec: {size / 1e6:,.1f} M parameters" in out


@pytest.mark.skipif(find_spec("mlx") is None, reason="needs the extra mlx")
def test_mlx_reads_what_was_written_for_it(codec: Codec, whole: Path, tmp_path: Path) -> None:
    from duologue.mlx.load import load_codec
    from tests.mlx.mirror import back, of

    convert(str(whole), tmp_path / "there", "mlx", "q8")
    codes_BQT = torch.randint(32, (2, 8, 5), generator=torch.Generator().manual_seed(0))
    wav_BS = back(load_codec(load(str(tmp_path / "there"))).decode(of(codes_BQT)))
    expected_BS = codec.decode(codes_BQT)
    assert (wav_BS - expected_BS).std() < 5e-3 * expected_BS.std()
