"""From every format to every other, and back: nothing is lost that was not given up."""

import json
import shutil
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from duologue import presets
from duologue.cli import main
from duologue.codec import Codec
from duologue.errors import InputError
from duologue.weights import Model, load
from duologue.weights.convert import convert
from duologue.weights.model import ASSETS
from duologue.weights.names import codec_sources
from duologue.weights.packed import Affine, Packed, Q8Blocks
from duologue.weights.published import LM_FILE, codec_config
from duologue.weights.random import random_lm
from duologue.weights.read import fill
from duologue.weights.save import SafetensorsWriter
from duologue.weights.write import lm_json, write_json, write_lm
from tests import golden

FORMATS = ["pytorch", "mlx", "candle", "hf"]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A whole model in float16, put together of the golden ones."""
    path = tmp_path_factory.mktemp("source") / "model"
    path.mkdir()
    config = json.loads((golden.FOLDER / "lm_moshi" / "config.json").read_text())
    names = {
        "mimi_name": "codec.safetensors",
        "mimi_config_name": "codec.json",
        "tokenizer_name": "text.model",
    }
    how = {"temp": 0.5, "temp_text": 0.4, "top_k": 9, "top_k_text": 8}
    (path / "config.json").write_text(json.dumps(config | names | {"lm_gen_config": how}))
    shutil.copy(golden.FOLDER / "lm_moshi" / "model.safetensors", path)
    shutil.copy(golden.FOLDER / "mimi_small" / "model.safetensors", path / "codec.safetensors")
    shutil.copy(golden.FOLDER / "mimi_small" / "config.json", path / "codec.json")
    shutil.copy(ASSETS / "tiny" / "tokenizer.model", path / "text.model")
    return path


def stored(values) -> dict[str, Tensor]:
    return {name: value.dense() if isinstance(value, Packed) else value.clone() for name, value in values}


def same_model(a: Model, b: Model) -> None:
    """Bit for bit, in the precision of the file."""
    assert a.files.config.lm == b.files.config.lm
    assert a.sampling == b.sampling
    for ours, theirs in ((a.stored_lm(), b.stored_lm()), (a.stored_codec(), b.stored_codec())):
        first, second = stored(ours), stored(theirs)
        assert first.keys() == second.keys()
        for name, value in first.items():
            assert value.dtype == second[name].dtype, name
            assert torch.equal(value, second[name]), name
    assert a.codec_config == b.codec_config
    assert a.tokenizer.size == b.tokenizer.size


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("back", FORMATS)
def test_there_and_back(whole: Path, tmp_path: Path, format, back) -> None:
    convert(str(whole), tmp_path / "there", format)
    same_model(load(str(tmp_path / "there")), load(str(whole)))
    convert(str(tmp_path / "there"), tmp_path / "back", back)
    same_model(load(str(tmp_path / "back")), load(str(whole)))


def with_card(whole: Path, folder: Path) -> Path:
    """The same model with a card, one recorded question and texts."""
    shutil.copytree(whole, folder)
    questions = [{"text": "Why?", "sound": "spoken/why.wav"}, {"text": "When?"}]
    (folder / "card.json").write_text(json.dumps({"title": "Tidal", "questions": questions}))
    (folder / "card.toml").write_text('license = "none"')
    (folder / "spoken").mkdir()
    (folder / "spoken" / "why.wav").write_bytes(b"RIFF of a kind")
    return folder


@pytest.mark.parametrize("format", FORMATS)
def test_the_card_and_its_recordings_go_along(whole: Path, tmp_path: Path, format) -> None:
    source, target = with_card(whole, tmp_path / "source"), tmp_path / "there"
    convert(str(source), target, format)
    for name in ("card.json", "card.toml", "spoken/why.wav"):
        assert (target / name).read_bytes() == (source / name).read_bytes()


@pytest.mark.parametrize(
    ("questions", "message"),
    [
        ([{"text": "Why?", "sound": "none.wav"}], "none.wav is missing"),
        ([{"text": "Why?", "sound": "config.json"}], "cannot be called config.json"),
        ([{"text": "Why?", "sound": "../why.wav"}], "leads out"),
        ([{"text": "Why?", "sound": 3}], "not the name of a file"),
        ("Why?", "not a list of questions"),
    ],
)
def test_a_damaged_card_leaves_nothing_behind(whole: Path, tmp_path: Path, questions, message) -> None:
    source = with_card(whole, tmp_path / "source")
    (source / "card.json").write_text(json.dumps({"title": "Tidal", "questions": questions}))
    with pytest.raises(InputError, match=message):
        convert(str(source), tmp_path / "there", "pytorch")
    assert [path.name for path in tmp_path.iterdir()] == ["source"]


@pytest.mark.parametrize("case", ["lm_shared", "lm_heads", "lm_cond", "lm_hibiki"])
@pytest.mark.parametrize("format", ["pytorch", "mlx", "candle"])
def test_other_kinds_of_models(case: str, tmp_path: Path, format) -> None:
    """Recognition, synthesis and translation: where the format has a place for them."""
    if format == "candle" and case != "lm_heads":
        with pytest.raises(InputError, match="use --format pytorch"):
            convert(str(golden.FOLDER / case), tmp_path / "there", format)
        return
    convert(str(golden.FOLDER / case), tmp_path / "there", format)
    there, here = load(str(tmp_path / "there")), load(str(golden.FOLDER / case))
    assert there.files.config.lm == here.files.config.lm
    assert (there.files.config.task, there.files.config.model_type) == (
        here.files.config.task,
        here.files.config.model_type,
    )
    second = stored(here.stored_lm())
    assert all(torch.equal(value, second[name]) for name, value in stored(there.stored_lm()).items())


@pytest.mark.parametrize("case", ["lm_shared", "lm_heads", "lm_cond", "lm_hibiki"])
def test_what_hugging_face_has_no_place_for(case: str, whole: Path, tmp_path: Path) -> None:
    shutil.copytree(whole, tmp_path / "source")
    for name in ("config.json", "model.safetensors"):
        shutil.copy(golden.FOLDER / case / name, tmp_path / "source")
    config = json.loads((tmp_path / "source" / "config.json").read_text())
    (tmp_path / "source" / "config.json").write_text(
        json.dumps(config | {"mimi_name": "codec.safetensors", "mimi_config_name": "codec.json"})
    )
    with pytest.raises(InputError, match="Hugging Face Moshi has no place for|codebooks are in use"):
        convert(str(tmp_path / "source"), tmp_path / "there", "hf")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["source"]


def file_of(case: str) -> Path:
    (path,) = (golden.FOLDER / case).glob("model*.safetensors")
    return path


@pytest.mark.parametrize(
    ("case", "format", "quantize"),
    [
        ("mlx_bf16", "mlx", None),
        ("mlx_q8", "mlx", "q8"),
        ("mlx_q4", "mlx", "q4"),
        ("candle_bf16", "candle", None),
        ("torch_q8", "pytorch", "q8"),
        ("hf_moshi", "hf", None),
        ("hf_mimi", "hf", None),
        ("lm_moshi", "pytorch", None),
    ],
)
def test_the_same_file_again(case: str, format, quantize, tmp_path: Path) -> None:
    """What the format's own program wrote comes out with the same names, shapes, types and bits: it opens the one as it
    opens the other."""
    convert(str(golden.FOLDER / case), tmp_path / "again", format, quantize)
    theirs, ours = load_file(file_of(case)), load_file(tmp_path / "again" / file_of(case).name)
    assert ours.keys() == theirs.keys()
    for name, value in theirs.items():
        assert (ours[name].dtype, ours[name].shape) == (value.dtype, value.shape), name
        assert torch.equal(ours[name], value), name


def test_the_same_gguf_again(tmp_path: Path) -> None:
    convert(str(golden.FOLDER / "candle_q8"), tmp_path / "again", "candle", "q8")
    theirs, ours = load(str(golden.FOLDER / "candle_q8")), load(str(tmp_path / "again"))
    for (name, value), (again, other) in zip(theirs.stored_lm(), ours.stored_lm(), strict=True):
        assert name == again
        assert value.equals(other) if isinstance(value, Packed) else torch.equal(value, other), name
    data = (tmp_path / "again" / "model.q8.gguf").read_bytes()
    assert data[:8] == b"GGUF\x03\x00\x00\x00"


@pytest.mark.parametrize(
    ("format", "quantize", "kind"), [("mlx", "q8", Affine), ("mlx", "q4", Affine), ("candle", "q8", Q8Blocks)]
)
def test_quantised(tmp_path: Path, format, quantize, kind) -> None:
    """Matrices are packed, and near; what the format cannot pack is exact."""
    nano = presets.nano_lm()
    odd = replace(nano.temporal, feedforward=1320)  # gates of 880 columns, which no format's groups divide
    lm = random_lm(replace(nano, temporal=odd, second_text_stream=False))
    source = tmp_path / "source"
    source.mkdir()
    write_lm(source / LM_FILE, lm, torch.bfloat16)
    write_json(source / "config.json", lm_json(lm.config))
    convert(str(source), tmp_path / "there", format, quantize)
    exact, packed = stored(load(str(source)).stored_lm()), dict(load(str(tmp_path / "there")).stored_lm())
    for name, value in packed.items():
        if isinstance(value, Packed):
            assert isinstance(value, kind)
            largest = exact[name].float().abs().max()
            coarse = 2 * largest / (2 ** int(quantize[1:]) - 1) + largest / 2**7  # scales may have 16 bits
            assert (value.dense() - exact[name].float()).abs().max() <= coarse, name
        else:
            assert torch.equal(value.float(), exact[name].float()), name
    plain = {name for name, value in packed.items() if not isinstance(value, Packed)}
    narrow = {f"temporal.layers.{i}.mlp.linear_out.weight" for i in range(8)}
    vectors = {name for name, value in exact.items() if value.dim() == 1}
    assert plain == vectors | narrow
    size = (tmp_path / "there").joinpath(load(str(tmp_path / "there")).files.config.lm_file).stat().st_size
    assert size < 0.9 * (source / LM_FILE).stat().st_size


def test_8_bit_rows(tmp_path: Path) -> None:
    convert(str(golden.FOLDER / "lm_moshi"), tmp_path / "there", "pytorch", "q8")
    exact, got = (
        load(str(golden.FOLDER / "lm_moshi")).lm.state_dict(),
        load(str(tmp_path / "there")).lm.state_dict(),
    )
    for name, value in exact.items():
        error = (got[name] - value).abs()
        if value.dim() == 2 and "emb" not in name:
            assert (error <= 0.51 * value.abs().amax(-1, keepdim=True) / 127).all()
            assert error.max() > 0
        else:
            assert error.max() == 0
    assert json.loads((tmp_path / "there" / "config.json").read_text())["quantize"] is True


def test_an_adapter_is_merged(tmp_path: Path) -> None:
    adapter = golden.FOLDER / "lora" / "lora.safetensors"
    convert(str(golden.FOLDER / "lm_moshi"), tmp_path / "merged", "mlx", lora=adapter)
    merged = load(str(golden.FOLDER / "lm_moshi"), lora=adapter).lm.state_dict()
    for name, value in load(str(tmp_path / "merged")).lm.state_dict().items():
        torch.testing.assert_close(value, merged[name], atol=2e-3, rtol=2e-3)  # the file has 16 bits
    assert "lora" not in (tmp_path / "merged" / "config.json").read_text()


def test_a_codec_alone(tmp_path: Path) -> None:
    convert(str(golden.FOLDER / "hf_mimi"), tmp_path / "published", "pytorch")
    assert sorted(p.name for p in (tmp_path / "published").iterdir()) == ["codec.json", "codec.safetensors"]
    theirs = load(str(golden.FOLDER / "hf_mimi")).codec
    config = codec_config(json.loads((tmp_path / "published" / "codec.json").read_text()), 6)
    assert config == theirs.config
    with torch.device("meta"):
        ours = Codec(config)
    sources = partial(codec_sources, config=config)
    fill(ours, tmp_path / "published" / "codec.safetensors", sources, torch.device("cpu"), torch.float32)
    expected = theirs.state_dict()
    assert all(torch.equal(value, expected[name]) for name, value in ours.state_dict().items())


def test_odd_sizes_stay_in_line(tmp_path: Path) -> None:
    """Tensors whose bytes are no multiple of 8, of several types: readers that map the file need them aligned."""
    tensors = {
        "a": torch.arange(3, dtype=torch.bfloat16),
        "b": torch.arange(5, dtype=torch.float32),
        "c": torch.arange(7, dtype=torch.int8),
        "d": torch.arange(8, dtype=torch.float32).view(2, 2, 2),
        "e": torch.arange(1, dtype=torch.bfloat16),
        "f": torch.tensor(1.0),
    }
    writer = SafetensorsWriter(tmp_path / "x.safetensors", tensors)
    for name, value in tensors.items():
        writer.add(name, value)
    writer.finish()
    again = load_file(tmp_path / "x.safetensors")
    assert again.keys() == tensors.keys()
    assert all(torch.equal(value, again[name]) for name, value in tensors.items())


WRONG = [
    ({"format": "pytorch", "quantize": "q4"}, "--format pytorch has no q4: --quantize q8"),
    ({"format": "candle", "quantize": "q4"}, "--format candle has no q4: --quantize q8"),
    ({"format": "hf", "quantize": "q8"}, "--format hf has no q8: leave out --quantize"),
    ({"source": "absent"}, "there is no model absent"),
    ({"source": str(golden.FOLDER / "lora")}, "holds an adapter without its model"),
    ({"source": str(golden.FOLDER / "hf_mimi"), "quantize": "q8", "format": "mlx"}, "has no language model"),
    ({"source": str(golden.FOLDER / "lm_moshi"), "format": "hf"}, "has no codec"),
    ({"source": "tiny", "lora": Path("x")}, "tiny takes no adapter"),
    (
        {"lora": Path("absent.safetensors"), "source": str(golden.FOLDER / "lm_moshi")},
        "there is no file absent",
    ),
]


@pytest.mark.parametrize(("change", "message"), WRONG)
def test_what_cannot_be_done(tmp_path: Path, change: dict, message: str) -> None:
    arguments = {"source": "tiny", "format": "pytorch"} | change
    with pytest.raises(InputError) as error:
        convert(target=tmp_path / "there", **arguments)
    assert message in str(error.value)
    assert not list(tmp_path.iterdir())


def test_nothing_half_written(tmp_path: Path) -> None:
    """A file that turns out damaged on the way leaves nothing behind; a folder that is there is left alone."""
    shutil.copytree(golden.FOLDER / "mlx_q8", tmp_path / "source")
    weights = tmp_path / "source" / "model.q8.safetensors"
    tensors = load_file(weights)
    tensors["text_linear.scales"] = tensors["text_linear.scales"][:-1].clone()
    save_file(tensors, weights)
    with pytest.raises(InputError, match="text_linear"):
        convert(str(tmp_path / "source"), tmp_path / "there", "pytorch")
    assert [p.name for p in tmp_path.iterdir()] == ["source"]
    with pytest.raises(InputError, match="is there already"):
        convert("tiny", tmp_path / "source", "pytorch")
    with pytest.raises(InputError, match="there is no folder"):
        convert("tiny", tmp_path / "no" / "there", "pytorch")


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["convert", "tiny", str(tmp_path / "mine"), "--format", "hf"])
    printed = capsys.readouterr().out
    assert "model.safetensors" in printed
    assert "config.json" in printed
    same_model(load(str(tmp_path / "mine")), load("tiny"))
    with pytest.raises(SystemExit) as stopped:
        main(["convert", "tiny", str(tmp_path / "mine"), "--format", "mlx"])
    assert stopped.value.code == 2
    assert "is there already" in capsys.readouterr().err
