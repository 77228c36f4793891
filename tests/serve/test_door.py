"""Connections that ask for nothing, ask slowly, or are too many."""

import asyncio
import contextlib
import errno
import http.client
import json
import logging
import resource
import socket
import subprocess
import sys
import time

import pytest
from websockets.exceptions import ConnectionClosed

from benchmarks.stranger import masked
from duologue.serve import door
from duologue.serve.link import Budget
from duologue.serve.run import _Seldom
from duologue.serve.settings import MESSAGES_BURST, PIECE, Settings
from tests.engine.virtual import noise
from tests.serve.server import PATIENCE, Heard, Server, dial, get, pcm, read, until

STRANGER = "127.0.0.2"  # an address of this machine that is no trusted proxy
LONG = 20_000


@pytest.fixture(scope="module")
def server():
    server = Server(Settings(sessions=2, queue=2))
    yield server
    server.close()


@pytest.fixture
def hasty(server, monkeypatch):
    monkeypatch.setattr(door, "REQUEST_SECONDS", 0.6)
    return server


@pytest.fixture
def narrow(server, monkeypatch):
    monkeypatch.setattr(server.uvicorn.servers[0], "_most", 12)
    monkeypatch.setattr(door, "FROM_ONE", 5)
    return server


def connect(server, source: str = "127.0.0.1", sent: bytes = b"") -> socket.socket:
    host, port = server.address.split(":")
    link = socket.create_connection((host, int(port)), PATIENCE, (source, 0))
    link.sendall(sent)
    return link


def said(link: socket.socket) -> bytes:
    """All that comes until the server closes."""
    data = b""
    with contextlib.suppress(ConnectionError):
        while piece := link.recv(1 << 16):
            data += piece
    link.close()
    return data


def healthy(server) -> bool:
    try:
        return get(server, "/healthz")[0] == 200
    except (ConnectionError, http.client.HTTPException):
        return False


GET = f"GET /api/status HTTP/1.1\r\nHost: localhost\r\nX: {'x' * 20}".encode()
POST = b"POST /v1/realtime/calls HTTP/1.1\r\nHost: localhost\r\nContent-Length: 900\r\n"
POST += b"Content-Type: application/sdp\r\n\r\n"


@pytest.mark.parametrize("sent", [b"", b"G", GET, POST + b"v=0"])
def test_a_request_that_does_not_come_is_not_waited_for(hasty, sent):
    began = time.monotonic()
    answer = said(connect(hasty, sent=sent))
    assert time.monotonic() - began >= 0.5
    if not sent.startswith(b"POST"):
        assert b"408" in answer.partition(b"\r\n")[0]
    until(lambda: not hasty.uvicorn.server_state.connections)


def test_a_request_that_comes_letter_by_letter_is_not_waited_for(hasty):
    link, began = connect(hasty), time.monotonic()
    with contextlib.suppress(ConnectionError):
        while time.monotonic() - began < 5:
            link.sendall(b"x")
            time.sleep(0.1)
    link.close()
    assert time.monotonic() - began < 4


def test_a_second_request_on_a_connection_has_its_own_time(hasty):
    link = http.client.HTTPConnection(hasty.address, timeout=PATIENCE)
    for _ in range(3):
        link.request("GET", "/healthz")
        response = link.getresponse()
        assert response.read()
        time.sleep(0.4)
    link.close()


def test_an_answer_that_is_not_taken_is_not_waited_for(server, monkeypatch):
    monkeypatch.setattr(door, "ANSWER_SECONDS", 0.5)
    page = b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n"
    link = socket.socket()
    link.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    host, port = server.address.split(":")
    link.connect((host, int(port)))
    began = time.monotonic()
    with contextlib.suppress(ConnectionError, TimeoutError):
        link.settimeout(0.2)
        while time.monotonic() - began < 5:
            link.sendall(page * 50)
    link.close()
    until(lambda: not server.uvicorn.server_state.connections, 10)


@pytest.mark.parametrize(
    "head",
    [f"GET /api/chat?auth_id={'x' * LONG} HTTP/1.1\r\nHost: localhost\r\n",
     f"GET /api/chat HTTP/1.1\r\nHost: localhost\r\nX: {'x' * LONG}\r\n",
     "GET /api/chat HTTP/1.1\r\nHost: localhost\r\n" + "".join(f"X{i}: x\r\n" for i in range(300))],
    ids=["line", "header", "headers"],
)  # fmt: skip
def test_an_upgrade_that_is_too_long_is_refused(server, head):
    head += "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
    head += "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    began = time.monotonic()
    assert b" 431 " in said(connect(server, sent=head.encode())).partition(b"\r\n")[0]
    assert time.monotonic() - began < 0.5
    until(lambda: not server.uvicorn.server_state.connections)


