"""The codec's table: what it counts, on codecs whose answer is known."""

import math
import re
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from duologue.audio.files import write_audio
from duologue.cli.eval import EvalCodec
from duologue.codec import Codec
from duologue.config import CodecConfig, QuantizerConfig
from duologue.errors import InputError
from duologue.eval import codec as evaluation
from duologue.eval.codec import Clip, codebook_use, evaluate_codec, load_clips
from duologue.eval.result import read_result
from duologue.presets import tiny_codec


class Halver:
    """Stands in for a codec: halves the volume; its codes count frames, and every third frame in codebook 1."""

    config = CodecConfig(codebooks=2, quantizer=QuantizerConfig(entries=64))
    device = torch.device("cpu")

    def encode(self, wav_BS: torch.Tensor) -> torch.Tensor:
        self.wav_BS = wav_BS
        frames = torch.arange(math.ceil(wav_BS.shape[1] / 1920))
        return torch.stack([frames % 64, frames % 3])[None]

    def decode(self, codes_BQT: torch.Tensor) -> torch.Tensor:
        wav_BS = torch.zeros(1, codes_BQT.shape[2] * 1920)
        wav_BS[:, : self.wav_BS.shape[1]] = self.wav_BS / 2
        return wav_BS

    def init_state(self, batch: int) -> None: ...

    def encode_step(self, state: None, wav_BS: torch.Tensor) -> torch.Tensor:
        return torch.zeros(1, 2, 1, dtype=torch.int64)

    def decode_step(self, state: None, codes_BQT: torch.Tensor) -> torch.Tensor:
        return torch.zeros(1, 1920)


def clip(text: str | None, seconds: float = 1.0, seed: int = 0) -> Clip:
    wav_S = 0.2 * np.random.default_rng(seed).normal(size=round(24_000 * seconds)).clip(-3, 3)
    return Clip(f"clip-{seed}", wav_S.astype(np.float32), text)


def gain(reference_S: np.ndarray, decoded_S: np.ndarray) -> float | None:
    assert reference_S.shape == decoded_S.shape
    return float(np.dot(reference_S, decoded_S) / np.dot(reference_S, reference_S))


def test_rows_stand_for_the_codec_opus_and_the_original():
    pytest.importorskip("jiwer")
    clips = [clip("one two three four"), clip("five six", 2.05, 1), clip(None, 1.0, 2)]
    heard = {
        0.2: "1, 2, 3, 4",
        0.1: "one two nine four",
    }  # by loudness: the original, and what the codec makes of it

    def asr(wav_S: np.ndarray) -> str:
        loudness = min(heard, key=lambda level: abs(level - wav_S.std()))
        return heard[loudness] if len(wav_S) == 24_000 else "five six"

    progress: list[float] = []
    judges = {"gain": gain, "never": lambda reference_S, decoded_S: None}
    report = evaluate_codec(Halver(), clips, asr, judges, "halver", progress.append)  # pyright: ignore
    ours, opus, original = report.rows
    assert [row.name for row in report.rows] == ["halver", "Opus", "untouched"]
    assert ours.kbps == pytest.approx(2 * 6 * 12.5 / 1000)
    assert ours.frame_rate == 12.5
    assert 4 < opus.kbps < 12
    assert ours.scores == {"gain": pytest.approx(0.5), "never": None}
    assert original.scores["gain"] == pytest.approx(1.0)
    assert ours.wer == pytest.approx(1 / 6)  # of the six words of the two clips that have a text
    assert original.wer == 0
    assert sum(progress) == pytest.approx(1.0)
    assert (report.clips, report.seconds) == (3, pytest.approx(4.05))
    # 13 + 26 + 13 frames: 26 different ones in codebook 0, 3 in codebook 1.
    assert [book.used for book in report.codebooks] == [26 / 64, 3 / 64]
    assert report.codebooks[1].entropy == pytest.approx(math.log2(3), abs=0.02)


def test_word_errors_need_a_recogniser_and_a_text():
    judges = {"gain": gain}
    silent = evaluate_codec(Halver(), [clip("one")], None, judges)  # pyright: ignore[reportArgumentType]
    wordless = evaluate_codec(Halver(), [clip(None)], lambda wav_S: "one", judges)  # pyright: ignore
    assert {row.wer for row in silent.rows + wordless.rows} == {None}
    with pytest.raises(InputError, match="no clips"):
        evaluate_codec(Halver(), [])  # pyright: ignore[reportArgumentType]


