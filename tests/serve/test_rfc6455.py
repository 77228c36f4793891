"""What a peer may send below the level of messages: RFC 6455, frame by frame, over a plain socket."""

import contextlib
import itertools
import os
import socket
import struct

import numpy as np
import pytest

from duologue.serve.settings import MESSAGE, Settings
from tests.serve.server import PATIENCE, Server, until

TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10
CONTROL = (CLOSE, PING, PONG)
GOES_ON = None
TOO_BIG = (1009, 1006)  # the close frame may be lost where more is still being sent
HELLO = b"still there?"


@pytest.fixture(scope="module")
def server():
    server = Server(Settings(sessions=8, queue=8))
    yield server
    until(lambda: server.service.engine.used == 0)
    server.close()


def frame(opcode, payload=b"", fin=1, rsv=0, masked=True, length=None, wide=None) -> bytes:
    """A frame; `length` and the width of its field may be other than those of the payload."""
    length = len(payload) if length is None else length
    wide = (0 if length < 126 else 2 if length < 1 << 16 else 8) if wide is None else wide
    head = bytes(
        [fin << 7 | rsv << 4 | opcode, masked << 7 | (length if not wide else 126 if wide == 2 else 127)]
    )
    head += length.to_bytes(wide, "big") if wide else b""
    mask = b"\x12\x34\x56\x78"
    if masked:
        payload = bytes(byte ^ mask[i % 4] for i, byte in enumerate(payload))
    return head + mask * masked + payload


def upgrade(server, path="/api/chat?format=pcm16", extra="") -> socket.socket:
    host, port = server.address.split(":")
    link = socket.create_connection((host, int(port)), PATIENCE)
    link.sendall(
        f"GET {path} HTTP/1.1\r\nHost: {server.address}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n{extra}\r\n".encode()
    )
    reply = b""
    while b"\r\n\r\n" not in reply:
        reply += link.recv(1)
    assert b" 101 " in reply, reply
    assert b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" in reply
    assert b"permessage-deflate" not in reply
    return link


class Frames:
    """What the server sends, frame by frame."""

    def __init__(self, link: socket.socket):
        self.link, self.data = link, b""

    def take(self, size: int) -> bytes:
        while len(self.data) < size:
            more = self.link.recv(1 << 16)
            if not more:
                raise EOFError
            self.data += more
        taken, self.data = self.data[:size], self.data[size:]
        return taken

    def next(self) -> tuple[int, bytes]:
        first, length = self.take(2)
        assert first & 0x70 == 0
        assert length < 128  # a server does not mask
        if length >= 126:
            length = int.from_bytes(self.take(2 if length == 126 else 8), "big")
        return first & 15, self.take(length)


def verdict(server, data: bytes) -> int | None:
    """The code that the server closes with after `data`; None if it goes on: if it answers two pings, one after the
    other, as the first may be answered before what came with it is understood."""
    with upgrade(server) as link:
        frames, pongs = Frames(link), 0
        try:
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                link.sendall(data + frame(PING, HELLO))
            while pongs < 2:
                opcode, payload = frames.next()
                if opcode == CLOSE:
                    return struct.unpack("!H", payload[:2])[0] if payload else 1005
                if (opcode, payload) == (PONG, HELLO):
                    pongs += 1
                    link.sendall(frame(PING, HELLO))
        except (EOFError, BrokenPipeError, ConnectionResetError):
            return 1006
        return GOES_ON


def single_frames():
    """Every opcode, final or not, with each reserved bit, masked or not, short or long."""
    for opcode, fin, rsv, masked, size in itertools.product(
        range(16), (1, 0), (0, 1, 2, 4), (True, False), (2, 130)
    ):
        if rsv and not (fin and masked and size == 2):
            continue  # one violation at a time is enough
        known = opcode in (TEXT, BINARY, *CONTROL)
        wrong = rsv or not masked or not known or (opcode in CONTROL and (not fin or size > 125))
        expected = 1002 if wrong else 1000 if opcode == CLOSE else GOES_ON
        payload = (
            struct.pack("!H", 1000) + b"x" * (size - 2) if opcode == CLOSE else b"\x09" + b"x" * (size - 1)
        )
        yield frame(opcode, payload, fin, rsv, masked), expected


