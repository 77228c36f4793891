"""The server as a process: what it prints, what it exits with, how it says goodbye."""

import asyncio
import os
import signal
import socket
import subprocess
import sys

import pytest

from duologue.errors import InputError
from duologue.serve.run import listen, read_keys
from tests.serve.server import PATIENCE, Heard, dial, get, read


class Process:
    """`duologue serve` on a port of its own."""

    def __init__(self, *options: str):
        self.process = subprocess.Popen(
            [sys.executable, "-W", "error", "-m", "duologue", "serve", "--port", "0", *options],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
        )
        assert self.process.stdout is not None
        self.greeting = self.process.stdout.readline()
        self.address = self.greeting.rsplit("//", 1)[-1].strip()


@pytest.fixture(scope="module")
def ended():
    """What a client heard of a server that was told to stop, the server's exit code, what it wrote, and what it said
    of its health meanwhile."""
    served = Process("--sessions", "1", "--drain", "2")

    def warned(heard: Heard) -> bool:
        return any(event["type"] == "warning" for event in heard.events)

    async def talk():
        async with dial(served, "events=1&format=pcm16") as link:
            heard = await read(link, Heard(), lambda heard: 0 in heard.kinds)
            served.process.send_signal(signal.SIGTERM)
            heard = await read(link, heard, warned)
            status, _ = await asyncio.to_thread(get, served, "/healthz")
            return await read(link, heard), status

    heard, status = asyncio.run(talk())
    _, errors = served.process.communicate(timeout=PATIENCE)
    return served, heard, errors, status


def test_it_prints_where_it_is(ended):
    assert "nano listens at http://localhost:" in ended[0].greeting


def test_sigterm_ends_conversations_with_a_goodbye_and_exit_code_0(ended):
    served, heard, errors, status = ended
    assert status == 503  # a load balancer sends nobody here any more
    assert served.process.returncode == 0, errors
    assert heard.event("warning")["reason"] == "shutdown"
    assert heard.event("end")["reason"] == "shutdown"
    assert "restarted" in heard.error
    assert heard.code == 1012


def test_the_log_is_one_json_object_a_line_without_what_was_said(ended):
    import json

    lines = [json.loads(line) for line in ended[2].splitlines()]
    end = next(line for line in lines if line["message"] == "conversation ends")
    assert end["reason"] == "shutdown"
    assert not {"text", "sound", "words"} & set().union(*lines)


def test_a_second_server_on_the_same_port_says_so(capsys):
    from duologue.cli import main

    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(SystemExit) as exit:
        main(["serve", "--port", str(taken.getsockname()[1])])
    assert exit.value.code == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "Name another with --port" in error


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--sessions", "0"], "--sessions must be at least 1"),
        (["--ssl-cert", "a.pem"], "go together"),
        (["--ssl-cert", "a.pem", "--ssl-key", "b.pem", "--port", "0"], "not a certificate"),
        (["--api-key-file", "none"], "cannot read the keys"),
        (["--model", "nowhere", "--port", "0"], "nowhere"),
        (["--host", "no.such.host.example", "--port", "0"], "cannot listen"),
    ],
)
def test_bad_options_are_one_line(options, message, capsys):
    from duologue.cli import main

    with pytest.raises(SystemExit) as exit:
        main(["serve", *options])
    assert exit.value.code == 2
    assert message in capsys.readouterr().err


def test_keys_are_lines(tmp_path):
    path = tmp_path / "keys"
    path.write_text("# people\none\n\n two \n")
    assert read_keys(path) == ("one", "two")
    path.write_text("# none\n")
    with pytest.raises(InputError, match="no key"):
        read_keys(path)


def test_a_port_can_be_listened_at_again_after_its_server_is_gone():
    first = listen("127.0.0.1", 0)
    port = first.getsockname()[1]
    first.close()
    listen("127.0.0.1", port).close()
