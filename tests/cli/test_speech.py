"""`duologue transcribe` and `duologue say`, as they are typed."""

import json
import os
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile

from duologue import cli
from duologue.audio.files import read_mono, write_audio
from duologue.cli import speech_commands
from duologue.weights.model import ASSETS
from tests.fake_sounddevice import Machine

QUESTION = str(ASSETS / "question.opus")


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    before = sorted(os.listdir())
    with pytest.raises(SystemExit) as exit:
        cli.main(list(arguments))
    out, err = capsys.readouterr()
    assert exit.value.code == 2
    assert out == ""
    assert err.startswith("duologue: ")
    assert err.count("\n") == 1
    assert sorted(os.listdir()) == before, "something was written"
    return err


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


class TestTranscribe:
    def test_the_text_comes_to_the_terminal(self, capsys: pytest.CaptureFixture[str]) -> None:
        cli.main(["transcribe", QUESTION])
        out = capsys.readouterr().out
        assert "capital" in out
        assert out == out.strip() + "\n"

    def test_each_form(self, capsys: pytest.CaptureFixture[str]) -> None:
        def printed(*flags: str) -> str:
            cli.main(["transcribe", QUESTION, *flags])
            return capsys.readouterr().out

        rows = [line.split("\t") for line in printed("--words").splitlines()]
        assert all(float(start) < float(end) and word for start, end, word in rows)
        report = json.loads(printed("--json"))
        assert report["file"] == QUESTION
        assert [w["word"] for w in report["words"]] == [word for _, _, word in rows]
        # A full stop that comes long after its word is in the text alone.
        assert report["text"].replace(".", "").split() == [word.strip(".") for _, _, word in rows]
        assert report["pauses"] == []
        assert printed("--srt").startswith("1\n00:00:")
        assert printed("--vtt").startswith("WEBVTT\n")

    def test_several_recordings_into_a_folder_or_one_after_the_other(
        self, capsys: pytest.CaptureFixture[str]
    ) -> None:
        question_S = read_mono(QUESTION)
        write_audio("a.wav", question_S)
        write_audio("b.flac", np.concatenate([np.zeros(4800, np.float32), question_S]))
        cli.main(["transcribe", "b.flac", "a.wav", "--out", "texts", "--srt"])
        assert sorted(os.listdir("texts")) == ["a.srt", "b.srt"]
        assert "capital" in Path("texts/a.srt").read_text()
        capsys.readouterr()
        cli.main(["transcribe", "b.flac", "a.wav"])
        lines = capsys.readouterr().out.splitlines()
        assert [line.split(": ")[0] for line in lines] == ["b.flac", "a.wav"]

    def test_a_damaged_recording_costs_itself_alone(self, capsys: pytest.CaptureFixture[str]) -> None:
        write_audio("a.wav", read_mono(QUESTION))
        Path("b.wav").write_bytes(b"RIFF no sound")
        refused(capsys, "transcribe", "a.wav", "b.wav")

    def test_a_recording_of_nothing(self, capsys: pytest.CaptureFixture[str]) -> None:
        soundfile.write("empty.wav", np.zeros(0), 24_000)
        assert "empty.wav has no samples" in refused(capsys, "transcribe", "empty.wav")

    def test_what_is_refused(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert "choose one" in refused(capsys, "transcribe", QUESTION, "--srt", "--json")
        assert "there is no file" in refused(capsys, "transcribe", "nothing.wav")
        assert "does not transcribe" in refused(capsys, "transcribe", QUESTION, "--model", "tiny")
        assert "--out" in refused(capsys, "transcribe", QUESTION, QUESTION, "--srt")
        assert "same name" in refused(capsys, "transcribe", QUESTION, QUESTION, "--out", "texts")
        assert "is a file" in refused(capsys, "transcribe", QUESTION, "--out", QUESTION)
        assert "name no recordings" in refused(capsys, "transcribe", QUESTION, "--live")
        assert "from 1 up" in refused(capsys, "transcribe", QUESTION, "--batch", "0")
        assert "for recordings" in refused(capsys, "transcribe", "--live", "--srt")
        assert "takes no prompt" in refused(capsys, "transcribe", QUESTION, "--prompt-audio", QUESTION)
        assert "--prompt-audio" in refused(capsys, "transcribe", QUESTION, "--prompt", "Loonah")

    def test_live_it_listens_until_it_is_stopped(
        self, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        machine = Machine()
        monkeypatch.setitem(sys.modules, "sounddevice", machine.module)
        heard = []

        class Stops(speech_commands._Printer):
            def add(self, one: speech_commands.Heard) -> None:
                heard.append(one)
                if len(heard) > 3:
                    raise KeyboardInterrupt
                super().add(one)

        monkeypatch.setattr(speech_commands, "_Printer", Stops)
        cli.main(["transcribe", "--live"])
        assert len(heard) > 3
        assert machine.streams[0].closed


class TestSay:
    def test_a_text_into_a_recording(self, capsys: pytest.CaptureFixture[str]) -> None:
        cli.main(["say", "Hello, how are you?", "hello.wav", "--json", "hello.json", "--srt", "hello.srt"])
        wav_S, report = read_mono("hello.wav"), json.loads(Path("hello.json").read_text())
        assert np.abs(wav_S).max() > 0.05
        assert report["text"] == "Hello, how are you?"
        assert report["seconds"] == pytest.approx(len(wav_S) / 24_000)
        assert report["first_sound_ms"] > 0
        assert [w["word"] for w in report["words"]] == ["Hello,", "how", "are", "you?"]
        assert "Hello, how are you?" in Path("hello.srt").read_text()
        assert capsys.readouterr().out == ""

    def test_text_that_comes_by_the_standard_input(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """It is spoken before all of it has come."""
        reading, writing = os.pipe()
        spoken_before_the_end = []
        inner = speech_commands._Saying.add

        def add(saying: speech_commands._Saying, spoken: speech_commands.Spoken) -> None:
            inner(saying, spoken)
            if saying.frames == 3:
                spoken_before_the_end.append(True)
                os.write(writing, "are you? Çafé.".encode())
                os.close(writing)

        monkeypatch.setattr(speech_commands._Saying, "add", add)
        os.write(writing, b"Hello, how ")
        with os.fdopen(reading) as stdin:
            monkeypatch.setattr(sys, "stdin", stdin)
            cli.main(["say", "hello.flac", "--json", "hello.json"])
        assert json.loads(Path("hello.json").read_text())["text"] == "Hello, how are you? Çafé."
        assert spoken_before_the_end

    @pytest.mark.parametrize("text", ["", " \n", '<break time="0.2s"/>', "... – 😀🎉 !"])
    def test_without_words_there_is_no_recording(
        self, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, text: str
    ) -> None:
        reading, writing = os.pipe()
        os.write(writing, text.encode())
        os.close(writing)
        with os.fdopen(reading) as stdin:
            monkeypatch.setattr(sys, "stdin", stdin)
            assert "has no words" in refused(capsys, "say", "a.wav")

    def test_aloud(self, monkeypatch: pytest.MonkeyPatch) -> None:
        machine = Machine()
        monkeypatch.setitem(sys.modules, "sounddevice", machine.module)
        began = time.monotonic()
        cli.main(["say", "Hello there."])
        assert np.abs(machine.played_S).max() > 0.05
        assert time.monotonic() - began > 0.5  # not faster than it is heard

    def test_what_is_refused(
        self, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        assert "into quotes" in refused(capsys, "say", "Hello", "there", "a.wav")
        assert "is empty" in refused(capsys, "say", " ", "a.wav")
        assert "0.5 to 2" in refused(capsys, "say", "Hello.", "a.wav", "--speed", "3")
        assert "has one voice" in refused(capsys, "say", "Hello.", "a.wav", "--voice", "b.wav")
        assert "has no guidance" in refused(capsys, "say", "Hello.", "a.wav", "--guidance", "2")
        assert "1 to 8 codebooks" in refused(capsys, "say", "Hello.", "a.wav", "--codebooks", "9")
        machine = Machine(missing="no device")
        monkeypatch.setitem(sys.modules, "sounddevice", machine.module)
        assert "no microphone and speaker" in refused(capsys, "say", "Hello.")

    def test_faster_is_shorter(self) -> None:
        for name, speed in (("slow", "0.6"), ("fast", "1.8")):
            cli.main(["say", "The capital of Poland is Warsaw.", f"{name}.wav", "--speed", speed])
        assert len(read_mono("fast.wav")) < len(read_mono("slow.wav"))
