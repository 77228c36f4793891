"""The stages of a codec with two encoders: words from weights of Whisper's, then the sound beside them."""

import json
import os
import signal
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import sentencepiece
import torch
from torch import Tensor
from toy_stage import assert_same_run

from duologue.cli import main
from duologue.codec import Codec
from duologue.codec.init import scale_to_speech
from duologue.train import codec_run
from duologue.train.codec_acoustic import AcousticStage, AcousticStageConfig, SoundBatches
from duologue.train.codec_semantic import SemanticConfig, SemanticStage
from duologue.train.loop import LoopConfig, run
from duologue.train.stage import Data, Stage
from duologue.weights import load
from duologue.weights.random import random_codec
from tests.codec.two_encoders import CONFIG
from tests.weights import test_ctranslate2 as ctranslate2

from .test_codec_stages import crops
from .test_codec_stages import segments as segments
from .test_codec_stages import spelling as spelling

WHISPER = ctranslate2.SMALL  # of the widths of CONFIG


def fresh_codec(wav_BS: Tensor) -> Codec:
    torch.manual_seed(0)
    codec = Codec(CONFIG)
    scale_to_speech(codec, wav_BS)
    return codec


def semantic(
    segments: Path, spelling: sentencepiece.SentencePieceProcessor, **options: float
) -> tuple[SemanticStage, Data]:
    data = crops(segments, spelling, noisy=0.0)
    config = SemanticConfig(
        **({"lr": 4e-3, "pretrained_lr": 2e-3, "warmup": 4, "continuous_steps": 12} | options)
    )  # pyright: ignore
    teacher_TD = torch.from_numpy(np.load(segments / "teacher.npy")[0].astype(np.float32))
    valid = {"speech": [data.make(1000)]}
    return SemanticStage(fresh_codec(data.make(0)["clean"]), spelling, teacher_TD, config, valid), data


@pytest.fixture(scope="module")
def speaking(segments: Path) -> Codec:
    """A codec whose semantic half has been used: its codebooks are set up."""
    codec = random_codec(CONFIG).train()
    wav = np.load(segments / "wav.npy")[:, : 24_000 * 6].astype(np.float32) / 32768
    with torch.no_grad():
        z_BDT = codec.to_latent(torch.from_numpy(wav))
    for book in codec.quantizer.semantic.codebooks:
        book.initialized.zero_()
    for _ in range(4):
        codec.quantizer.semantic.quantize(codec.quantizer.semantic_part(z_BDT), 3)
    for book in codec.quantizer.acoustic.codebooks:
        book.initialized.zero_()
    return codec.eval()


def acoustic(codec: Codec, segments: Path, **options: float) -> tuple[AcousticStage, SoundBatches]:
    torch.manual_seed(0)
    learner = Codec(codec.config)
    learner.load_state_dict(codec.state_dict())
    learner.eval()
    data = SoundBatches(learner, segments, batch=2, frames=12, agent_share=0.5)
    config = AcousticStageConfig(**({"lr": 5e-3, "steps": 24, "warmup": 2, "continuous_steps": 4} | options))  # pyright: ignore
    return AcousticStage(learner, config, [data.make(1000)]), data


def test_semantic_stage_learns_words(segments: Path, spelling: sentencepiece.SentencePieceProcessor) -> None:
    stage, data = semantic(segments, spelling, steps=36)
    codec = stage.module.codec
    others = {
        name: value.clone()
        for name, value in codec.state_dict().items()
        if not name.startswith(("encoder.", "quantizer.semantic."))
    }
    losses = [stage.train_step([next(iter(data))], step) for step in range(36)]
    assert min(loss["distill"] for loss in losses[-8:]) < 0.9 * losses[0]["distill"]
    assert all(book.is_initialized() for book in codec.quantizer.semantic.codebooks)
    assert others.keys() > {"acoustic_encoder.inp.weight", "upsample.weight"}
    assert all(torch.equal(codec.state_dict()[name], value) for name, value in others.items())
    stage.module.eval()
    with torch.no_grad():
        found = stage.evaluate()
    words = {f"{term}_speech{label}" for term in ("distill", "wer") for label in ("", "_first")}
    assert found.keys() == words | {"states_speech", "perplexity"}
    assert found["distill_speech"] != found["distill_speech_first"]


@pytest.mark.parametrize(("states_weight", "learns"), [(0.0, False), (4.0, True)])
def test_at_first_states_alone_teach_the_encoder(segments: Path, spelling, states_weight, learns) -> None:
    """What is new knows nothing yet, and must not spoil what Whisper knew."""
    stage, data = semantic(segments, spelling, steps=10, states_first=2, states_weight=states_weight)
    encoder, batch = stage.module.codec.encoder, data.make(0)
    for step in range(3):
        stage.train_step([batch], step)
        assert bool(encoder.conv1.weight.grad.abs().sum() > 0) == (learns or step == 2)
        assert encoder.stack.weight.grad.abs().sum() > 0


