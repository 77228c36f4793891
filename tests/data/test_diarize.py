import sys
import types

import numpy as np
import pytest

from duologue.audio.files import read_audio, write_audio
from duologue.data.diarize import Diarize, Pyannote, Turn, separate
from duologue.data.runner import run
from duologue.data.voices import SAMPLE_RATE
from duologue.errors import InputError

from .sounds import buzz, silence

TURNS = [Turn(0.0, 1.0, "A"), Turn(1.2, 2.0, "B"), Turn(2.5, 3.0, "A")]


def mixture():
    parts = [buzz(1.0, 120), silence(0.2), buzz(0.8, 220), silence(0.5), buzz(0.5, 120), silence(0.5)]
    return np.concatenate(parts)


def test_channels_add_up_and_hold_one_speaker_each():
    wav_S = mixture()
    left_S, right_S = separate(wav_S, TURNS, "A")
    np.testing.assert_allclose(left_S + right_S, wav_S, atol=1e-6)
    a, b = slice(2000, 20_000), slice(round(1.25 * SAMPLE_RATE), round(1.95 * SAMPLE_RATE))
    np.testing.assert_array_equal(left_S[a], wav_S[a])
    assert not right_S[a].any()
    np.testing.assert_array_equal(right_S[b], wav_S[b])
    assert not left_S[b].any()


@pytest.mark.parametrize("version", [3, 4])
def test_pyannote_is_called_as_its_versions_ask(monkeypatch, version):
    class Annotation:
        def itertracks(self, yield_label):
            assert yield_label
            for turn in TURNS:
                yield types.SimpleNamespace(start=turn.start, end=turn.end), "_", turn.speaker

    class Pipeline:
        @classmethod
        def from_pretrained(cls, checkpoint, token=None):
            return cls() if token == "open" else None

        def to(self, device):
            assert device.type == "cpu"

        def __call__(self, file, num_speakers):
            assert file["waveform"].shape == (1, 4 * SAMPLE_RATE - SAMPLE_RATE // 2)
            assert (file["sample_rate"], num_speakers) == (SAMPLE_RATE, 2)
            return Annotation() if version == 3 else types.SimpleNamespace(speaker_diarization=Annotation())

    package = types.ModuleType("pyannote.audio")
    package.Pipeline = Pipeline
    monkeypatch.setitem(sys.modules, "pyannote", types.ModuleType("pyannote"))
    monkeypatch.setitem(sys.modules, "pyannote.audio", package)
    assert Pyannote(token="open")(mixture()) == TURNS
    with pytest.raises(InputError, match="accept its conditions"):
        Pyannote()


def test_the_stage_draws_a_main_speaker_and_reports_what_is_silent(tmp_path):
    rows = []
    for number in range(12):
        write_audio(tmp_path / f"{number}.wav", mixture())
        rows.append({"path": str(tmp_path / f"{number}.wav"), "id": str(number)})
    (tmp_path / "3.wav").write_bytes(b"")

    def diarizer(wav_S):
        return [*TURNS, Turn(3.0, 3.1, "cough")]

    result = run(Diarize(diarizer, tmp_path / "out"), rows, tmp_path / "out.jsonl")
    assert [bad["id"] for bad in result.bad] == ["3"]
    assert {row["main"] for row in result.rows} == {"A", "B"}
    row = next(row for row in result.rows if row["main"] == "B")
    assert row["speech"][0] == {"role": "user", "start": 0.0, "end": 1.0, "voice": "A"}
    left_S, right_S = read_audio(row["path"])
    assert not left_S[:20_000].any()
    assert right_S[:20_000].any()
    again = Diarize(diarizer, tmp_path / "again")(rows[:3])
    assert [r["main"] for r in again] == [r["main"] for r in result.rows[:3]]
    with pytest.raises(InputError, match="nobody speaks"):
        Diarize(lambda wav_S: [], tmp_path / "none")(rows[:1])


def test_recordings_of_one_name_are_kept_apart(tmp_path):
    rows = []
    for number in range(2):
        path = tmp_path / f"s{number}" / "0001.wav"
        path.parent.mkdir()
        write_audio(path, buzz(1.0 + number))
        rows.append({"path": str(path)})
    made = run(Diarize(lambda wav_S: [Turn(0, 1, "A")], tmp_path / "out"), rows, tmp_path / "out.jsonl").rows
    assert [read_audio(row["path"]).shape[1] for row in made] == [24_000, 48_000]


def test_the_missing_package_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "pyannote.audio", None)
    with pytest.raises(InputError, match="pip install pyannote.audio"):
        Pyannote()
