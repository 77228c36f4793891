"""Evaluations as commands on the random tiny model, from its files to figures in the one schema."""

import math
from pathlib import Path
from typing import get_args

import numpy as np
import pytest

from duologue.audio.files import read_mono, write_audio
from duologue.cli.app import main
from duologue.cli.eval import Eval
from duologue.eval import voices
from duologue.eval.result import Result, read_result
from duologue.eval.speech import stoi
from tests.eval.duplex_actor import make_library
from tests.eval.random_shards import write_random_shards

SPEECH = sorted((Path(__file__).parents[2] / "duologue/assets/speech").glob("*.opus"))
DOCUMENT = Path(__file__).parents[2] / "docs/evaluation.md"


def figures(tmp_path: Path, *arguments: object) -> Result:
    """What `duologue eval ARGUMENTS` writes."""
    main(["eval", *map(str, arguments), "--json", str(tmp_path / "out.json")])
    return read_result(tmp_path / "out.json")


def test_every_evaluation_has_its_command_in_the_document() -> None:
    text = DOCUMENT.read_text()
    verbs = [get_args(one)[1].name for one in get_args(Eval)]
    assert len(verbs) > 15
    assert not [verb for verb in verbs if f"duologue eval {verb} " not in text]


@pytest.fixture
def only_stoi(monkeypatch: pytest.MonkeyPatch) -> None:
    """The other measures take seconds, and have tests of their own."""
    for place in ("speech", "codec"):
        monkeypatch.setattr(f"duologue.eval.{place}.measures", lambda: {"stoi": stoi})


@pytest.mark.usefixtures("only_stoi")
def test_codec(tmp_path: Path) -> None:
    (tmp_path / "clips").mkdir()
    write_audio(tmp_path / "clips/a.wav", read_mono(SPEECH[0]))
    found = figures(tmp_path, "codec", "--model", "tiny", "--set", tmp_path / "clips")
    assert found.value("untouched, 384.0 kbit/s: stoi") == pytest.approx(1.0, abs=1e-3)
    assert (found.value("tiny, 0.5 kbit/s: stoi") or 0) < 0.6


@pytest.mark.usefixtures("only_stoi")
def test_codebooks(tmp_path: Path) -> None:
    (tmp_path / "clips").mkdir()
    write_audio(tmp_path / "clips/a.wav", read_mono(SPEECH[0]))
    found = figures(tmp_path, "codebooks", "--model", "tiny", "--set", tmp_path / "clips")
    assert [f.name for f in found.figures if f.name.endswith("stoi")] == [
        f"{n} codebooks: stoi" for n in range(1, 9)
    ]


def test_bits(tmp_path: Path) -> None:
    write_random_shards(tmp_path / "shards")
    found = figures(tmp_path, "bits", tmp_path / "shards", "--model", "tiny", "--batches", "1")
    # Random codes, of which a random model knows nothing: 5 bits a frame and a little more.
    assert (found.value("codebook 0, without") or 0) > 12.5 * math.log2(32)
    assert found.figures[0].count == 4 * 59  # the agent's first frame was before the conversation


def test_frontier(tmp_path: Path) -> None:
    make_library(tmp_path)
    found = figures(tmp_path, "frontier", "--set", tmp_path / "clips", "--script", tmp_path / "script.jsonl",
                    "--model", "tiny", "--scenes", "2", "--biases", "0", "9")  # fmt: skip
    assert found.settings["scenes"] == 2
    # A random model never waits, unless PAD is made far likelier.
    assert (
        0
        <= (found.value("bias +9: false cut-offs") or 0)
        <= (found.value("bias +0: false cut-offs") or 0)
        <= 100
    )


def test_voice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Loudness:
        """Voices are told apart by how loud they are."""

        def __call__(self, wav_S: np.ndarray) -> np.ndarray:
            angle = float(np.abs(wav_S).max()) * np.pi / 2
            return np.array([np.cos(angle), np.sin(angle)])

    def voice(peak: float, seconds: float) -> np.ndarray:
        return peak * np.sin(np.arange(round(24_000 * seconds)) * 0.1).astype(np.float32)

    monkeypatch.setattr(voices, "Resemblyzer", Loudness)
    wav_CS = np.zeros((2, 24_000 * 30), np.float32)
    for channel, second, peak in ((0, 1, 0.2), (1, 4, 0.8), (0, 16, 0.25), (0, 20, 0.7), (0, 25, 0.2)):
        wav_CS[channel, 24_000 * second : 24_000 * (second + 2)] = voice(peak, 2)
    (tmp_path / "talks").mkdir()
    write_audio(tmp_path / "talks/x.wav", wav_CS)
    found = figures(tmp_path, "voice", tmp_path / "talks")
    assert found.value("nearer to its own voice") == pytest.approx(200 / 3)
    assert found.value("from 20 s on") == 0 and found.settings["embedding"] == "Loudness"


def test_turns_count_the_words_that_are_heard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("duologue.eval.speech.Recognizer", lambda folder: lambda wav_S: "hello there")
    wav_CS = np.zeros((2, 24_000 * 6), np.float32)
    wav_CS[0, :24_000] = read_mono(SPEECH[0])[:24_000]
    (tmp_path / "talks").mkdir()
    write_audio(tmp_path / "talks/x.wav", wav_CS)
    said = '[[" Hello", [0.1, 0.4], "SPEAKER_MAIN"], [" you", [0.5, 0.9], "SPEAKER_MAIN"]]'
    (tmp_path / "talks/x.json").write_text(f'{{"alignments": {said}}}')
    found = figures(tmp_path, "turns", tmp_path / "talks", "--asr", tmp_path)
    assert found.value("confirmed words") == pytest.approx(10)  # one in 6 s
