"""Segments of speech from long recordings."""

import json
from pathlib import Path

import numpy as np
import pytest

from duologue.audio.files import read_mono, write_audio
from duologue.cli.app import main
from duologue.data.collect import (
    Collect,
    Limits,
    find_recordings,
    music_share,
    overlap_share,
    segments,
    speech_spans,
)
from duologue.data.diarize import Turn
from duologue.errors import InputError

SPEECH = sorted((Path(__file__).parents[2] / "duologue/assets/speech").glob("*.opus"))


def music(seconds: float) -> np.ndarray:
    """Chords, each of a second, with harmonics and a soft attack."""
    t = np.arange(24_000) / 24_000
    chords = []
    for k in range(round(seconds)):
        root = 220 * 2 ** ((0, 5, 7, 0)[k % 4] / 12)
        tones = sum(
            np.sin(2 * np.pi * root * ratio * h * t) / h for ratio in (1, 1.26, 1.5) for h in (1, 2, 3)
        )
        chords.append(tones * np.minimum(1, 20 * t) * np.exp(-0.5 * t))
    wav_S = np.concatenate(chords)
    return (0.3 * wav_S / np.abs(wav_S).max()).astype(np.float32)


def test_speech_is_no_music_and_music_is() -> None:
    shares = [music_share(read_mono(path)) for path in SPEECH]
    assert max(shares) <= 0.34 and np.mean(shares) < 0.1
    assert music_share(music(6)) > 0.9
    assert music_share(np.zeros(48_000, np.float32)) == 0


def test_silence_and_length_end_segments() -> None:
    limits = Limits(longest=10, shortest=1, gap=2)
    assert segments([(0, 1), (2, 4), (7, 7.5), (20, 26), (27, 31)], limits) == [
        [(0, 1), (2, 4)],
        [(20, 26)],
        [(27, 31)],
    ]
    cut = segments([(0, 25)], limits)
    assert [(s[0][0], s[-1][1]) for s in cut] == [(0, 10), (10, 20), (20, 25)]
    assert segments([], limits) == []


def test_overlap_counts_only_two_speakers() -> None:
    turns = [Turn(0, 4, "a"), Turn(3, 6, "b"), Turn(3.5, 5, "a")]
    assert overlap_share(turns, 0, 10) == pytest.approx(0.2)
    assert overlap_share(turns, 0, 2) == 0


def test_the_detector_finds_speech_between_silences() -> None:
    wav_S = read_mono(SPEECH[0])
    spans = speech_spans(np.concatenate([np.zeros(72_000, np.float32), wav_S, np.zeros(72_000, np.float32)]))
    assert 2.7 < spans[0][0] < 3.6 and abs(spans[-1][1] - 3 - len(wav_S) / 24_000) < 0.6


def test_each_reason_drops_its_segment_and_the_rest_is_listed(tmp_path: Path) -> None:
    talk_S = np.concatenate([read_mono(path) for path in SPEECH[:3]])[: 4 * 24_000]
    gap_S = np.zeros(3 * 24_000, np.float32)
    write_audio(
        tmp_path / "show.wav", np.concatenate([talk_S, gap_S, music(4), gap_S, talk_S, gap_S, talk_S])
    )
    spans = [(7.0 * k, 7.0 * k + 4) for k in range(4)]
    stage = Collect(
        tmp_path / "out", Limits(shortest=1),
        language=lambda wav_S: ("en", 0.9) if np.allclose(wav_S[:1000], talk_S[:1000], atol=1e-3) else ("de", 0.9),
        diarizer=lambda wav_S: [Turn(14, 18, "a"), Turn(15, 18, "b")], detect=lambda wav_S: spans,
    )  # fmt: skip
    (made,) = stage(find_recordings([tmp_path / "show.wav"]))
    assert made["dropped"] == {"music": 1, "overlap": 1}
    assert [round(piece["start"]) for piece in made["segments"]] == [0, 21]
    assert np.abs(read_mono(made["segments"][1]["path"]) - talk_S).max() < 1e-3
    stage.language = lambda wav_S: ("fr", 0.99)
    assert stage(find_recordings([tmp_path / "show.wav"]))[0]["dropped"]["language"] == 2


def test_the_verb_makes_a_manifest_of_segments(tmp_path: Path) -> None:
    write_audio(tmp_path / "in.wav", np.concatenate([read_mono(path) for path in SPEECH[:3]]))
    main(["data", "collect", str(tmp_path / "out"), "--sources", str(tmp_path / "in.wav"), "--shortest", "1"])
    rows = [json.loads(line) for line in (tmp_path / "out/manifest.jsonl").read_text().splitlines()]
    assert rows and all((tmp_path / "out" / row["path"]).exists() and row["duration"] >= 1 for row in rows)
    (tmp_path / "out/nothing").mkdir()
    with pytest.raises(InputError, match="no recording here"):
        find_recordings([tmp_path / "out/nothing"])
