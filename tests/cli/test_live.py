"""Conversations with a made-up microphone and speaker, in the process and through a server."""

import io
import sys
import threading
from types import SimpleNamespace

import numpy as np
import pytest
from rich.console import Console

from duologue.cli import main
from duologue.cli.live import talk
from duologue.cli.screen import Screen
from duologue.serve.settings import Settings
from duologue.weights import load
from tests.engine.virtual import EchoBackend, listening
from tests.fake_sounddevice import Machine
from tests.serve.server import Server, until


@pytest.fixture
def machine(monkeypatch):
    machine = Machine()
    monkeypatch.setitem(sys.modules, "sounddevice", machine.module)
    return machine


def loud(machine: Machine) -> bool:
    return bool(np.abs(machine.played_S).max() > 0.005)


def test_the_model_in_this_process_is_heard(machine, capsys):
    tiny, stop = load("tiny"), threading.Event()
    done = threading.Thread(target=talk, args=(tiny, tiny.sampling, stop))
    done.start()
    until(lambda: loud(machine) and machine.played_S.size > 24_000)
    stop.set()
    done.join(60)
    assert not done.is_alive()
    assert not any(thread.name == "duologue-engine" for thread in threading.enumerate())
    out = capsys.readouterr().out
    assert "headphones" in out
    assert len(out.splitlines()) > 1  # captions


def test_a_server_is_called_until_it_ends(machine, capsys):
    heard = load("tiny").tokenizer.encode("two and two")
    server = Server(Settings(sessions=1, time_limit=2.5), EchoBackend(1, heard=heard))
    try:
        main(["call", server.address])
    finally:
        server.close()
    wav_S = machine.played_S
    spectrum = np.abs(np.fft.rfft(wav_S * np.hanning(wav_S.size)))
    assert np.argmax(spectrum) * 24_000 / wav_S.size == pytest.approx(300, abs=5)  # its echo
    out = capsys.readouterr().out
    assert "headphones" in out
    assert "The server ends the conversation" in out
    assert "you: two and two" in out


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [(["talk"], "duologue serve"), (["call", "localhost:1"], "open localhost:1 in a browser")],
)
def test_without_devices_one_line_offers_the_page(monkeypatch, capsys, arguments, hint):
    monkeypatch.setitem(
        sys.modules, "sounddevice", Machine(missing="No Default Input Device Available").module
    )
    with pytest.raises(SystemExit) as exit:
        main(arguments)
    assert exit.value.code == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "No Default Input Device Available" in error
    assert hint in error


@pytest.mark.parametrize(
    "arguments", [["talk", "question.wav"], ["call", "localhost:1", "--in", "question.wav"]]
)
def test_half_a_pair_of_files_is_a_mistake(capsys, arguments):
    with pytest.raises(SystemExit) as exit:
        main(arguments)
    assert exit.value.code == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_the_screen_shows_captions_turn_by_turn_and_the_figures(monkeypatch):
    clock = iter(np.arange(0, 100, 0.5))
    monkeypatch.setattr("duologue.cli.screen.time", SimpleNamespace(monotonic=lambda: next(clock)))
    console = Console(file=io.StringIO(), force_terminal=True, width=60, record=True, highlight=False)
    with Screen(console) as screen:
        for piece in (" one", " two", "", "", "", "", " three"):
            screen.say("agent", piece)
        screen.figures("answer 20 ms after a frame")
        assert "answer 20 ms" in screen.__rich__().renderables[-1].plain
    lines = [line.strip() for line in console.export_text().splitlines()]
    assert "agent: one two" in lines
    assert "agent: three" in lines


def test_the_screen_keeps_the_words_of_two_who_speak_at_once_apart(monkeypatch):
    """In the order in which they began, the first of them above while it goes on."""
    clock = iter(np.arange(0, 100, 0.5))
    monkeypatch.setattr("duologue.cli.screen.time", SimpleNamespace(monotonic=lambda: next(clock)))
    console = Console(file=io.StringIO(), width=60, highlight=False)
    with Screen(console, hint="") as screen:
        for who, piece in (
            ("agent", " one"),
            ("you", " uh"),
            ("agent", " two"),
            ("you", "huh"),
            ("agent", ""),
        ):
            screen.say(who, piece)
        assert console.file.getvalue() == ""
        for _ in range(2):
            screen.say("agent", "")
        assert console.file.getvalue() == "agent: one two\n"
        screen.say("you", " well")
    assert console.file.getvalue().splitlines() == ["agent: one two", "you: uhhuh", "you: well"]


def test_both_are_shown_in_a_conversation_in_this_process(machine, capsys):
    model, stop = listening(), threading.Event()
    done = threading.Thread(target=talk, args=(model, model.sampling, stop))
    done.start()
    until(lambda: machine.played_S.size > 72_000)
    stop.set()
    done.join(60)
    lines = capsys.readouterr().out.splitlines()
    assert any(line.startswith("you: ") for line in lines)
    assert any(line.startswith("agent: ") for line in lines)
