"""Who floods a server: `python -m benchmarks.stranger KIND HOST PORT SECONDS`. To this machine's own addresses only."""

import contextlib
import ipaddress
import json
import os
import select
import socket
import sys
import time
from collections.abc import Callable

SOURCE = "127.0.0.2"  # an address of this machine that the server takes for no proxy
HALF_OPEN = 1100


def masked(kind: int, payload: bytes) -> bytes:
    """A frame of WebSocket, masked with zeros."""
    size = len(payload)
    if size < 126:
        length = bytes([0x80 | size])
    elif size < 1 << 16:
        length = bytes([0xFE]) + size.to_bytes(2, "big")
    else:
        length = bytes([0xFF]) + size.to_bytes(8, "big")
    return bytes([kind]) + length + bytes(4) + payload


ITEM = {"type": "conversation.item.create", "item": {"type": "message", "role": "user", "content": []}}
FRAMES = {  # the path, and what is sent without end
    "sound": ("/api/chat?format=pcm16&events=1", masked(0x82, b"\x01" + bytes(48_000))),
    "empty": ("/api/chat?events=1", masked(0x82, b"")),
    "unknown": ("/api/chat?events=1", masked(0x82, b"\x63")),
    "text": ("/v1/twilio", masked(0x81, b'{"event": "mark"}')),
    "pings": ("/api/chat?events=1", masked(0x89, b"ping")),
    "pongs": ("/api/chat?events=1", masked(0x8A, b"pong")),
    "pieces": ("/api/chat?events=1", masked(0x02, b"") + masked(0x00, b"") * 1000),
    "echoes": ("/api/chat?events=1", masked(0x82, b"\x06ping")),
    "restarts": ("/api/chat?events=1", masked(0x82, b"\x03\x03")),
    "items": ("/v1/realtime", masked(0x81, json.dumps(ITEM | {"x": "x" * 1_000_000}).encode())),
}


def flood(address: tuple[str, int], path: str, frame: bytes, until: float) -> None:
    """Connect, send as fast as it is taken, and come back when thrown out."""
    block = frame * max(1, (1 << 16) // len(frame))
    head = f"GET {path} HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    head += "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    while time.monotonic() < until:
        with contextlib.suppress(OSError), socket.create_connection(address, 5, (SOURCE, 0)) as link:
            link.sendall(head.encode())
            link.recv(1 << 16)
            link.setblocking(False)
            rest = b""
            while time.monotonic() < until:
                rest = rest or block
                reads, writes, _ = select.select([link], [link], [], 1.0)
                if reads and not link.recv(1 << 16):
                    break
                if writes:
                    rest = rest[link.send(rest) :]
        time.sleep(0.01)


def half_open(address: tuple[str, int], until: float) -> None:
    """Open many connections, ask for nothing, and open another for each that is closed."""
    links: list[socket.socket] = []
    while time.monotonic() < until:
        for link in links[:]:
            with contextlib.suppress(BlockingIOError):
                try:
                    gone = not link.recv(1)
                except OSError as error:
                    if isinstance(error, BlockingIOError):
                        raise
                    gone = True
                if gone:
                    links.remove(link)
                    link.close()
        with contextlib.suppress(OSError):
            while len(links) < HALF_OPEN and time.monotonic() < until:
                link = socket.create_connection(address, 1, (SOURCE, 0))
                link.send(b"GET /api/chat HTTP/1.1\r\nHost: loc")
                link.setblocking(False)
                links.append(link)
        time.sleep(0.05)


def main(kind: str, host: str, port: str, seconds: str) -> None:
    if not ipaddress.ip_address(host).is_loopback:
        sys.exit("this is for servers on this machine")
    os.nice(5)
    address, until = (host, int(port)), time.monotonic() + min(120.0, float(seconds))
    attacks: dict[str, Callable[[], None]] = {"half_open": lambda: half_open(address, until)}
    attacks |= {name: lambda what=what: flood(address, *what, until) for name, what in FRAMES.items()}
    attacks[kind]()


if __name__ == "__main__":
    main(*sys.argv[1:])