def test_what_whisper_knows_is_trained_more_gently(segments: Path, spelling) -> None:
    """The first step of Adam is as long as the rate."""
    stage, data = semantic(segments, spelling, steps=10)
    encoder = stage.module.codec.encoder
    before = {name: weight.clone() for name, weight in encoder.named_parameters()}
    lr = stage.train_step([next(iter(data))], 0)["lr"]
    for name, weight in encoder.named_parameters():
        moved = float((weight - before[name]).detach().abs().max())
        assert moved == pytest.approx(lr if name.startswith("stack") else lr / 2, rel=0.1), name


def test_sounds_are_a_function_of_their_number(speaking: Codec, segments: Path) -> None:
    one, two = (acoustic(speaking, segments)[1] for _ in range(2))
    for batch in (iter(one), iter(one)):
        next(batch)
    two.load_state_dict(one.state_dict())
    a, b = next(iter(one)), next(iter(two))
    assert all(torch.equal(a[key], b[key]) for key in a)
    assert [*a["wav"].shape, *a["semantic"].shape, *a["pitch"].shape] == [2, 12 * 1920, 2, 32, 12, 2, 12 * 8]


def test_semantic_latents_are_those_of_the_whole_recording(speaking: Codec, segments: Path) -> None:
    """A crop's first frames know what was said before it."""
    batch, wav = acoustic(speaking, segments)[1].make(3), np.load(segments / "wav.npy")
    rows = torch.from_numpy(wav.astype(np.float32) / 32768)
    with torch.no_grad():
        whole_BDT = speaking.encoder(rows)
    for wav_S, semantic_DT in zip(batch["wav"], batch["semantic"], strict=True):
        row, start = next(
            (n, at) for n in range(2) for at in range(0, rows.shape[1] - len(wav_S) + 1, 1920)
            if torch.equal(rows[n, at : at + len(wav_S)], wav_S)
            and torch.allclose(whole_BDT[n, :, at // 1920], semantic_DT[:, 0], atol=2e-2)
        )  # fmt: skip
        expected_DT = whole_BDT[row, :, start // 1920 :][:, : semantic_DT.shape[1]]
        torch.testing.assert_close(semantic_DT, expected_DT, atol=2e-2, rtol=0)


def test_acoustic_stage_learns_the_sound_and_moves_no_word(speaking: Codec, segments: Path) -> None:
    stage, data = acoustic(speaking, segments)
    codec, batch = stage.codec, data.make(0)
    fixed = {
        name: value.clone()
        for name, value in codec.state_dict().items()
        if name.startswith(("encoder.", "quantizer.semantic.")) and "out_proj" not in name
    }
    said_BQT = codec.encode(batch["wav"])[:, :3]
    found = []
    for step in range(24):
        stage.module.train()
        found.append(stage.train_step([batch], step))
    assert {"mel", "pitch", "commitment", "data_seconds"} <= found[0].keys()
    assert min(result["mel"] for result in found[-6:]) < 0.9 * found[0]["mel"]
    assert min(result["pitch"] for result in found[-6:]) < 0.9 * found[0]["pitch"]
    assert all(book.is_initialized() for book in codec.quantizer.acoustic.codebooks)
    assert any(name.endswith("embedding_sum") for name in fixed) and "encoder.conv1.weight" in fixed
    assert all(torch.equal(codec.state_dict()[name], value) for name, value in fixed.items())
    stage.module.eval()
    assert torch.equal(codec.encode(batch["wav"])[:, :3], said_BQT)
    with torch.no_grad():
        assert stage.evaluate().keys() == {"mel", "pitch", "mel_free", "pitch_free"}
        assert stage.samples()["decoded-0"][0].shape == (12 * 1920,)


def test_every_acoustic_weight_is_trained(speaking: Codec, segments: Path) -> None:
    stage, data = acoustic(speaking, segments)
    stage.module.train()
    before = {name: weight.clone() for name, weight in stage.codec.named_parameters()}
    for step in range(3):
        stage.train_step([data.make(step)], step)
    for name, weight in stage.codec.named_parameters():
        frozen = name.startswith("encoder.") or name == "quantizer.semantic.in_proj.weight"
        assert torch.equal(weight, before[name]) == frozen, name


def stopped(stage: Stage, data: Data, config: LoopConfig, out: Path, at: int) -> None:
    """The run up to a signal in step `at`."""
    step_of = stage.train_step

    def train_step(batches, step):
        if step == at:
            os.kill(os.getpid(), signal.SIGTERM)
        return step_of(batches, step)

    stage.train_step = train_step
    assert run(stage, data, config, out).reason == "signal"


@pytest.mark.parametrize("stage", ["semantic", "acoustic"])
def test_a_run_goes_on_bit_for_bit(
    speaking: Codec, segments: Path, spelling, tmp_path: Path, stage: str
) -> None:
    def made() -> tuple[Stage, Data]:
        if stage == "semantic":
            return semantic(segments, spelling, steps=6, continuous_steps=2)
        return acoustic(speaking, segments, steps=6, continuous_steps=2)

    config = LoopConfig(6, log_every=2)
    assert run(*made(), config, tmp_path / "whole").reason == "steps"
    stopped(*made(), config, tmp_path / "stopped", at=3)
    assert run(*made(), config, tmp_path / "stopped").step == 6
    assert_same_run(tmp_path / "whole", tmp_path / "stopped")


@pytest.fixture(scope="module")
def runs(segments: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    for part in ("train", "valid", "valid-agent"):
        (folder / "segments").mkdir(exist_ok=True)
        (folder / "segments" / part).symlink_to(segments)
    (folder / "whisper").mkdir()
    ctranslate2.folder(folder / "whisper", ctranslate2.weights(WHISPER))
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(codec_run.PRESETS, "tiny", lambda: CONFIG)
        train(folder, "semantic", "--whisper", str(folder / "whisper"))
        train(folder, "acoustic", "--start", str(folder / "semantic"))
        train(folder, "decoder", "--start", str(folder / "acoustic"))
    return folder


def train(folder: Path, stage: str, *options: str) -> None:
    main(
        ["train", "codec", "--stage", stage, "--preset", "tiny", "--segments", str(folder / "segments"), "--out",
         str(folder / stage), "--steps", "2", "--batch", "2", "--device", "cpu", "--seconds", "1.6", *options]
    )  # fmt: skip


def test_from_whisper_to_a_file(runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(codec_run.PRESETS, "tiny", lambda: CONFIG)
    for stage, term in (("semantic", "distill"), ("acoustic", "pitch"), ("decoder", "adversarial")):
        rows = [json.loads(line) for line in (runs / stage / "metrics.jsonl").read_text().splitlines()]
        assert any(term in row for row in rows), stage
    out = tmp_path / "codec.safetensors"
    main(["train", "export-codec", "--start", str(runs / "decoder"), "--preset", "tiny", "--out", str(out)])
    codec = load(str(out)).codec
    assert codec.config == CONFIG
    torch.testing.assert_close(codec.state_dict(), codec_run.trained(runs / "decoder", "tiny").state_dict())
    wav_BS = 0.1 * torch.randn(1, 19_200, generator=torch.Generator().manual_seed(0))
    earlier = codec_run.trained(runs / "acoustic", "tiny")
    assert torch.equal(codec.encode(wav_BS), earlier.encode(wav_BS))  # the last stage changes no code
    first = codec_run.trained(runs / "semantic", "tiny", new_half=True)
    assert torch.equal(first.encode(wav_BS)[:, :3], earlier.encode(wav_BS)[:, :3])


def test_training_begins_with_whispers_weights(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After two steps at a small rate they are still near."""
    monkeypatch.setitem(codec_run.PRESETS, "tiny", lambda: CONFIG)
    found = codec_run.trained(runs / "semantic", "tiny", new_half=True).encoder.conv1.weight
    given = torch.from_numpy(ctranslate2.weights(WHISPER)["encoder/conv1/weight"].astype(np.float32))
    assert (found - given).abs().max() < 1e-2 < given.std()


def refusal(folder: Path, capsys: pytest.CaptureFixture[str], stage: str, *options: str) -> str:
    with pytest.raises(SystemExit) as ended:
        train(folder, stage, *options)
    assert ended.value.code == 2
    return capsys.readouterr().err


def test_what_does_not_fit_is_refused(runs: Path, tmp_path: Path, capsys, monkeypatch) -> None:
    out = ("--out", str(tmp_path / "out"))
    assert "is not Whisper's: leave out --whisper" in refusal(
        runs, capsys, "semantic", "--whisper", str(runs / "whisper"), *out
    )
    wider = replace(CONFIG, whisper=replace(WHISPER, dim=64, context=20, period=48))
    monkeypatch.setitem(codec_run.PRESETS, "tiny", lambda: wider)
    assert "no Whisper encoder of this size" in refusal(
        runs, capsys, "semantic", "--whisper", str(runs / "whisper"), *out
    )
    assert "another codec than tiny" in refusal(
        runs, capsys, "acoustic", "--start", str(runs / "semantic"), *out
    )
    monkeypatch.setitem(codec_run.PRESETS, "tiny", lambda: CONFIG)
    assert "name its folder with --start" in refusal(runs, capsys, "acoustic", *out)
