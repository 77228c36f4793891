"""Teachers: their states' number, place in time and width, with small random models and a stand-in for CTranslate2."""

import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
import torch

from duologue.errors import InputError
from duologue.train.teacher import TransformersTeacher, WhisperTeacher, pool, to_heard_rate, whisper_mel


def test_pool_keeps_the_middle_of_each_frame():
    seconds = (torch.arange(40) + 0.5) / 50
    pooled = pool(seconds[None, :, None])
    assert pooled.shape == (1, 10, 1)
    assert torch.allclose(pooled[0, 1:-1, 0], (torch.arange(1, 9) + 0.5) / 12.5)


def test_pool_looks_ahead_two_states():
    states = torch.zeros(1, 12, 1)
    states[0, 5] = 8.0  # belongs to frame 1 (states 4..7), and is within two states of frame 0
    assert pool(states)[0, :, 0].tolist() == [pytest.approx(8 / 6), 1.0, 0.0]


def test_heard_rate_keeps_whole_states_and_the_tone():
    wav = torch.sin(2 * torch.pi * 500 * torch.arange(24_100) / 24_000)[None]
    heard = to_heard_rate(wav)
    assert heard.shape == (1, 16_000)
    expected = torch.sin(2 * torch.pi * 500 * torch.arange(16_000) / 16_000)
    assert (heard[0] - expected)[200:-200].abs().max() < 1e-3
    with pytest.raises(InputError, match="20 ms"):
        to_heard_rate(torch.zeros(1, 400))


# WavLM and HuBERT


@pytest.fixture(scope="module", params=["wavlm", "hubert"])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random model as `transformers` saves it."""
    transformers = pytest.importorskip("transformers")
    kind = {"wavlm": ("WavLMConfig", "WavLMModel"), "hubert": ("HubertConfig", "HubertModel")}[request.param]
    torch.manual_seed(0)
    config = getattr(transformers, kind[0])(
        hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32, conv_dim=(8,) * 7,
        num_conv_pos_embeddings=8, num_conv_pos_embedding_groups=2,
    )  # fmt: skip
    path = tmp_path_factory.mktemp(request.param)
    getattr(transformers, kind[1])(config).save_pretrained(path)
    transformers.Wav2Vec2FeatureExtractor(do_normalize=True).save_pretrained(path)
    return path


def test_transformers_teacher_gives_four_states_a_frame(folder: Path):
    teacher = TransformersTeacher(folder)
    wav = 0.1 * torch.randn(2, 3 * 1920, generator=torch.Generator().manual_seed(0))
    states = teacher(wav)
    assert states.shape == (2, 12, teacher.dim) == (2, 12, 16)
    assert pool(states).shape == (2, 3, 16)
    assert not states.requires_grad
    # The extractor's normalisation makes the loudness of a clip disappear.
    assert torch.allclose(teacher(0.3 * wav), states, atol=1e-3)
    assert not torch.allclose(teacher(wav.flip(1)), states, atol=1e-1)


def test_transformers_teacher_picks_a_layer(folder: Path):
    wav = 0.1 * torch.randn(1, 1920, generator=torch.Generator().manual_seed(0))
    first, last, mean = (TransformersTeacher(folder, layer)(wav) for layer in (1, -1, None))
    assert not torch.allclose(first, last, atol=1e-3)
    assert torch.allclose(mean, (first + last) / 2, atol=1e-5)


def test_transformers_teacher_says_what_is_missing(tmp_path: Path):
    pytest.importorskip("transformers")
    with pytest.raises(InputError, match="cannot load the teacher"):
        TransformersTeacher(tmp_path)


# Whisper


@pytest.fixture
def ctranslate2(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """A stand-in whose encoder halves the frame rate and gives the mean of each half of the bands."""
    seen = SimpleNamespace(frames=[])

    class Whisper:
        n_mels = 80

        def __init__(self, path: str, **settings: object):
            seen.settings = settings

        def encode(self, features: np.ndarray, to_cpu: bool):
            seen.frames.append(features.shape[2])
            halves = features.reshape(features.shape[0], 2, 40, -1, 2).mean((2, 4))
            return halves.transpose(0, 2, 1)

    module = ModuleType("ctranslate2")
    module.models = SimpleNamespace(Whisper=Whisper)  # pyright: ignore[reportAttributeAccessIssue]
    module.StorageView = SimpleNamespace(from_array=lambda x: x)  # pyright: ignore[reportAttributeAccessIssue]
    monkeypatch.setitem(sys.modules, "ctranslate2", module)
    return seen


def test_whisper_teacher_gives_four_states_a_frame_where_they_belong(
    ctranslate2: SimpleNamespace, tmp_path: Path
):
    (tmp_path / "model.bin").touch()
    teacher = WhisperTeacher(tmp_path, context=2.0)
    wav = torch.zeros(2, 10 * 1920)
    wav[0, 1920:3840] = torch.randn(1920)  # the second frame is loud
    states = teacher(wav)
    assert ctranslate2.frames[-1] == 200
    assert states.shape == (2, 40, teacher.dim) == (2, 40, 2)
    pooled = pool(states)[0].mean(1)
    assert pooled.argmax() == 1
    assert teacher(torch.zeros(1, 24_000 * 3)).shape[1] == 150  # longer than the context
    with pytest.raises(InputError, match="30 s"):
        teacher(torch.zeros(1, 24_000 * 31))


def test_whisper_teacher_wants_a_model(tmp_path: Path):
    with pytest.raises(InputError, match="model.bin"):
        WhisperTeacher(tmp_path)


def test_whisper_mel_has_eighty_decibels():
    from duologue.train.losses import mel_filterbank

    filters = mel_filterbank(400, 80, 16_000)
    loud = torch.zeros(1, 16_000)
    loud[:, 8000:] = torch.sin(2 * torch.pi * 1000 * torch.arange(8000) / 16_000)
    mel = whisper_mel(loud, filters)
    assert mel.shape == (1, 80, 100)
    assert (mel.max() - mel.min()).item() == pytest.approx(8 / 4)
    assert mel[0, :, 75].argmax() == filters[25].argmax()  # bins are 40 Hz apart
    # A tone of amplitude 1 in a Hann window of 400 peaks at (400 / 4)^2.
    assert mel.max().item() == pytest.approx((np.log10(100**2 * filters[25].max().item()) + 4) / 4, abs=0.01)


def test_whisper_mel_equals_that_of_faster_whisper():
    extractor = pytest.importorskip("faster_whisper.feature_extractor").FeatureExtractor()
    from duologue.train.losses import mel_filterbank

    wav = 0.1 * torch.randn(1, 16_000, generator=torch.Generator().manual_seed(0))
    mel = whisper_mel(wav, mel_filterbank(400, 80, 16_000))
    assert np.abs(mel[0].numpy() - extractor(wav[0].numpy(), padding=0)).max() < 1e-4
