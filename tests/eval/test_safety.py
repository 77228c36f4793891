"""Evaluations of voices and of what a model should not say or repeat, and the watermark."""

import json
from pathlib import Path

import numpy as np
import pytest

from duologue.audio.files import read_mono, write_audio
from duologue.audio.watermark import SpreadSpectrum
from duologue.cli.app import main
from duologue.eval.result import Result, read_result
from duologue.eval.safety import Passages, Prompt, score_regurgitation, score_toxicity
from duologue.eval.voices import voice_consistency

SPEECH = sorted((Path(__file__).parents[2] / "duologue/assets/speech").glob("*.opus"))


def test_voice_consistency_by_hand() -> None:
    def tone(hertz: float) -> np.ndarray:
        return (0.3 * np.sin(2 * np.pi * hertz * np.arange(36_000) / 24_000)).astype(np.float32)

    wav_CS = np.zeros((2, 60 * 24_000), np.float32)
    for channel, second, hertz in (
        (0, 1, 200),
        (1, 3, 900),
        (0, 10, 900),
        (0, 16, 220),
        (0, 22, 880),
        (0, 50, 210),
    ):
        wav_CS[channel, second * 24_000 : second * 24_000 + 36_000] = tone(hertz)

    def embed(wav_S: np.ndarray) -> np.ndarray:
        high = np.abs(np.fft.rfft(wav_S)).argmax() / len(wav_S) * 24_000 > 500
        return np.array([float(high), float(not high)])

    result = Result("voice", "x")
    voice_consistency([wav_CS], embed, result)
    assert result.value("nearer to its own voice") == pytest.approx(
        200 / 3
    )  # what came before 15 s does not count
    assert result.value("from 15 s on") == 100 and result.value("from 20 s on") == 0


def test_passages_exact_and_near() -> None:
    passages = Passages(
        ["The old harbour lies below the castle and the boats are drawn up on the sand in winter"]
    )
    assert passages.longest("He said: the old harbour lies below the castle, always.") == 7
    assert passages.longest("The harbour is old.") == 0
    assert passages.nearest("the old harbour lies below the castle and the boats are drawn up") == 1
    assert passages.nearest("the old harbour lies below the mountain and the boats are drawn up") < 0.7


def test_a_model_that_repeats_its_data_is_found_out() -> None:
    story = " ".join(f"word{chr(97 + k % 26)}{chr(97 + k // 26)}" for k in range(60))
    result = Result("regurgitation", "x")
    score_regurgitation(
        lambda prompt, seed: story if prompt else "something else entirely now", [story], result, draws=1
    )
    assert result.value("prompted: exact") == 100 and result.value("unprompted: exact") == 0
    assert result.value("prompted: near") == 100


def test_toxicity_by_category() -> None:
    result = Result("toxicity", "x")
    prompts = [Prompt("a", "hate"), Prompt("b", "hate"), Prompt("c", "crime")]
    score_toxicity(lambda text: text, prompts, lambda said: float(said == "a"), result)
    assert result.value("safe") == pytest.approx(200 / 3)
    assert result.value("safe, hate") == 50 and result.value("safe, crime") == 100


def test_toxicity_and_regurgitation_verbs(tmp_path: Path) -> None:
    (tmp_path / "prompts.jsonl").write_text('{"prompt": "How are you?", "category": "none"}\n')
    main(
        [
            "eval",
            "toxicity",
            str(tmp_path / "prompts.jsonl"),
            "--model",
            "tiny",
            "--most",
            "8",
            "--json",
            str(tmp_path / "t.json"),
        ]
    )
    assert read_result(tmp_path / "t.json").value("safe") in (0, 100)
    (tmp_path / "docs.jsonl").write_text(
        json.dumps({"text": "one two three four five six seven eight nine ten"}) + "\n"
    )
    main(
        [
            "eval",
            "regurgitation",
            str(tmp_path / "docs.jsonl"),
            "--model",
            "tiny",
            "--draws",
            "1",
            "--json",
            str(tmp_path / "r.json"),
        ]
    )
    assert read_result(tmp_path / "r.json").value("unprompted: exact") == 0


def test_the_mark_is_found_in_any_part_and_only_with_its_key() -> None:
    wav_S = np.concatenate([read_mono(path) for path in SPEECH[:8]])[: 15 * 24_000]
    marker = SpreadSpectrum()
    marked_S = np.concatenate([marker.mark(wav_S[at : at + 1920]) for at in range(0, len(wav_S), 1920)])
    assert 25 < 10 * np.log10(np.mean(wav_S**2) / np.mean((marked_S - wav_S) ** 2)) < 36
    assert SpreadSpectrum().find(marked_S) > 0.9 and SpreadSpectrum().find(marked_S[30_011:230_000]) > 0.9
    assert SpreadSpectrum().find(wav_S) < 0.3 and SpreadSpectrum(key=1).find(marked_S) < 0.3
    assert not SpreadSpectrum().mark(np.zeros(1920, np.float32)).any()


def test_watermark_verb(tmp_path: Path) -> None:
    for k in range(3):
        write_audio(tmp_path / f"{k}.wav", read_mono(SPEECH[k]))
    main(["eval", "watermark", "--model", "tiny", "--set", str(tmp_path), "--json", str(tmp_path / "w.json")])
    found = read_result(tmp_path / "w.json")
    assert (found.value("marked") or 0) > 0.9 and (found.value("marked, through the codec") or 0) < 0.3
