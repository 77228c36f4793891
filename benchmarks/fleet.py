"""Failover of a fleet: `python benchmarks/fleet.py --model nano --clients 8`.

Starts `duologue serve --ray` with two replicas on a local Ray instance (needs the extra `ray`), lets clients talk in
real time, kills one replica with SIGKILL, and prints

    admitted        clients that got a slot before the kill
    replicas_used   how many of the kinds below there are: 2 if both replicas had clients
    answer          latency from a frame sent to the frame received before the kill, p50 and p99
    told            clients whose connection was closed because their replica died
    came_back       how many of them talk again on the other replica, and how long the slowest took
    untouched_gap   the longest time without audio for all other clients around the kill
"""

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field

import numpy as np
import psutil
import tyro
from websockets.asyncio.client import connect
from websockets.exceptions import WebSocketException

from duologue.audio.framing import FRAME_SIZE
from duologue.serve.kyutai import Kind

FRAME = 0.08
SOUND = (
    bytes([Kind.AUDIO])
    + (0.05 * 32767 * np.random.default_rng(0).standard_normal(FRAME_SIZE)).astype("<i2").tobytes()
)


@dataclass(frozen=True)
class Benchmark:
    model: str = "tiny"
    clients: int = 8
    seconds: float = 20.0
    """Length of the conversations; the kill comes after half of it."""
    replicas: int = 2
    json: bool = False
    """Also print the figures as JSON."""


@dataclass
class Client:
    url: str
    sent: list[float] = field(default_factory=list)
    came: list[float] = field(default_factory=list)
    refused: str = ""
    dropped: float | None = None
    back: float | None = None

    async def talk(self, until: float) -> None:
        """Talks until the end, and reconnects at once after a disconnection."""
        while time.monotonic() < until:
            try:
                async with connect(self.url, compression=None, max_size=None, open_timeout=5) as link:
                    listening = asyncio.create_task(self._listen(link))
                    began, count = time.monotonic(), 0
                    while time.monotonic() < until and not listening.done():
                        await asyncio.sleep(max(0.0, began + count * FRAME - time.monotonic()))
                        if self.dropped is None:
                            self.sent.append(time.monotonic())
                        await link.send(SOUND)
                        count += 1
                    if not listening.done():
                        listening.cancel()
                        return
            except (OSError, WebSocketException, TimeoutError) as error:
                self.refused = str(error)
            if self.dropped is None and self.came:
                self.dropped = time.monotonic()
            await asyncio.sleep(0.1)

    async def _listen(self, link) -> None:
        async for message in link:
            if message[0] == Kind.AUDIO:
                now = time.monotonic()
                self.came.append(now)
                if self.dropped is not None and self.back is None:
                    self.back = now

    def waits_ms(self) -> np.ndarray:
        count = min(len(self.sent), len(self.came))
        return 1000 * (np.array(self.came[:count]) - np.array(self.sent[:count]))

    def longest_gap(self, start: float) -> float:
        times = [t for t in self.came if t > start - 1]
        return max(np.diff(times), default=0.0)


def replicas() -> list[psutil.Process]:
    """The replicas, found by process name: Ray does not start them as children of the server."""
    found = []
    for process in psutil.process_iter(["cmdline", "create_time"]):
        command = " ".join(process.info["cmdline"] or [])
        if "ServeReplica:duologue" in command and process.info["create_time"] > STARTED:
            found.append(process)
    return found


STARTED = time.time()


async def crowd(options: Benchmark, url: str) -> tuple[list[Client], float]:
    clients = [Client(url) for _ in range(options.clients)]
    began = time.monotonic()
    until = began + options.seconds
    talks = []
    for client in clients:
        talks.append(asyncio.create_task(client.talk(until)))
        await asyncio.sleep(0.02)
    await asyncio.sleep(options.seconds / 2)
    victim = replicas()[0]
    killed = time.monotonic()
    victim.send_signal(signal.SIGKILL)
    await asyncio.gather(*talks)
    return clients, killed


def figures(options: Benchmark, clients: list[Client], killed: float) -> dict:
    admitted = [c for c in clients if c.came and c.came[0] < killed]
    told = [c for c in admitted if c.dropped is not None]
    untouched = [c for c in admitted if c.dropped is None]
    waits = np.concatenate([c.waits_ms()[: int(options.seconds / 2 / FRAME) - 2] for c in admitted])
    back = [c.back - killed for c in told if c.back is not None]
    return {
        "clients": len(clients),
        "admitted": len(admitted),
        "replicas_used": bool(told) + bool(untouched),
        "answer_p50_ms": round(float(np.percentile(waits, 50)), 1),
        "answer_p99_ms": round(float(np.percentile(waits, 99)), 1),
        "told": len(told),
        "came_back": len(back),
        "back_after_s": round(max(back), 2) if back else None,
        "untouched_gap_ms": round(1000 * max((c.longest_gap(killed) for c in untouched), default=0.0)),
    }


def main(options: Benchmark) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [
        sys.executable,
        "-m",
        "duologue",
        "serve",
        "--ray",
        "--model",
        options.model,
        "--port",
        str(port),
    ]
    command += ["--replicas", str(options.replicas), "--sessions", str(options.clients), "--queue", "0"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with tempfile.TemporaryFile("w+") as log:
        server = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True, env=environment)
        assert server.stdout is not None
        if not any("listen at" in line for line in server.stdout):
            log.seek(0)
            sys.exit(f"the server did not start: {log.read()[-2000:]}")
        url = f"ws://127.0.0.1:{port}/api/chat?format=pcm16"
        try:
            clients, killed = asyncio.run(crowd(options, url))
        finally:
            server.terminate()
            server.wait()
    report = figures(options, clients, killed)
    print("  ".join(f"{name} {value}" for name, value in report.items()))
    if options.json:
        print(json.dumps(report))


if __name__ == "__main__":
    main(tyro.cli(Benchmark))