def test_one_address_has_few_connections(narrow):
    async def talk():
        async with dial(narrow, "format=pcm16") as link:
            await read(link, Heard(), lambda heard: 0 in heard.kinds)
            strangers = [connect(narrow, STRANGER) for _ in range(30)]
            assert healthy(narrow)  # who comes after them has its turn after them
            assert 2 <= len(narrow.uvicorn.server_state.connections) <= 1 + 5 + 1
            for stranger in strangers:
                stranger.close()

    asyncio.run(talk())
    until(lambda: not narrow.uvicorn.server_state.connections)


def test_when_there_is_no_room_those_who_ask_for_nothing_go_first(narrow):
    """All from an address that is trusted to speak for many."""

    async def talk():
        async with dial(narrow, "format=pcm16") as link:
            heard = await read(link, Heard(), lambda heard: 0 in heard.kinds)
            idle = [connect(narrow) for _ in range(40)]
            assert healthy(narrow)
            assert len(narrow.uvicorn.server_state.connections) <= 12
            count = len(heard.sound)
            await read(link, heard, lambda heard: len(heard.sound) > count + 5)
            for one in idle:
                one.close()

    asyncio.run(talk())


def test_who_is_turned_away_is_counted(narrow):
    async def talk():
        async with contextlib.AsyncExitStack() as stack:
            for _ in range(5):
                await stack.enter_async_context(dial(narrow, "format=pcm16", local_addr=(STRANGER, 0)))
            with pytest.raises((OSError, ConnectionClosed, EOFError, Exception)):
                await stack.enter_async_context(dial(narrow, local_addr=(STRANGER, 0)))

    before = narrow.service.metrics.refused.labels("connections")._value.get()
    asyncio.run(talk())
    assert narrow.service.metrics.refused.labels("connections")._value.get() == before + 1


def test_there_are_fewer_connections_than_files_that_may_be_open(monkeypatch):
    limits = {}
    monkeypatch.setattr(resource, "getrlimit", lambda _: (256, 512))
    monkeypatch.setattr(resource, "setrlimit", lambda _, value: limits.update(set=value))
    assert door.most_connections() == 512 - door.SPARE
    assert limits["set"] == (512, 512)
    monkeypatch.setattr(resource, "getrlimit", lambda _: (1 << 20, 1 << 20))
    assert door.most_connections() == door.CONNECTIONS


def test_while_nothing_can_be_accepted_it_is_tried_once_a_second(server, monkeypatch, caplog):
    async def no_files(_):
        raise OSError(errno.EMFILE, "Too many open files")

    loop = server.uvicorn.servers[0].loop
    monkeypatch.setattr(loop, "sock_accept", no_files, raising=False)
    host, port = server.address.rsplit(":", 1)
    socket.create_connection((host, int(port))).close()  # the one that is waited for already
    until(lambda: sum("no connection" in text for text in caplog.messages) == 2)
    monkeypatch.undo()
    assert healthy(server)
    assert sum("no connection" in text for text in caplog.messages) <= 4