def fragments():
    start, go_on, end = frame(TEXT, b"a", 0), frame(0, b"b", 0), frame(0, b"c")
    yield start + end, GOES_ON
    yield start + go_on * 20 + end, GOES_ON
    yield start + frame(PING, b"x") + go_on + frame(PONG) + end, GOES_ON
    yield frame(BINARY, b"", 0) + frame(0, b"\x09"), GOES_ON
    yield start + frame(CLOSE, struct.pack("!H", 1000)), (1000, 1002)
    for size in (0, 1, 125, 126, 65_000):  # of the first of two parts
        yield frame(BINARY, b"\x09" * size, 0) + frame(0, b"\x09"), GOES_ON
    yield start + start, 1002
    yield start + frame(BINARY, b"\x09"), 1002
    yield start + end + end, 1002
    yield end, 1002
    yield frame(BINARY, bytes(MESSAGE // 2), 0) + frame(0, bytes(MESSAGE // 2 + 1), 0), TOO_BIG


def lengths():
    for length in (0, 1, 125, 126, 127, 1000, 65_000):
        yield frame(BINARY, b"\x09" * length), GOES_ON
    yield frame(BINARY, bytes(MESSAGE + 1), wide=8), TOO_BIG
    for length in (MESSAGE + 1, 1 << 32, (1 << 63) - 1):
        yield frame(BINARY, b"", length=length, wide=8), 1009
    yield frame(PING, b"x" * 125), GOES_ON
    yield frame(PONG, b"x" * 125), GOES_ON


UTF8 = [
    (b"\xce\xba\xe1\xbd\xb9\xcf\x83", True), (b"\xf0\x9f\x8e\x89", True), (b"\xef\xbf\xbf", True),
    (b"\xf4\x8f\xbf\xbf", True), (b"\x00", True), (b"", True), (b"\xff", False), (b"\xc0\xaf", False),
    (b"\xe0\x80\x80", False), (b"\xed\xa0\x80", False), (b"\xf4\x90\x80\x80", False), (b"\xf5\x80\x80\x80", False),
    (b"\x80", False), (b"\xce", False), (b"\xe1\xbd", False), (b"abc\xfe", False), (b"\xf8\x88\x80\x80\x80", False),
]  # fmt: skip


def text():
    for payload, valid in UTF8:
        yield frame(TEXT, payload), GOES_ON if valid else 1007
        for cut in range(1, len(payload)):  # a character may be cut by a fragment
            yield frame(TEXT, payload[:cut], 0) + frame(0, payload[cut:]), GOES_ON if valid else 1007


def closes():
    for code in (1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 3000, 3999, 4000, 4999):
        yield frame(CLOSE, struct.pack("!H", code)), code
        yield frame(CLOSE, struct.pack("!H", code) + b"so long"), code
    for code in (0, 1, 999, 1004, 1005, 1006, 1015, 1016, 2000, 2999, 5000, 65_535):
        yield frame(CLOSE, struct.pack("!H", code)), 1002
    yield frame(CLOSE), 1005
    yield frame(CLOSE, b"x"), 1002
    yield frame(CLOSE, struct.pack("!H", 1000) + b"\xff\xfe"), 1007
    yield frame(CLOSE, struct.pack("!H", 1000) + b"x" * 123), 1000
    yield frame(CLOSE, struct.pack("!H", 1000) + b"x" * 124), 1002


FAMILIES = [single_frames, fragments, lengths, text, closes]


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.__name__)
def test_frames(server, family):
    wrong = []
    for data, expected in family():
        got = verdict(server, data)
        if got not in (expected if isinstance(expected, tuple) else (expected,)):
            wrong.append((data[:40], expected, got))
    assert wrong == []


def test_there_are_hundreds_of_cases():
    assert sum(len(list(family())) for family in FAMILIES) >= 300


@pytest.mark.parametrize(
    ("request_line", "headers"),
    [
        ("GET /api/chat HTTP/1.1", {"Sec-WebSocket-Key": None}),
        ("GET /api/chat HTTP/1.1", {"Sec-WebSocket-Key": "short"}),
        ("GET /api/chat HTTP/1.1", {"Sec-WebSocket-Version": "12"}),
        ("GET /api/chat HTTP/1.1", {"Sec-WebSocket-Version": None}),
        ("GET /api/chat HTTP/1.1", {"Upgrade": None}),
        ("GET /api/chat HTTP/1.1", {"Host": None}),
        ("GET /api/chat HTTP/1.1", {"Host": "rebound.example.com"}),
        ("GET /nothing HTTP/1.1", {}),
        ("GET /assets/../../settings.py HTTP/1.1", {}),
        ("no request at all", {}),
    ],
)
def test_what_is_no_handshake(server, request_line, headers):
    usual = {"Host": server.address, "Upgrade": "websocket", "Connection": "Upgrade"}
    usual |= {"Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==", "Sec-WebSocket-Version": "13"}
    lines = [f"{name}: {value}" for name, value in (usual | headers).items() if value is not None]
    host, port = server.address.split(":")
    with socket.create_connection((host, int(port)), PATIENCE) as link:
        link.sendall("\r\n".join([request_line, *lines, "", ""]).encode())
        assert 400 <= int(link.recv(100).split()[1]) < 500


@pytest.mark.parametrize("count", [1000, pytest.param(10_000, marks=pytest.mark.slow)])
def test_random_frames_leave_nothing(server, count):
    rng, sent = np.random.default_rng(int(os.environ.get("SEED", "0"))), 0
    while sent < count:
        with upgrade(server) as link:
            try:
                for _ in range(25):
                    payload = rng.bytes(int(rng.integers(0, 200)))
                    opcode, fin = (
                        int(rng.choice([0, 1, 2, 2, 2, 9, 10, int(rng.integers(16))])),
                        int(rng.integers(2)),
                    )
                    link.sendall(rng.bytes(20) if rng.random() < 0.05 else frame(opcode, payload, fin))
                    sent += 1
            except (BrokenPipeError, ConnectionResetError):
                continue
    until(lambda: server.service.engine.used == 0 and server.service.pool.waiting == 0)
    assert server.service.engine.ready
    assert verdict(server, b"") is GOES_ON
