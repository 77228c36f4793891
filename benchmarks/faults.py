"""What a server must survive, at full size, against `duologue serve` as a process of its own.

    python -m benchmarks.faults                # all, some 6 minutes
    python -m benchmarks.faults --only flood   # one

Prints what was done, what must hold, and what was measured; exits with 1 if something did not hold. The random frames
and mutated messages at full size are tests: `make test ARGS="-m slow tests/serve"`.
"""

import asyncio
import contextlib
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import numpy as np
import psutil
import tyro
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, WebSocketException

from duologue.serve.kyutai import Kind

FRAME, SECOND = 0.08, 48_000  # bytes of plain samples
NOISE = (3000 * np.random.default_rng(0).standard_normal(24_000)).astype("<i2").tobytes()
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
    """flood, unread, vanish, silent, visits, full, doors or goodbye."""
    model: str = "tiny"
    visits: int = 10_000
    seconds: float = 60.0
    """How long the flood and the reader who does not read go on."""


@dataclass
class Server:
    """`duologue serve`, and what it tells of itself."""

    options: list[str]
    process: subprocess.Popen = field(init=False)
    address: str = field(init=False)

    def __post_init__(self) -> None:
        command = [sys.executable, "-m", "duologue", "serve", "--port", "0", *self.options]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        assert self.process.stdout is not None
        self.address = self.process.stdout.readline().rsplit("//", 1)[-1].strip().rstrip("/")
        self.host, port = self.address.replace("localhost", "127.0.0.1").split(":")
        self.port = int(port)

    def get(self, path: str, **headers: str) -> tuple[int, str]:
        link = http.client.HTTPConnection(self.host, self.port, timeout=30)
        link.request("GET", path, headers={name.replace("_", "-"): value for name, value in headers.items()})
        response = link.getresponse()
        body = response.read().decode()
        link.close()
        return response.status, body

    @property
    def free(self) -> int:
        return json.loads(self.get("/api/status")[1])["free"]

    def until_free(self, patience: float = 60.0) -> float:
        """Seconds until all slots are free."""
        began = time.monotonic()
        while self.free < SLOTS and time.monotonic() - began < patience:
            time.sleep(0.1)
        return time.monotonic() - began

    def size(self) -> tuple[int, int, int]:
        process = psutil.Process(self.process.pid)
        return process.memory_info().rss, process.num_fds(), process.num_threads()

    def dial(self, query: str = "format=pcm16&events=1"):
        return connect(f"ws://{self.address}/api/chat?{query}", compression=None, max_size=None)

    def close(self) -> None:
        self.process.terminate()
        self.process.wait(30)


async def handshake(link) -> None:
    while (await link.recv())[0] != Kind.HANDSHAKE:
        pass


async def speak(server: Server, seconds: float) -> tuple[list[float], list[dict]]:
    """A well-behaved client: the milliseconds from each of its frames to the next of the agent's, and its stats."""
    sent, came, stats = [], [], []

    async def listen(link) -> None:
        async for message in link:
            if message[0] == Kind.AUDIO:
                came.append(time.monotonic())
            elif message[0] == Kind.EVENT and (event := json.loads(message[1:]))["type"] == "stats":
                stats.append(event)

    async with server.dial() as link:
        await handshake(link)
        listening, began = asyncio.create_task(listen(link)), time.monotonic()
        for frame in range(round(seconds / FRAME)):
            await asyncio.sleep(max(0.0, began + frame * FRAME - time.monotonic()))
            sent.append(time.monotonic())
            await link.send(b"\x01" + NOISE[:3840])
        await asyncio.sleep(0.2)
        listening.cancel()
    after = np.searchsorted(came, sent)
    return [
        1000 * (came[at] - at_sent) for at, at_sent in zip(after, sent, strict=True) if at < len(came)
    ], stats


async def flood(options: Faults, server: Server) -> tuple[str, bool]:
    """one client at 100 times the rate of speech | queue <= 2 s, others' p99 + <= 10 ms"""

    async def attack(until: float) -> float:
        deepest = 0.0
        while time.monotonic() < until:
            with contextlib.suppress(WebSocketException, ConnectionError):
                async with server.dial() as link:
                    await handshake(link)
                    while time.monotonic() < until:
                        await link.send(b"\x01" + NOISE)
                        await asyncio.sleep(0.01)
                        with contextlib.suppress(TimeoutError):
                            async with asyncio.timeout(0):
                                message = await link.recv()
                                if message[0] == Kind.EVENT and b"backlog_ms" in message:
                                    deepest = max(deepest, json.loads(message[1:])["backlog_ms"])
        return deepest

    calm = await asyncio.gather(*[speak(server, 15) for _ in range(2)])
    *busy, deepest = await asyncio.gather(
        *[speak(server, options.seconds) for _ in range(2)], attack(time.monotonic() + options.seconds)
    )
    before, during = [
        float(np.percentile([ms for waits, _ in who for ms in waits], 99)) for who in (calm, busy)
    ]
    text = f"queue {deepest / 1000:.2f} s, others' p99 {before:.1f} -> {during:.1f} ms"
    return text, deepest <= 2000 and during - before <= 10


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


async def visits(options: Faults, server: Server) -> tuple[str, bool]:
    """connects and drops at random phases | slots, descriptors, threads back; memory within 1 %"""
    rng = np.random.default_rng(0)

    async def visit() -> None:
        phase = rng.integers(5)
        with contextlib.suppress(WebSocketException, OSError, EOFError):
            if phase == 0:
                _, writer = await asyncio.open_connection(server.host, server.port)
                writer.write(b"GET /api/chat HTTP/1.1\r\nHost:")
                writer.transport.abort()
                return
            async with server.dial() as link:
                if phase > 1:
                    await link.recv()
                if phase > 2:
                    await link.send(b"\x01" + NOISE[: int(rng.integers(1, 20_000))])
                if phase == 4:
                    link.transport.abort()

    async def crowd(count: int) -> None:
        async def some() -> None:
            for _ in range(count // 16):
                await visit()

        await asyncio.gather(*[some() for _ in range(16)])

    await crowd(options.visits // 5)
    server.until_free()
    await asyncio.sleep(1)
    before = server.size()
    await crowd(options.visits)
    server.until_free()
    await asyncio.sleep(1)
    after = server.size()
    grown = after[0] / before[0] - 1
    text = f"{options.visits} visits: memory {100 * grown:+.2f} %, descriptors {before[1]} -> {after[1]}"
    return f"{text}, threads {before[2]} -> {after[2]}", grown < 0.01 and after[1:] == before[1:]


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
    server = Server(["--model", options.model, "--api-key-file", keys])
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
    full, flood, unread, vanish, silent, visits, doors, goodbye,
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
            print(f"{'held' if good else 'BROKEN':6}  {done} | {must} | {text}", flush=True)
            if server.process.poll() is None:
                server.until_free()
    finally:
        server.close()
    sys.exit(not held)


if __name__ == "__main__":
    main(tyro.cli(Faults))