def test_codebook_use_of_known_frequencies():
    codes = torch.stack([torch.arange(32).repeat(4), torch.full((128,), 7), torch.arange(128) % 2])
    uses = codebook_use(codes, 32)
    assert [use.used for use in uses] == [1, 1 / 32, 2 / 32]
    assert [use.entropy for use in uses] == pytest.approx([5, 0, 1])
    assert {use.bits for use in uses} == {5}


def test_a_real_codec_passes_through():
    torch.manual_seed(0)
    report = evaluate_codec(Codec(tiny_codec()).eval(), [clip(None, 0.5)], judges={"gain": gain})
    assert report.rows[0].kbps == pytest.approx(8 * 5 * 12.5 / 1000)
    assert len(report.codebooks) == 8
    assert report.ms_per_frame > 0


def fill(folder: Path) -> None:
    (folder / "deep").mkdir()
    for i, name in enumerate(["a.wav", "b.flac", "deep/c.wav"]):
        write_audio(folder / name, clip(None, 0.3, i).wav_S)
    (folder / "a.json").write_text('{"text": "one"}')
    (folder / "b.txt").write_text("two\n")


def test_clips_come_with_the_text_beside_them(tmp_path: Path):
    fill(tmp_path)
    clips = load_clips(tmp_path, 16_000)
    assert [(c.key, c.text, len(c.wav_S)) for c in clips] == [
        ("a.wav", "one", 4800), ("b.flac", "two", 4800), (str(Path("deep/c.wav")), None, 4800)
    ]  # fmt: skip
    assert [c.key for c in load_clips(tmp_path, 16_000, limit=2)] == ["a.wav", "b.flac"]
    (tmp_path / "a.json").write_text("[1]")
    with pytest.raises(InputError, match=r"a\.json is not a JSON object"):
        load_clips(tmp_path, 16_000)
    (tmp_path / "none").mkdir()
    with pytest.raises(InputError, match="holds no recording"):
        load_clips(tmp_path / "none", 16_000)


@pytest.fixture
def halver(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever model the command asks for, it gets the stand-in, judged by its gain."""
    weights = SimpleNamespace(load=lambda model, device: SimpleNamespace(codec=Halver()))
    monkeypatch.setitem(__import__("sys").modules, "duologue.weights", weights)
    monkeypatch.setattr(evaluation, "measures", lambda: {"stoi": gain, "dnsmos": gain})


@pytest.mark.usefixtures("halver")
def test_command_prints_a_table_or_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    fill(tmp_path)
    EvalCodec("some/halver", tmp_path).run()
    table = " ".join(capsys.readouterr().out.replace("│", " ").split())
    assert "halver 0.15 12.5 0.500 0.50 - Opus" in table
    assert "0 6.2 2.00 6.00 1 4.7 1.50 6.00" in table  # frames 0 to 3: 4 codes of 64, and 0 1 2 0
    assert "3 recordings, 1 s. Encode + decode, streamed:" in table
    EvalCodec("halver", tmp_path, limit=1, json=tmp_path / "codec.json").run()
    report = read_result(tmp_path / "codec.json")
    assert report.settings["clips"] == 1
    assert report.value("halver, 0.1 kbit/s: stoi") == pytest.approx(0.5)
    assert report.value("untouched, 384.0 kbit/s: stoi") == pytest.approx(1.0)


@pytest.mark.usefixtures("halver")
def test_speech_to_judge_by_comes_with_the_package(capsys: pytest.CaptureFixture[str]):
    EvalCodec(limit=4).run()
    found = re.search(r"4 recordings, (\d+) s", capsys.readouterr().out)
    assert found and 8 < int(found[1]) < 20
    clips = load_clips(evaluation.SPEECH, 24_000)
    assert len(clips) == 16 and all(clip.text for clip in clips)
    assert sum(clip.key.startswith("agent") for clip in clips) == 10


@pytest.mark.usefixtures("halver")
def test_command_says_what_it_needs(tmp_path: Path):
    with pytest.raises(InputError, match="--limit"):
        EvalCodec(set=tmp_path, limit=0).run()
