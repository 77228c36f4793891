"""Conversations spoken in one pass by a synthesis model with two voices (a small random one)."""

import json
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from duologue.audio.files import read_audio
from duologue.cli import main
from duologue.data.manifest import read_manifest, read_transcript
from duologue.data.one_pass import OnePassSynth, Turn, two_channels
from duologue.data.runner import run
from duologue.data.script import Script
from duologue.data.synth import plans
from duologue.errors import InputError
from duologue.types import AGENT, USER, Word
from tests.engine.speech_models import SPEECH, GoldenModel

ANN, BOB, AGENT_VOICE = (str(SPEECH / f"voice{i}.safetensors") for i in (0, 1, 0))
TURNS = [["Is it you?", "It will be a fine day."], ["One two three.", "Yes it is."]]


@pytest.fixture
def script(tmp_path: Path) -> Script:
    (tmp_path / "script.jsonl").write_text(json.dumps({"id": "a", "turns": TURNS}) + "\n")
    return Script.read(tmp_path / "script.jsonl")


@pytest.mark.parametrize("multistream", [False, True], ids=["cut", "two channels"])
def test_conversations(script: Script, tmp_path: Path, multistream: bool) -> None:
    model, out = GoldenModel("lm_cond", multistream=multistream), tmp_path / "out"
    out.mkdir()
    stage = OnePassSynth(model, script, AGENT_VOICE, [ANN, BOB], out, ".wav")
    made = run(stage, plans(3, 7), out / "manifest.jsonl", stage.slots)
    assert made.bad == []
    rows = read_manifest(out / "manifest.jsonl")
    sounds = [read_audio(row["path"]) for row in rows]
    assert not any(a.shape == b.shape and (a == b).all() for a, b in pairwise(sounds))
    for row, wav_CS in zip(rows, sounds, strict=True):
        assert wav_CS.shape == (2, round(row["duration"] * 24_000))
        assert np.abs(wav_CS).max(1).min() > 0.001
        both = (np.abs(wav_CS) > 0).all(0).any()
        assert both == multistream  # one channel cut in two is in one of them at a time
        assert [turn["role"] for turn in row["turns"]] == ["user", "agent"] * 2
        assert {turn["voice"] for turn in row["turns"] if turn["role"] == "user"} <= {ANN, BOB}
        assert [turn["said"] for turn in row["turns"]] == [text for turn in TURNS for text in turn]
        words = read_transcript(row["path"]).words
        for speaker, which, role in ((USER, 0, "user"), (AGENT, 1, "agent")):
            own = [word for word in words if word.speaker == speaker]
            assert [word.text for word in own] == [word for turn in TURNS for word in turn[which].split()]
            spans = [(turn["start"], turn["end"]) for turn in row["turns"] if turn["role"] == role]
            assert all(any(a - 0.01 <= w.start <= w.end <= b + 0.01 for a, b in spans) for w in own)
    alone = tmp_path / "alone"
    stage = OnePassSynth(model, script, AGENT_VOICE, [ANN, BOB], alone, ".wav", slots=1)
    [again] = stage(plans(1, 7))
    np.testing.assert_allclose(read_audio(again["path"]), sounds[0], atol=1e-3)


def test_a_channel_is_cut_where_it_is_quietest() -> None:
    """Half a second of one, a gap from 0.5 to 0.7 s, then the other, whose words are told a little early."""
    rng, wav_S = np.random.default_rng(0), np.zeros(2 * 24_000, np.float32)
    wav_S[: 24_000 // 2] = 0.1 * rng.standard_normal(24_000 // 2)
    wav_S[7 * 2400 :] = 0.1 * rng.standard_normal(len(wav_S) - 7 * 2400)
    words = [Word("a", 0.0, 0.2), Word("b", 0.2, 0.64), Word("c", 0.64, 1.0, USER), Word("d", 1.0, 2.0, USER)]
    out_CS, turns = two_channels(wav_S[None], words, [Turn("user", "a b"), Turn("agent", "c d")])
    np.testing.assert_array_equal(out_CS.sum(0), wav_S)
    assert not out_CS[0, : 24_000 * 7 // 10].any()
    assert not out_CS[1, 24_000 // 2 :].any()
    assert turns[0].span == pytest.approx((0.0, 0.5), abs=0.011)
    assert turns[1].span == pytest.approx((0.7, 2.0), abs=0.011)
    assert [(w.text, w.speaker) for w in turns[1].words] == [("c", AGENT), ("d", AGENT)]
    assert turns[0].words[-1].end == pytest.approx(0.5, abs=0.011)
    assert turns[1].words[0].start == pytest.approx(0.7, abs=0.011)
    with pytest.raises(InputError, match="of 1 turns 2 were spoken"):
        two_channels(wav_S[None], words, [Turn("user", "a b c d")])


def test_as_it_is_typed(script: Script, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    monkeypatch.setattr("duologue.weights.load", lambda *_: GoldenModel("lm_cond"))
    synth = [
        "data",
        "synth",
        str(tmp_path / "script.jsonl"),
        str(tmp_path / "out"),
        "--one-pass",
        "--count",
        "1",
    ]
    main([*synth, "--voice", "model", "--agent", AGENT_VOICE, "--users", ANN, BOB, "--format", "wav"])
    [row] = read_manifest(tmp_path / "out")
    assert Path(row["path"]).suffix == ".wav"
    for given, text in (([], "--voice MODEL"), (["--voice", "model"], "--users")):
        with pytest.raises(SystemExit):
            main([*synth, *given])
        assert text in capsys.readouterr().err


def test_models_without_two_voices_are_refused(script: Script, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not take two voices"):
        OnePassSynth(GoldenModel("lm_prefix"), script, "a.wav", ["b.wav"], tmp_path)