@pytest.mark.slow
def test_a_machine_without_files_left_says_so_once_a_second():
    """A server whose process may open few files, and more connections than that."""
    script = (
        "import resource; resource.setrlimit(resource.RLIMIT_NOFILE, (48, 48))\n"
        "from duologue.serve import door; door.SPARE, door.CONNECTIONS = -1000, 1000\n"
        "from duologue.cli import main; main(['serve', '--model', 'tiny', '--port', '0'])\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    host, port = process.stdout.readline().rsplit("//", 1)[-1].strip().split(":")
    links = [socket.create_connection((host.replace("localhost", "127.0.0.1"), int(port))) for _ in range(90)]
    time.sleep(2.5)
    for link in links:
        link.close()
    process.terminate()
    _, errors = process.communicate(timeout=PATIENCE)
    lines = [json.loads(line) for line in errors.splitlines()]
    assert 2 <= sum("no connection can be accepted" in line["message"] for line in lines) <= 5
    assert len(lines) < 15
    assert process.returncode == 0


def test_what_a_library_says_is_logged_once_a_second():
    seldom = _Seldom()

    def record(name: str, level: int, line: int) -> logging.LogRecord:
        return logging.LogRecord(name, level, "file.py", line, "text", None, None)

    assert [seldom.filter(record("asyncio", logging.ERROR, 1)) for _ in range(3)] == [True, False, False]
    assert seldom.filter(record("asyncio", logging.ERROR, 2))
    assert all(seldom.filter(record("duologue.serve.pool", logging.INFO, 1)) for _ in range(3))


CHAT = b"/api/chat?format=pcm16&events=1"
UPGRADE = (
    b"GET " + CHAT + b" HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n"
    b"Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
    b"Sec-WebSocket-Version: 13\r\n\r\n"
)
MANY = int(1.2 * MESSAGES_BURST)
FRAMES = PIECE // 6 + 1  # the smallest there are, that can be in what is read at once


@pytest.mark.parametrize(
    ("path", "frame", "at_once"),
    [(CHAT, b"\x89\x80abcd", FRAMES), (CHAT, b"\x8a\x80abcd", FRAMES), (CHAT, b"\x00\x80abcd", FRAMES),
     (CHAT, b"\x82\x80abcd", 3), (CHAT, b"\x82\x81abcd\x00", 3), (CHAT, b"\x81\x81abcd\x00", 3),
     (b"/v1/twilio", masked(0x81, b'{"event": "mark"}'), 3)],
    ids=["pings", "pongs", "pieces", "empty", "unknown", "text", "twilio"],
)  # fmt: skip
def test_messages_that_are_no_sound_are_counted_and_others_have_their_turn(
    server, monkeypatch, path, frame, at_once
):
    """A stranger sends as many as it can: how many are worked on before something else is."""
    loop, counted, take = server.uvicorn.servers[0].loop, [0], Budget.take

    def counting(self, cost=1.0):
        counted[-1] += 1
        return take(self, cost)

    def something_else():
        if not done:
            counted.append(0)
            loop.call_soon(something_else)

    said = b"too many" if path == CHAT else b"flood"  # a telephone is only told why it ends
    done = False
    monkeypatch.setattr(Budget, "take", counting)
    link = connect(server, STRANGER, UPGRADE.replace(CHAT, path))
    assert b" 101 " in link.recv(1000)
    loop.call_soon_threadsafe(something_else)
    first = b"\x02\x80abcd" if frame[0] == 0 else b""
    with contextlib.suppress(ConnectionError):
        link.sendall(first + frame * MANY)
    data = b""
    with contextlib.suppress(ConnectionError):
        while said not in data.lower() and (piece := link.recv(1 << 16)):
            data += piece
    link.close()
    done = True
    assert said in data.lower()
    assert 0 < max(counted) <= at_once
    until(lambda: not server.uvicorn.server_state.connections)


@pytest.fixture(autouse=True)
def forgiven(server):
    yield
    server.uvicorn.servers[0]._shunned.clear()


@pytest.mark.parametrize(
    "frame",
    [b"\x89\x80abcd", b"\x82\x80abcd", b"\x82\xfe\xff\xff\0\0\0\0" + b"\x01" * 65535],
    ids=["frames", "messages", "sound"],
)
def test_an_address_that_floods_the_server_is_not_let_in_for_a_while(server, monkeypatch, frame):
    monkeypatch.setattr(door, "BLOCKED_SECONDS", 1.5)

    def flood(source: str) -> None:
        link = connect(server, source, UPGRADE)
        assert b" 101 " in link.recv(1000)
        with contextlib.suppress(ConnectionError):
            for _ in range(40):
                link.sendall(frame * (MANY // 20 if len(frame) < 10 else 1))
        data = b""
        with contextlib.suppress(ConnectionError):
            while not (b"flood" in data or b"too many" in data) and (piece := link.recv(1 << 16)):
                data += piece
        link.close()

    def let_in(source: str) -> bool:
        with contextlib.closing(connect(server, source)) as link, contextlib.suppress(ConnectionError):
            link.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
            return link.recv(100) != b""
        return False

    flood(STRANGER)
    assert not let_in(STRANGER)
    assert let_in("127.0.0.3")
    until(lambda: let_in(STRANGER), 5)
    flood("127.0.0.1")  # a trusted proxy, which speaks for many
    assert let_in("127.0.0.1")


@pytest.mark.parametrize("told", [True, False], ids=["flood", "another reason"])
def test_who_is_told_to_go_and_sends_on_is_cut_off(server, monkeypatch, told):
    """Each message of a peer that stays costs time of all others, also when it is thrown away."""
    if not told:
        monkeypatch.setattr(door.Socket, "_shun", lambda self: None)
    began = time.monotonic()
    with contextlib.closing(connect(server, STRANGER, UPGRADE)) as link:
        assert b" 101 " in link.recv(1000)
        link.settimeout(0.01)
        with pytest.raises((BrokenPipeError, ConnectionResetError)):
            while time.monotonic() - began < 9:
                with contextlib.suppress(TimeoutError):
                    link.sendall(b"\x82\x80abcd" * 1000)
    assert time.monotonic() - began < 6


def test_one_who_starts_over_all_the_time_is_ended(server):
    async def talk():
        async with dial(server, "format=pcm16&events=1") as link:
            heard = await read(link, Heard(), lambda heard: 0 in heard.kinds)
            await link.send(b"\x01" + pcm(noise(1)))
            with contextlib.suppress(ConnectionClosed):
                for _ in range(20):
                    await link.send(b"\x03\x03")
            return await read(link, heard)

    heard = asyncio.run(talk())
    assert heard.code == 1008
    assert "too often" in heard.error
    assert sum(event["type"] == "start" for event in heard.events) <= 8
