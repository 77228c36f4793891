"""`install.py`, with a pip that only writes down what it is asked."""

import importlib.util
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

PATH = Path(__file__).parents[1] / "install.py"
spec = importlib.util.spec_from_file_location("install", PATH)
assert spec and spec.loader
install = importlib.util.module_from_spec(spec)
spec.loader.exec_module(install)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The commands that were run; torch is not there yet, and PyTorch's index cannot be reached."""
    commands: list[list[str]] = []

    def call(command: list[str], **_: object) -> int:
        commands.append(command)
        return int("--index-url" in command or command[1] == "-c")

    monkeypatch.setattr(install.subprocess, "call", call)
    return commands


def test_cpu_build_first_where_there_is_no_gpu(asked, monkeypatch, capsys) -> None:
    monkeypatch.setattr(install, "wants_cpu_build", lambda: True)
    assert install.main(["--here", "serve", "mic"]) == 0
    _, first, last = asked
    assert install.CPU_INDEX in first and first[-2:] == ["--retries", "0"]
    assert any(argument.startswith("torch==") for argument in first)
    assert last[-3:] == [".[serve,mic]", "-c", "constraints.txt"]
    assert "cannot be reached" in capsys.readouterr().out


def test_usual_build_where_there_is_one(asked, monkeypatch) -> None:
    monkeypatch.setattr(install, "wants_cpu_build", lambda: False)
    assert install.main(["--here"]) == 0
    assert not any(install.CPU_INDEX in command for command in asked)


@pytest.mark.parametrize(
    ("platform", "driver", "wanted"),
    [
        ("linux", None, True),
        ("linux", "/usr/bin/nvidia-smi", False),
        ("win32", None, False),
        ("darwin", None, False),
    ],
)
def test_who_wants_the_cpu_build(platform: str, driver: str | None, wanted: bool, monkeypatch) -> None:
    monkeypatch.setattr(install.sys, "platform", platform)
    monkeypatch.setattr(install.shutil, "which", lambda _: driver)
    monkeypatch.setattr(install.Path, "exists", lambda _: False)
    assert install.wants_cpu_build() is wanted


def test_an_environment_that_was_left_half_made_is_made_whole(asked, monkeypatch, tmp_path: Path) -> None:
    made = []
    monkeypatch.setattr(install, "VENV", tmp_path)
    monkeypatch.setattr(install.venv, "create", lambda folder, with_pip: made.append((folder, with_pip)))
    (tmp_path / "pyvenv.cfg").touch()
    assert install.main([]) == 0  # nothing can be imported: `asked`
    assert made == [(tmp_path, True)]


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGINT for a process alone")
def test_ctrl_c_ends_with_a_line(tmp_path: Path) -> None:
    """Also while its pip runs, which is interrupted too."""
    shutil.copy(PATH, tmp_path)
    (tmp_path / "constraints.txt").touch()
    (tmp_path / ".venv" / "bin").mkdir(parents=True)
    python = tmp_path / ".venv" / "bin" / "python"
    python.write_text("#!/bin/sh\ncase $* in *torch*|*pip\\ *) sleep 30;; esac\n")
    python.chmod(0o755)
    command = [sys.executable, "-u", tmp_path / "install.py"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as running:
        assert running.stdout and running.stdout.readline().startswith("Installing")
        os.killpg(running.pid, signal.SIGINT)
        _, said = running.communicate(timeout=20)
    assert running.returncode == 130
    assert said.strip().splitlines() == ["Interrupted: the same command goes on."]
