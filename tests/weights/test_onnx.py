"""A model as ONNX files: ONNX Runtime says with them what the package says."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

pytest.importorskip("onnxscript", reason="needs the onnx extra")
pytest.importorskip("onnxruntime", reason="needs the eval extra")

from benchmarks.onnx import OnnxDuplex
from duologue import Sampling, Session
from duologue.audio.files import read_mono
from duologue.cli import main
from duologue.config import CodecConfig, DepthConfig
from duologue.engine.session import AgentFrame
from duologue.engine.words import Once
from duologue.errors import InputError
from duologue.weights import Model, load
from duologue.weights.convert import convert
from duologue.weights.model import ASSETS, TinyModel
from duologue.weights.onnx_files import token_texts, write_onnx
from tests.codec.two_encoders import CONFIG

SPOKEN = 4  # codebooks


class SmallModel(TinyModel):
    """Of the shape that nano has (`presets.nano_lm`, `presets.nano_codec`), with one layer of each kind: tracing takes
    the time."""

    @property
    def codec_config(self) -> CodecConfig:
        assert CONFIG.whisper and CONFIG.acoustic and CONFIG.frames
        return replace(
            CONFIG,
            codebooks=SPOKEN,
            whisper=replace(CONFIG.whisper, layers=1),
            acoustic=replace(CONFIG.acoustic, blocks=1),
            frames=replace(CONFIG.frames, blocks=1),
            transformer=replace(CONFIG.transformer, layers=1),
        )


@pytest.fixture(scope="module")
def small() -> Model:
    model = SmallModel(torch.device("cpu"), torch.float32)
    config = model.files.config
    lm = replace(
        config.lm,
        temporal=replace(config.lm.temporal, context=7, layers=1),
        depth=DepthConfig(16, 2, 1, 66, (0, 1, 2, 2)),
        audio_streams=2 * SPOKEN,
        delays=(0, *(0, 1, 1, 1) * 2),
        second_text_stream=True,
        extra_heads=1,
        extra_heads_dim=config.lm.text_card,
    )
    model.files = replace(model.files, config=replace(config, lm=lm, sampling=Sampling.greedy(pad_bias=-0.2)))
    return model


@pytest.fixture(scope="module")
def carded(small: Model, tmp_path_factory: pytest.TempPathFactory) -> Model:
    """With a card, and one recorded question."""
    folder = tmp_path_factory.mktemp("carded")
    questions = [{"text": "Why?", "sound": "spoken/why.wav"}, {"text": "When?"}]
    (folder / "card.json").write_text(json.dumps({"title": "Tidal", "questions": questions}))
    (folder / "spoken").mkdir()
    (folder / "spoken" / "why.wav").write_bytes(b"RIFF of a kind")
    found = {name: folder / name for name in ("card.json", "spoken/why.wav")}
    find = small.files.find
    small.files = replace(small.files, find=lambda name: found.get(name) or find(name))
    return small


@pytest.fixture(scope="module")
def folder(carded: Model, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("onnx")
    write_onnx(carded, "q8", folder)
    return folder


def conversation(model: Model, sound_S: np.ndarray) -> list[AgentFrame]:
    session = Session(model, Sampling.greedy(model.sampling.pad_bias))
    return [session.push(frame_S) for frame_S in sound_S.reshape(-1, session.frame_size)]


def compared(model: Model, folder: Path, expected: list[AgentFrame], sound_S: np.ndarray) -> float:
    """The largest difference of samples; tokens must be the same."""
    graphs, once, worst = OnnxDuplex(folder), Once(model.tokenizer), 0.0
    for frame_S, said in zip(sound_S.reshape(len(expected), -1), expected, strict=True):
        tokens_K, wav_S, user_token = graphs.push(frame_S)
        user_token = once.push(said.frame, user_token)
        assert (int(tokens_K[0]), user_token) == (said.token, said.user_token)
        worst = max(worst, float(np.abs(wav_S - said.wav_S).max()))
    return worst


def test_same_conversation(small: Model, folder: Path):
    """Longer than any memory of the model, so that every ring turns round. (`write_onnx` has rounded the weights.)"""
    sound_S = 0.1 * np.random.default_rng(0).standard_normal(16 * 1920).astype(np.float32)
    expected = conversation(small, sound_S)
    assert len({said.token for said in expected}) > 3
    assert len({said.user_token for said in expected}) > 3
    assert max(np.abs(said.wav_S).max() for said in expected) > 1e-3
    assert compared(small, folder, expected, sound_S) < 1e-3


def test_weights_in_8_bits(small: Model, folder: Path):
    """The language model's matrices; nothing else loses anything."""
    import onnx

    kinds = {}
    for name in ("encode", "lm"):
        for tensor in onnx.load(folder / f"{name}.onnx").graph.initializer:
            kinds[tensor.name] = onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type)
    assert kinds["lm.temporal.layers.0.mlp.linear_in.weight_rows"] == np.int8
    assert kinds["codec.encoder.filterbank.weight_half"] == np.float16
    assert kinds["codec.encoder.transformer.layers.0.mlp.linear_in.weight"] == np.float32


def test_manifest(small: Model, folder: Path):
    manifest = json.loads((folder / "model.json").read_text())
    assert (manifest["sample_rate"], manifest["frame_size"]) == (24000, 1920)
    for part in manifest["parts"].values():
        assert (folder / part["file"]).stat().st_size == part["bytes"]
    tokenizer = small.tokenizer
    ids = tokenizer.encode("Is it raining, é?")
    texts = [manifest["tokens"][token] for token in ids]
    assert any(isinstance(text, int) for text in texts)
    spelt = b"".join(bytes([text]) if isinstance(text, int) else text.encode() for text in texts)
    assert spelt.decode() == " Is it raining, é?"
    assert manifest["tokens"][small.files.config.lm.pad_id] is None
    assert token_texts(tokenizer) == manifest["tokens"]
    asked = [{"text": "Why?", "sound": "model/spoken/why.wav"}, {"text": "When?"}]
    assert manifest["card"] == {"title": "Tidal", "questions": asked}  # addresses relative to the page's
    assert (folder / "spoken" / "why.wav").read_bytes() == b"RIFF of a kind"


def test_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    codec = str(ASSETS / "nano" / "mimi.safetensors")
    with pytest.raises(InputError, match="no whole model"):
        convert(codec, tmp_path / "made", "onnx")
    with pytest.raises(SystemExit) as exit:
        main(["convert", "tiny", str(tmp_path / "made"), "--format", "onnx", "--quantize", "q4"])
    assert exit.value.code == 2
    assert "--format onnx has no q4" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
@pytest.mark.parametrize("quantize", [None, "q8"])
def test_nano(tmp_path: Path, quantize: str | None):
    """The bundled question, word for word, and few enough bytes to download."""
    files = convert("nano", tmp_path / "nano", "onnx", quantize)
    question_S = np.pad(read_mono(ASSETS / "question.opus"), (0, 8 * 24_000))
    question_S = question_S[: len(question_S) // 1920 * 1920]
    nano = load("nano")
    expected = conversation(nano, question_S)
    assert len({said.token for said in expected}) > 5
    assert compared(nano, tmp_path / "nano", expected, question_S) < (0.01 if quantize is None else 1)
    assert sum(path.stat().st_size for path in files) < 62e6
