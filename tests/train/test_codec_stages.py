"""Each stage of the codec's training on a few seconds of made-up speech, with a tiny codec."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import sentencepiece
import torch

from duologue import presets
from duologue.codec import Codec
from duologue.codec.discriminator import DiscriminatorConfig
from duologue.codec.init import scale_to_speech
from duologue.config import FramesConfig
from duologue.data.segments import SECONDS, SEGMENT
from duologue.train.codec_batches import CropBatches, block_words
from duologue.train.codec_decoder import CodeBatches, DecoderConfig, DecoderStage, by_spectra
from duologue.train.codec_joint import JointConfig, JointStage, MelHead
from duologue.train.codec_semantic import SemanticConfig, SemanticStage
from duologue.weights.random import random_codec

WORDS = ["yes", "no", "one", "two", "green"]


@pytest.fixture(scope="module")
def segments(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two segments of "words" (a tone each) whose teacher states depend on the word."""
    folder = tmp_path_factory.mktemp("segments")
    rng = np.random.default_rng(0)
    wav = np.zeros((2, SEGMENT), np.int16)
    teacher = rng.normal(0, 0.1, (2, SECONDS * 50, 16)).astype(np.float16)
    rows = []
    for n in range(2):
        clips = []
        for second in range(0, SECONDS - 1, 2):
            word = int(rng.integers(len(WORDS)))
            t = np.arange(24_000) / 24_000
            wav[n, second * 24_000 : (second + 1) * 24_000] = 8000 * np.sin(2 * np.pi * 200 * (word + 1) * t)
            teacher[n, second * 50 : (second + 1) * 50, word] += 3
            clips.append(
                {"key": f"{n}-{second}", "start": second, "end": second + 1.0, "words": [WORDS[word]]}
            )
        rows.append({"kind": "agent" if n else "speech", "clips": clips})
    np.save(folder / "wav.npy", wav)
    np.save(folder / "teacher.npy", teacher)
    (folder / "meta.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n")
    return folder


@pytest.fixture(scope="module")
def spelling(
    segments: Path, tmp_path_factory: pytest.TempPathFactory
) -> sentencepiece.SentencePieceProcessor:
    from duologue.data.segments import load_blocks

    model = tmp_path_factory.mktemp("words") / "words"
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(block_words(load_blocks(segments))), model_prefix=str(model), vocab_size=20,
        bos_id=-1, eos_id=-1, minloglevel=2, hard_vocab_limit=False,
    )  # fmt: skip
    return sentencepiece.SentencePieceProcessor(f"{model}.model")


def crops(segments: Path, spelling: sentencepiece.SentencePieceProcessor, **changes) -> CropBatches:
    return CropBatches(
        segments, spelling, **{"batch": 2, "seconds": 3.2, "agent_share": 0.5, "noisy": 0.5} | changes
    )


def fresh_codec(wav_BS: torch.Tensor) -> Codec:
    torch.manual_seed(0)
    codec = Codec(presets.tiny_codec())
    scale_to_speech(codec, wav_BS)
    return codec


def test_scaling_keeps_speech_at_unit_size(segments, spelling) -> None:
    wav_BS = crops(segments, spelling).make(0)["clean"]
    torch.manual_seed(0)
    codec = Codec(presets.tiny_codec())
    with torch.no_grad():
        before = float(codec.to_latent(wav_BS).std())
        codec = fresh_codec(wav_BS)
        z_BDT = codec.to_latent(wav_BS)
        assert before < 0.3 < float(z_BDT.std()) < 3
        assert 0.5 < float(codec.to_wave(z_BDT).std() / wav_BS.std()) < 2


def test_crops_are_a_function_of_their_number(segments, spelling) -> None:
    one, two = crops(segments, spelling), crops(segments, spelling)
    for batch in (iter(one), iter(one)):
        next(batch)
    two.load_state_dict(one.state_dict())
    a, b = next(iter(one)), next(iter(two))
    assert all(torch.equal(a[key], b[key]) for key in a)
    assert not torch.equal(a["wav"], crops(segments, spelling, rank=1).make(2)["wav"])


def test_crops_spell_the_words_that_are_heard(segments, spelling) -> None:
    batch = crops(segments, spelling, noisy=0.0).make(0)
    for wav_S, tokens_N, length in zip(batch["wav"], batch["tokens"], batch["lengths"], strict=True):
        words = spelling.decode([t - 1 for t in tokens_N[:length].tolist()]).split()
        loud = wav_S.unflatten(0, (-1, 2400)).abs().amax(1) > 0.05
        onsets = int((loud[1:] & ~loud[:-1]).sum()) + int(loud[0])
        assert len(words) == onsets, "a word that is only partly there must be silent"


def test_semantic_stage_learns_words(segments, spelling) -> None:
    data = crops(segments, spelling, noisy=0.0)
    codec = fresh_codec(data.make(0)["clean"])
    config = SemanticConfig(lr=4e-3, steps=36, warmup=4, continuous_steps=12)
    teacher = torch.from_numpy(np.load(segments / "teacher.npy")[0].astype(np.float32))
    stage = SemanticStage(codec, spelling, teacher, config, {"speech": [data.make(1000)]})
    decoder = codec.decoder.head.weight.clone()
    losses = [stage.train_step([next(iter(data))], step) for step in range(36)]
    assert min(loss["distill"] for loss in losses[-8:]) < 0.8 * losses[0]["distill"]
    assert codec.quantizer.semantic.codebooks[0].is_initialized()  # pyright: ignore
    assert not codec.quantizer.acoustic.codebooks[0].is_initialized()  # pyright: ignore
    assert torch.equal(decoder, codec.decoder.head.weight)
    stage.module.eval()
    with torch.no_grad():
        assert stage.evaluate().keys() == {
            "distill_speech_first", "wer_speech_first", "distill_speech", "wer_speech", "perplexity",
        }  # fmt: skip


