"""What a server must survive, at full size, against `duologue serve` as a process of its own.

    python -m benchmarks.faults                # all, some 10 minutes
    python -m benchmarks.faults --only floods  # one: some 5 minutes, on a machine that does nothing else

Prints what was done, what must hold, and what was measured; exits with 1 if something did not hold. The random frames
of RFC 6455 at full size are a test: `make test ARGS="-m slow tests/serve"`. All of it goes to this machine's own
addresses, and ends by itself.
"""

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import tyro
from websockets.exceptions import ConnectionClosed, WebSocketException

from benchmarks import fuzz, hostile, network
from benchmarks.target import SECOND, Server

SLOTS, QUEUE = 4, 4
UPGRADE = (
    b"GET /api/chat?format=pcm16 HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
CROWD = f"""
import socket, sys, time
links = [socket.create_connection((sys.argv[1], int(sys.argv[2]))) for _ in range(int(sys.argv[3]))]
for link in links:
    link.sendall({UPGRADE!r})
print("there", flush=True)
time.sleep(600)
"""


@dataclass
class Faults:
    only: str = ""
    """The name of one, as it is printed."""
    model: str = "tiny"
    visits: int = 2_000
    """Of each protocol."""
    messages: int = 100_000
    """That were good until something happened to them."""
    flooded: float = 12.0
    """Seconds of each flood; the quiet before it takes half as long."""
    seconds: float = 60.0
    """How long the reader who does not read is waited for."""


async def unread(options: Faults, server: Server) -> tuple[str, bool]:
    """a client that never reads | <= 2 s of sound kept for it, then closed"""
    link = socket.socket()
    link.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    link.connect((server.host, server.port))
    link.sendall(UPGRADE)
    began = time.monotonic()
    while server.free == SLOTS and time.monotonic() - began < 10:
        await asyncio.sleep(0.05)
    freed = server.until_free(options.seconds)
    kept = 0
    link.settimeout(5)
    with contextlib.suppress(OSError):
        while data := link.recv(1 << 16):
            kept += len(data)
    link.close()
    return (
        f"closed after {freed:.1f} s with {kept / SECOND:.2f} s kept",
        freed < options.seconds and kept <= 2 * SECOND,
    )


async def vanish(options: Faults, server: Server) -> tuple[str, bool]:
    """200 peers are stopped in their tracks | slots free <= 20 s"""
    crowd = subprocess.Popen(
        [sys.executable, "-c", CROWD, server.host, str(server.port), "200"], stdout=subprocess.PIPE
    )
    assert crowd.stdout is not None
    crowd.stdout.readline()
    os.kill(crowd.pid, signal.SIGSTOP)
    freed = server.until_free()
    crowd.kill()
    crowd.wait()
    return f"free after {freed:.1f} s", freed <= 20


async def silent(options: Faults, server: Server) -> tuple[str, bool]:
    """500 who connect and never speak | each is ended or refused, slots free <= 20 s after the last"""

    async def visit() -> None:
        with contextlib.suppress(WebSocketException, OSError):
            async with server.dial() as link:
                async for _ in link:
                    pass

    visits = [asyncio.create_task(visit()) for _ in range(500)]
    began = time.monotonic()
    done, pending = await asyncio.wait(visits, timeout=60)
    for task in pending:
        task.cancel()
    lasted, freed = time.monotonic() - began, server.until_free()
    return (
        f"{len(done)} of 500 ended in {lasted:.1f} s, slots free after {freed:.1f} s",
        not pending and freed <= 20,
    )


async def full(options: Faults, server: Server) -> tuple[str, bool]:
    """half as many again as there is room for | refused < 200 ms, with a hint when to come back"""
    async with contextlib.AsyncExitStack() as stack:
        for _ in range(SLOTS + QUEUE):
            link = await stack.enter_async_context(server.dial())
            await link.recv()
        slowest, hints = 0.0, 0
        for _ in range((SLOTS + QUEUE) // 2):
            began, said = time.monotonic(), b""
            async with server.dial() as link:
                with contextlib.suppress(ConnectionClosed):
                    while True:
                        said += await link.recv()
                slowest = max(slowest, time.monotonic() - began)
                hints += b"retry_s" in said and link.close_code == 1013
    count = (SLOTS + QUEUE) // 2
    return (
        f"{hints} of {count} refused with a hint, the slowest in {1000 * slowest:.0f} ms",
        hints == count and slowest < 0.2,
    )


async def doors(options: Faults, _: Server) -> tuple[str, bool]:
    """1,000 wrong keys, origins and hosts each, paths in parameters | 4xx before the upgrade, keys are slowed down"""
    keys = os.path.join("/tmp", f"keys-{os.getpid()}")
    with open(keys, "w") as file:
        file.write("secret\n")
    server = Server(["--model", options.model, "--api-key-file", keys], key="secret")
    try:
        usual = {"Upgrade": "websocket", "Connection": "Upgrade", "Sec_WebSocket_Version": "13"}
        usual["Sec_WebSocket_Key"] = "dGhlIHNhbXBsZSBub25jZQ=="
        found: dict[str, list[int]] = {"origin": [], "host": [], "key": []}
        for i in range(1000):
            bad = f"{i}.example.com"
            found["origin"].append(
                server.get("/api/chat?auth_id=secret", Origin=f"https://{bad}", **usual)[0]
            )
            found["host"].append(server.get("/api/chat?auth_id=secret", Host=bad, **usual)[0])
        for i in range(1000):
            found["key"].append(server.get(f"/api/chat?auth_id={i}&voice_prompt=../../x.pt", **usual)[0])
    finally:
        server.close()
        os.unlink(keys)
    counts = {name: {code: codes.count(code) for code in set(codes)} for name, codes in found.items()}
    held = (
        all(400 <= code < 500 for codes in found.values() for code in codes) and found["key"].count(429) > 900
    )
    return f"{counts}", held


async def goodbye(options: Faults, server: Server) -> tuple[str, bool]:
    """SIGTERM with all slots busy | 503 now, a warning, 1012 at the deadline, exit code 0"""
    heard: list[tuple[str, int | None, float]] = []
    told = 0.0

    async def stay() -> None:
        said = b""
        async with server.dial() as link:
            with contextlib.suppress(ConnectionClosed):
                while True:
                    said += (await link.recv())[:60]
            warned = b"shutdown" in said
            heard.append(("warned" if warned else "", link.close_code, time.monotonic() - told))

    stays = [asyncio.create_task(stay()) for _ in range(SLOTS)]
    while server.free:
        await asyncio.sleep(0.1)
    await asyncio.sleep(0.5)
    told = time.monotonic()
    server.process.send_signal(signal.SIGTERM)
    await asyncio.sleep(0.3)
    status = (await asyncio.to_thread(server.get, "/healthz"))[0]
    await asyncio.gather(*stays)
    code = await asyncio.to_thread(server.process.wait, 30)
    held = status == 503 and code == 0 and all(who[:2] == ("warned", 1012) for who in heard)
    return f"health {status}, {[who[:2] for who in heard]}, after {heard[0][2]:.1f} s, exit code {code}", held


ALL: list[Callable[[Faults, Server], Awaitable[tuple[str, bool]]]] = [
    full, hostile.floods, hostile.half_open, hostile.long_line, hostile.names, hostile.keys, hostile.items,
    hostile.webrtc_ends, hostile.webrtc_video, hostile.webrtc_candidates, unread, vanish, silent, fuzz.messages,
    fuzz.visits, network.bad_network, network.lost_packets, network.starved, doors, goodbye,
]  # fmt: skip


def main(options: Faults) -> None:
    chosen = [fault for fault in ALL if options.only in ("", fault.__name__)]
    if not chosen:
        sys.exit(f"there is no fault {options.only}: {', '.join(fault.__name__ for fault in ALL)}")
    server = Server(["--model", options.model, "--sessions", str(SLOTS), "--queue", str(QUEUE)])
    held = True
    try:
        for fault in chosen:
            done, must = (fault.__doc__ or "").split(" | ")
            text, good = asyncio.run(fault(options, server))  # pyright: ignore[reportArgumentType]
            held &= good
            print(f"{'held' if good else 'BROKEN':6}  {fault.__name__}: {done} | {must} | {text}", flush=True)
            if server.process.poll() is None:
                server.until_free()
    finally:
        server.close()
    sys.exit(not held)


if __name__ == "__main__":
    main(tyro.cli(Faults))
