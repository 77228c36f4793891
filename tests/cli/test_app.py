import contextlib
import json
import math
import os
import signal
import subprocess
import sys

import numpy as np
import pytest
import soundfile
import torch

import duologue
from duologue.audio import files
from duologue.audio.files import read_audio, write_audio
from duologue.cli import app as cli
from duologue.cli import commands
from duologue.engine.options import Options
from duologue.errors import InputError
from duologue.eval import picture
from duologue.types import AGENT, USER
from tests.engine.virtual import listening

COMMAND = [sys.executable, "-W", "error", "-m", "duologue"]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A working folder with a recording in it."""
    monkeypatch.chdir(tmp_path)
    soundfile.write("in.wav", 0.1 * np.random.default_rng(0).standard_normal(16_000), 16_000)
    return tmp_path


def command(*arguments, **options) -> subprocess.CompletedProcess:
    return subprocess.run([*COMMAND, *arguments], capture_output=True, text=True, timeout=240, **options)


def complaint(capsys, *arguments: str) -> str:
    """The one line that `arguments` are answered with."""
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


class TestHelp:
    def test_help_has_examples_and_every_verb(self):
        help = command("--help").stdout
        assert "duologue talk question.wav answer.wav" in help
        for verb in ("info", "encode", "decode", "talk"):
            assert verb in help

    def test_help_of_a_verb_has_its_defaults(self):
        help = command("talk", "--help").stdout
        for flag in ("--model", "--seed", "--greedy", "--stereo", "--json", "--tail", "15"):
            assert flag in help

    def test_it_starts_without_the_heavy_packages(self):
        code = (
            "import sys; from duologue.cli import main\n"
            "try: main(['talk', '--help'])\n"
            "except SystemExit: pass\n"
            "print(sorted({'torch', 'numpy', 'soundfile', 'huggingface_hub'} & set(sys.modules)))"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=240)
        assert done.stdout.splitlines()[-1] == "[]"

    def test_version(self):
        assert command("--version").stdout == f"duologue {duologue.__version__}\n"

    @pytest.mark.parametrize("arguments", [["sing"], ["talk", "in.wav"], ["talk", "a", "b", "--seed", "x"]])
    def test_a_usage_error_exits_with_2(self, arguments):
        done = command(*arguments)
        assert done.returncode == 2
        assert done.stdout == ""
        assert "Traceback" not in done.stderr


class Failing:
    """A verb that ends as it is told."""

    def __init__(self, error: BaseException):
        self.error = error

    def run(self):
        raise self.error


class TestMain:
    @pytest.mark.parametrize(
        ("error", "code", "line"),
        [
            (InputError("no such thing:\n  use another"), 2, "duologue: no such thing: use another\n"),
            (OSError(28, "No space left on device"), 2, "duologue: No space left on device\n"),
            (PermissionError(13, "Permission denied", "/x"), 2, "duologue: /x: Permission denied\n"),
            (KeyboardInterrupt(), 130, ""),
        ],
    )
    def test_what_ends_a_verb_is_told_in_a_line(self, monkeypatch, capsys, error, code, line):
        monkeypatch.setattr(cli.tyro, "cli", lambda *_, **__: Failing(error))
        with pytest.raises(SystemExit) as exit:
            cli.main([])
        assert exit.value.code == code
        assert capsys.readouterr().err == line

    def test_a_fault_of_ours_keeps_its_traceback(self, monkeypatch):
        monkeypatch.setattr(cli.tyro, "cli", lambda *_, **__: Failing(ZeroDivisionError()))
        with pytest.raises(ZeroDivisionError):
            cli.main([])

    @pytest.mark.parametrize("arguments", ["--help", "--version"])
    def test_a_reader_that_has_gone_is_no_fault(self, arguments):
        pipe = f"{sys.executable} -m duologue {arguments} | true; exit ${{PIPESTATUS[0]}}"
        buffered = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
        done = subprocess.run(["bash", "-c", pipe], env=buffered, capture_output=True, text=True, timeout=240)
        assert done.returncode in (0, 1)
        assert done.stderr == ""

    def test_on_a_terminal_there_is_a_bar_and_ctrl_c_leaves_nothing_behind(self, folder):
        soundfile.write("long.wav", np.zeros(24_000 * 600, np.int16), 24_000)
        terminal, its_end = os.openpty()
        running = subprocess.Popen(
            [*COMMAND, "encode", "long.wav", "out.npz"],
            stderr=its_end,
            stdout=subprocess.PIPE,
            # A suite that runs in the background may have been told to ignore Ctrl-C, and its children inherit it.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )
        os.close(its_end)
        shown = ""
        while "encoding" not in shown:
            shown += os.read(terminal, 4096).decode()
        running.send_signal(signal.SIGINT)
        with contextlib.suppress(OSError):  # the terminal's way to say that the other end is closed
            while more := os.read(terminal, 4096):
                shown += more.decode()
        assert running.communicate(timeout=240)[0] == b""
        assert running.returncode == 130
        assert "Traceback" not in shown
        assert sorted(os.listdir()) == ["in.wav", "long.wav"]


class TestBadInput:
    @pytest.mark.parametrize(
        "name", ["empty.wav", "text.wav", "nothing.wav", "cut.wav", "absent.wav", "folder"]
    )
    @pytest.mark.parametrize(("verb", "target"), [("talk", "out.wav"), ("encode", "out.npz")])
    def test_what_is_no_recording(self, folder, capsys, name, verb, target):
        whole = (folder / "in.wav").read_bytes()
        (folder / "folder").mkdir()
        (folder / "empty.wav").write_bytes(b"")
        (folder / "text.wav").write_text("no sound at all")
        (folder / "cut.wav").write_bytes(whole[: len(whole) // 2])
        soundfile.write("nothing.wav", np.zeros(0), 24_000)
        assert name in complaint(capsys, verb, name, target)

    @pytest.mark.parametrize(
        "name", ["empty.npz", "text.npz", "cut.npz", "shape.npz", "absent.npz", "in.wav"]
    )
    def test_what_is_no_file_of_codes(self, folder, capsys, name):
        arrays = {"sample_rate": 24_000, "frame_rate": 12.5, "model": "tiny"}
        np.savez("whole.npz", codes=np.zeros((8, 3), int), **arrays)
        np.savez("shape.npz", codes=np.zeros(8, int), **arrays)
        (folder / "empty.npz").write_bytes(b"")
        (folder / "text.npz").write_text("no codes at all")
        (folder / "cut.npz").write_bytes((folder / "whole.npz").read_bytes()[:200])
        assert name in complaint(capsys, "decode", name, "out.wav")

    @pytest.mark.parametrize(
        "codes", [np.zeros((99, 3), int), np.full((8, 3), 30_000)], ids=["codebooks", "entries"]
    )
    def test_codes_of_another_codec(self, folder, capsys, codes):
        np.savez("x.npz", codes=codes, sample_rate=24_000, frame_rate=12.5, model="tiny")
        assert "codebooks" in complaint(capsys, "decode", "x.npz", "out.wav")

    @pytest.mark.parametrize(
        ("arguments", "expected"),
        [
            (["talk", "in.wav", "out.xyz"], "must end in"),
            (["talk", "in.wav", "absent/out.wav"], "no folder"),
            (["talk", "in.wav", "in.wav"], "the recording itself"),
            (["talk", "in.wav", "out.wav", "--json", "absent/out.json"], "no folder"),
            (["talk", "in.wav", "out.wav", "--tail", "-1"], "--tail"),
            (["talk", "in.wav", "out.wav", "--tail", "nan"], "--tail"),
            (["talk", "in.wav", "out.wav", "--model", "absent"], "absent"),
            (["encode", "in.wav", "out.wav"], "must end in .npz"),
            (["encode", "in.wav", "out.npz", "--model", "absent"], "absent"),
            (["decode", "in.npz", "out.txt"], "must end in"),
            (["info", "absent"], "absent"),
        ],
    )
    def test_what_cannot_be_written_or_loaded(self, folder, capsys, arguments, expected):
        assert expected in complaint(capsys, *arguments)


class TestVerbs:
    def test_no_verb_takes_a_whole_recording_into_memory(self, folder, monkeypatch):
        """Hours of it would not fit."""
        soundfile.write("talk.wav", 0.1 * np.random.default_rng(0).standard_normal((24_000, 2)), 24_000)
        (folder / "talk.json").write_text('{"alignments": []}')
        (folder / "set.jsonl").write_text('{"path": "talk.wav"}')
        monkeypatch.setattr(files, "MOST_IN_MEMORY", 4096)
        with pytest.raises(InputError, match="too long"):
            read_audio("talk.wav")
        cli.main(["encode", "talk.wav", "codes.npz", "--model", "tiny"])
        cli.main(["talk", "talk.wav", "out.wav", "--model", "tiny", "--tail", "0", "--stereo"])
        cli.main(["data", "encode", "set.jsonl", "out", "--model", "tiny"])
        assert (folder / "out" / "shards" / "000000.tar").exists()

    def test_talk_writes_the_answer_and_what_was_said(self, folder, capsys):
        flags = ["--json", "out.json", "--tail", "0.5", "--seed", "3", "--model", "tiny"]
        cli.main(["talk", "in.wav", "out.wav", *flags])
        said = json.loads((folder / "out.json").read_text())
        out, err = capsys.readouterr()
        assert "".join(out.split()) == "agent:" + "".join(said["text"].split())
        assert err == ""
        assert set(said) == {"model", "seed", "frames", "text", "words", "frame_ms"}
        assert set(said["frame_ms"]) == {"p50", "p99", "max"}
        assert (said["model"], said["seed"]) == ("tiny", 3)
        assert all(set(word) == {"word", "start", "end"} for word in said["words"])
        answer = soundfile.info("out.wav")
        assert (answer.samplerate, answer.channels) == (24_000, 1)
        assert answer.frames >= 24_000

    def test_a_model_that_listens_writes_the_words_of_both_and_draws_them(self, folder, monkeypatch, capsys):
        pytest.importorskip("matplotlib")
        drawn = []
        monkeypatch.setattr(commands, "load", lambda *_, **__: listening())
        monkeypatch.setattr(commands, "draw_conversation", lambda *what: drawn.append(what) or draw(*what))
        draw = picture.draw_conversation
        cli.main(["talk", "in.wav", "out.wav", "--json", "out.json", "--png", "out.png", "--tail", "0"])
        said = json.loads((folder / "out.json").read_text())
        _, agent_S, user_S, words = drawn[0]
        assert (folder / "out.png").read_bytes()[:4] == b"\x89PNG"
        assert agent_S.size == user_S.size >= 24_000 + 1920
        assert user_S[:24_000].any() and not user_S[24_000:].any()
        for who, shown in ((AGENT, said["words"]), (USER, said["user"]["words"])):
            assert [w.text for w in words if w.speaker == who] == [w["word"] for w in shown] != []
        said_as_it_came = capsys.readouterr().out
        assert "you: " in said_as_it_came and "agent: " in said_as_it_came
        monkeypatch.setattr(picture, "find_spec", lambda name: None)
        assert "duologue[plot]" in complaint(capsys, "talk", "in.wav", "out.wav", "--png", "out.png")

    def test_the_seed_decides(self, folder):
        for name, *flags in [("a.wav",), ("b.wav",), ("c.wav", "--seed", "1"), ("d.wav", "--greedy")]:
            cli.main(["talk", "in.wav", name, "--tail", "0", "--model", "tiny", *flags])
        a, b, c, d = ((folder / f"{name}.wav").read_bytes() for name in "abcd")
        assert a == b
        assert len({a, c, d}) == 3

    def test_stereo_has_the_agent_left_and_the_user_right(self, folder):
        cli.main(["talk", "in.wav", "mono.wav", "--tail", "0"])
        cli.main(["talk", "in.wav", "both.wav", "--tail", "0", "--stereo"])
        both_2S, agent_S, user_S = read_audio("both.wav"), read_audio("mono.wav")[0], read_audio("in.wav")[0]
        assert both_2S.shape[0] == 2
        np.testing.assert_allclose(both_2S[0, : agent_S.size], agent_S, atol=1e-4)
        np.testing.assert_allclose(both_2S[1, : user_S.size], user_S, atol=1e-4)

    @pytest.mark.parametrize(
        ("rate", "channels", "samples"),
        [(8_000, 1, 1), (11_025, 2, 5_000), (44_100, 1, 30_000), (48_000, 2, 3_840), (96_000, 6, 999)],
    )
    def test_any_recording_will_do(self, folder, rate, channels, samples):
        wav_SC = np.random.default_rng(0).standard_normal((samples, channels)).astype(np.float32)
        wav_SC[samples // 2 :: 7] = np.nan
        soundfile.write("odd.wav", wav_SC, rate, "FLOAT")
        frames = math.ceil(math.ceil(samples * 24_000 / rate) / 1920)
        cli.main(["encode", "odd.wav", "odd.npz"])
        with np.load("odd.npz") as arrays:
            assert arrays["codes"].shape == (8, frames)
            assert arrays["codes"].min() >= 0
            assert (arrays["sample_rate"], arrays["frame_rate"], arrays["model"]) == (24_000, 12.5, "nano")
        cli.main(["decode", "odd.npz", "again.wav"])
        assert soundfile.info("again.wav").frames == frames * 1920
        cli.main(["talk", "odd.wav", "answer.wav", "--tail", "0"])
        assert soundfile.info("answer.wav").frames >= frames * 1920

    def test_info_tells_sizes_and_rates(self, capsys):
        cli.main(["info", "tiny"])
        out = capsys.readouterr().out
        for expected in ("tiny", "parameters", "sample_rate", "24000", "frame_rate", "12.5"):
            assert expected in out


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["talkk"], "there is no `duologue talkk`: did you mean `duologue talk`?"),
        (["data", "synt", "x"], "there is no `duologue data synt`: did you mean `duologue data synth`?"),
        (["xyzzy"], "there is no `duologue xyzzy`: there are info, encode, decode"),
        (["serve", "--port", "99999"], "--port is a number from 0 to 65535, not 99999"),
        (["talk", "a.wav", "b.wav", "--device", "mps"], "--device mps: PyTorch finds no such device here"),
    ],
)
def test_a_slip_is_told_in_a_line(arguments: list[str], line: str, capsys, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    write_audio("a.wav", np.zeros(100))
    with pytest.raises(SystemExit) as stopped:
        cli.main(arguments)
    assert stopped.value.code == 2
    assert line in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [[], ["data"], ["train"], ["eval"], ["bench"]])
def test_a_verb_alone_shows_its_help(arguments: list[str], capsys) -> None:
    with pytest.raises(SystemExit) as stopped:
        cli.main(arguments)
    assert stopped.value.code == 0
    assert capsys.readouterr().out.startswith(" ".join(["usage: duologue", *arguments]))


@pytest.mark.parametrize(
    ("cuda", "mps", "device"), [(True, False, "cuda"), (False, True, "mps"), (False, False, "cpu")]
)
def test_a_gpu_is_used_where_there_is_one(cuda: bool, mps: bool, device: str, monkeypatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)
    assert Options().torch_device() == device
    assert Options(device="cpu").torch_device() == "cpu"