def test_joint_stage_learns_what_it_sounds_like(segments, spelling) -> None:
    data = crops(segments, spelling, noisy=0.0)
    codec = fresh_codec(data.make(0)["clean"])
    config = JointConfig(lr=1e-2, steps=45, warmup=3, mel_weight=20.0, spectrum_first=5)
    stage = JointStage(codec, spelling, torch.randn(10, 16), config, {"speech": [data.make(1000)]})
    decoder = codec.decoder.head.weight.clone()
    losses = [stage.train_step([next(iter(data))], step) for step in range(45)]
    assert min(loss["mel"] for loss in losses[-8:]) < 0.9 * losses[0]["mel"]
    assert all(book.is_initialized() for book in codec.quantizer.acoustic.codebooks)  # pyright: ignore
    assert torch.equal(decoder, codec.decoder.head.weight)
    stage.module.eval()
    with torch.no_grad():
        found = stage.evaluate()
    assert 0 < found["mel"] < 5 and 0 < found["mel_bypass"] < 5


def test_sound_that_was_made_worse_is_not_to_be_rebuilt(segments, spelling) -> None:
    batch = crops(segments, spelling, noisy=0.0).make(0)
    stage = JointStage(fresh_codec(batch["clean"]), spelling, torch.randn(10, 16), JointConfig(steps=9))
    stage.step = 0
    worse = batch | {"wav": batch["wav"] + 0.01}
    assert stage.loss(batch)[2]["mel"][0] > 0  # pyright: ignore
    assert stage.loss(worse)[2]["mel"][0] == 0  # pyright: ignore


def test_a_spectrogram_step_hears_nothing_of_the_next(segments, spelling) -> None:
    wav_BS = crops(segments, spelling, noisy=0.0).make(0)["clean"]
    head = MelHead(fresh_codec(wav_BS))
    changed_BS = wav_BS.clone()
    changed_BS[:, 1920:] = 0
    before, after = head.target(wav_BS), head.target(changed_BS)
    assert before.shape[1] == wav_BS.shape[1] // 240
    assert torch.equal(before[:, :8], after[:, :8])
    assert not torch.equal(before[:, 8:20], after[:, 8:20])


def test_decoder_stage_changes_no_code(segments) -> None:
    codec = random_codec(presets.tiny_codec())
    data = CodeBatches(codec, segments, batch=2, frames=4, agent_share=0.5, context=6)
    batch = data.make(0)
    assert [*batch["codes"].shape, *batch["wav"].shape] == [2, 8, 10, 2, 4 * 1920]
    codes, wav = codec.encode(batch["wav"]), codec.decode(batch["codes"])
    config = DecoderConfig(
        lr=1e-3, discriminator_lr=1e-3, steps=10, warmup=1, spectra_first=2,
        discriminator=DiscriminatorConfig(n_ffts=(512, 128), filters=4),
    )  # fmt: skip
    stage = DecoderStage(codec, config, [data.make(9)])
    stage.module.train()
    for step in range(6):
        result = stage.train_step([data.make(step)], step)
    assert {"adversarial", "feature", "mel", "discriminator_loss", "decoder_lr"} <= result.keys()
    stage.module.eval()
    assert torch.equal(codes, codec.encode(batch["wav"]))
    assert not torch.allclose(wav, codec.decode(batch["codes"]), atol=1e-4)
    assert stage.evaluate()["mel"] > 0


def test_decoder_stage_by_frames_learns_spectra_and_pitch(segments) -> None:
    torch.manual_seed(0)
    codec = Codec(replace(presets.tiny_codec(), frames=FramesConfig(24, 48, 2, 5, 240, 64))).eval()
    other = random_codec(presets.tiny_codec()).state_dict()
    codec.load_state_dict({n: w for n, w in other.items() if not n.startswith("decoder.")}, strict=False)
    data = CodeBatches(codec, segments, batch=2, frames=4, agent_share=0.5, context=6)
    batch = data.make(0)
    assert batch["pitch"].shape == batch["voiced"].shape == (2, 10 * 8)
    config = by_spectra(DecoderConfig(lr=1e-2, steps=10, warmup=1))
    small = replace(config.discriminator, n_ffts=(1024, 512), filters=4)
    stage = DecoderStage(codec, replace(config, discriminator=small), [batch])
    found = []
    for step in range(6):
        stage.module.train()
        found.append(stage.train_step([batch], step))
    assert {"mel", "pitch", "adversarial", "feature", "discriminator_loss"} <= found[0].keys()
    assert "waveform" not in found[0]  # its phases are its own
    assert found[-1]["mel"] < 0.9 * found[0]["mel"]
    assert found[-1]["pitch"] < 0.9 * found[0]["pitch"]
    stage.module.eval()
    assert stage.evaluate()["mel"] > 0
