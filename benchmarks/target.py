"""`duologue serve` as a process of its own, a client of it that behaves, and strangers that do not."""

import asyncio
import contextlib
import http.client
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import psutil
from websockets.asyncio.client import connect

from duologue.serve.kyutai import Kind

FRAME, SECOND = 0.08, 48_000  # bytes of plain samples
NOISE = (3000 * np.random.default_rng(0).standard_normal(24_000)).astype("<i2").tobytes()


class Addressed(Protocol):
    """A server at `address`, host:port."""

    address: str


@dataclass
class Server:
    """The server, and what it tells of itself."""

    options: list[str]
    key: str = ""
    process: subprocess.Popen = field(init=False)
    address: str = field(init=False)

    def __post_init__(self) -> None:
        command = [sys.executable, "-m", "duologue", "serve", "--port", "0", *self.options]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        assert self.process.stdout is not None
        self.address = self.process.stdout.readline().rsplit("//", 1)[-1].strip().rstrip("/")
        self.host, port = self.address.replace("localhost", "127.0.0.1").split(":")
        self.port = int(port)
        self.slots = self.status["slots"]

    def get(self, path: str, **headers: str) -> tuple[int, str]:
        link = http.client.HTTPConnection(self.host, self.port, timeout=30)
        link.request("GET", path, headers={name.replace("_", "-"): value for name, value in headers.items()})
        response = link.getresponse()
        body = response.read().decode()
        link.close()
        return response.status, body

    @property
    def status(self) -> dict:
        return json.loads(self.get(f"/api/status?auth_id={self.key}")[1])

    @property
    def free(self) -> int:
        return self.status["free"]

    def until_free(self, patience: float = 60.0) -> float:
        """Seconds until all slots are free."""
        began = time.monotonic()
        while self.free < self.slots and time.monotonic() - began < patience:
            time.sleep(0.1)
        return time.monotonic() - began

    def size(self) -> tuple[int, int, int]:
        """Its memory in bytes, files and threads."""
        process = psutil.Process(self.process.pid)
        return process.memory_info().rss, process.num_fds(), process.num_threads()

    def sockets(self, kind: str) -> int:
        return len(psutil.Process(self.process.pid).net_connections(kind))

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


async def waits(server: Server, clients: int, seconds: float) -> tuple[list[float], int]:
    """So many clients' waits in ms, and how many of their frames were late or not heard."""
    each = await asyncio.gather(*[speak(server, seconds) for _ in range(clients)])
    lost = sum(stats[-1]["late"] + stats[-1]["missing"] for _, stats in each if stats)
    return [ms for found, _ in each for ms in found], lost


def p99(waits: list[float]) -> float:
    return float(np.percentile(waits, 99))


@contextlib.contextmanager
def stranger(server: Server, kind: str, seconds: float) -> Iterator[None]:
    """Somebody at another address who does the server harm, in a process of its own that ends by itself."""
    command = [sys.executable, "-m", "benchmarks.stranger", kind, server.host, str(server.port), str(seconds)]
    process = subprocess.Popen(command)
    try:
        yield
    finally:
        process.terminate()
        process.wait()
