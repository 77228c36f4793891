import numpy as np
import pytest

from duologue.audio.files import read_mono, write_audio
from duologue.cli import main
from duologue.cli.client import chat_url
from duologue.errors import InputError
from duologue.serve.settings import Settings
from duologue.weights import load
from tests.engine.virtual import EchoBackend, noise
from tests.serve.server import Server


def test_a_recording_is_answered(tmp_path, capsys):
    heard = load("tiny").tokenizer.encode("two and two")
    server = Server(Settings(sessions=1, keys=("secret",)), EchoBackend(1, heard=heard))
    write_audio(tmp_path / "in.wav", noise(8).ravel())
    files = ["--in", str(tmp_path / "in.wav"), "--out", str(tmp_path / "out.wav"), "--tail", "0.5"]
    try:
        main(["call", server.address, *files, "--api-key", "secret"])
        with pytest.raises(SystemExit) as exit:
            main(["call", server.address, *files])
        assert exit.value.code == 2
    finally:
        server.close()
    answer_S = read_mono(tmp_path / "out.wav")
    assert answer_S.size >= 8 * 1920
    assert np.abs(answer_S).max() > 0.05  # the echo
    assert capsys.readouterr().out == "you: two and two\n"


def test_no_server_is_one_line(tmp_path, capsys):
    write_audio(tmp_path / "in.wav", noise(1).ravel())
    with pytest.raises(SystemExit):
        main(["call", "127.0.0.1:9", "--in", str(tmp_path / "in.wav"), "--out", str(tmp_path / "out.wav")])
    assert capsys.readouterr().err.count("\n") == 1
    assert not (tmp_path / "out.wav").exists()


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("localhost:8998", "ws://localhost:8998/api/chat?events=1"),
        ("https://talk.example.com/", "wss://talk.example.com/api/chat?events=1"),
        ("http://host/prefix", "ws://host/prefix/api/chat?events=1"),
        ("wss://host/api/chat?text_seed=1", "wss://host/api/chat?text_seed=1&events=1"),
    ],
)
def test_addresses(url, expected):
    assert chat_url(url) == expected


@pytest.mark.parametrize("url", ["ftp://host", "http://"])
def test_what_is_no_address(url):
    with pytest.raises(InputError, match="not the address"):
        chat_url(url)
