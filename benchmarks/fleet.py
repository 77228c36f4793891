"""A fleet's connections and failover: `python benchmarks/fleet.py --model nano --clients 8`.

Starts `duologue serve --ray` with two replicas on a local Ray instance (needs the extra `ray`) and lets clients talk in
real time. After a quarter of the time every client loses its connection without a goodbye and resumes its conversation;
after half of it one replica is killed with SIGKILL, and its clients try to resume, are told that their conversation is
over, and start a new one at once. Prints

    admitted        clients that got a slot
    replicas_used   how many replicas they are spread over
    answer          latency from a frame sent to the frame received, before the first loss, p50 and p99
    resumed         clients that went on with their own conversation, and how long the slowest took
    passed_on       how many of these reached the wrong replica, which passed them on
    told            clients whose conversation died with its replica, and what they were told
    told_after      how long that took for the slowest, from the kill
    came_back       how many of them talk again on the other replica, and how long the slowest took, from the kill
    went_on         clients whose conversation lives, but whose connection the dead replica passed on: they resumed it
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
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import numpy as np
import psutil
import tyro
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, WebSocketException

from duologue.audio.framing import FRAME_SIZE
from duologue.serve.kyutai import Kind

FRAME = 0.08
SOUND = (
    bytes([Kind.AUDIO])
    + (0.05 * 32767 * np.random.default_rng(0).standard_normal(FRAME_SIZE)).astype("<i2").tobytes()
)
STARTED = time.time()
ROOT = Path(__file__).parents[1]


@dataclass(frozen=True)
class Benchmark:
    model: str = "tiny"
    """The model; "echo" for none, which costs nothing."""
    clients: int = 8
    seconds: float = 20.0
    """Length of the conversations."""
    replicas: int = 2
    json: bool = False
    """Also print the figures as JSON."""


class Over(Exception):
    """The server says that the conversation cannot be resumed."""


@dataclass
class Client:
    url: str
    token: str = ""
    sent: list[float] = field(default_factory=list)
    came: list[float] = field(default_factory=list)
    events: list[tuple[float, str]] = field(default_factory=list)  # "lost", "resumed", "over", "started"
    told: str = ""  # what the server said when it could not resume
    ends: float = float("inf")  # when it says goodbye
    link: ClientConnection | None = None
    _frames: int = 0  # sent in this conversation
    _received: int = 0  # messages of this conversation

    async def talk(self, until: float) -> None:
        """Talks until the end. After a lost connection it resumes; where it cannot, it starts anew at once."""
        self.ends = until
        while time.monotonic() < self.ends:
            try:
                await self._connection()
            except Over as over:
                self.token, self.told = "", str(over)
                self._note("over")
            except (OSError, WebSocketException, TimeoutError) as error:
                self._note(f"refused ({type(error).__name__})")
                await asyncio.sleep(0.1)
            else:
                await asyncio.sleep(0.1 if self.token else 1.0)  # without one the server was full

    async def _connection(self) -> None:
        resume = f"{self.token}&received={self._received}" if self.token else "1"
        async with connect(
            f"{self.url}&resume={resume}", compression=None, max_size=None, open_timeout=5
        ) as link:
            if self.token:
                await self._resumed(await link.recv())
            else:
                self._frames = self._received = 0
            self.link = link
            listening = asyncio.create_task(self._listen(link))
            began = time.monotonic() - self._frames * FRAME
            while time.monotonic() < self.ends and not listening.done():
                await asyncio.sleep(max(0.0, began + self._frames * FRAME - time.monotonic()))
                self.sent.append(time.monotonic())
                self._frames += 1
                try:
                    await link.send(SOUND)
                except ConnectionClosed:
                    break
            self.link = None
            if time.monotonic() < self.ends:
                self._note("lost" if self.token else "refused")
            listening.cancel()

    async def _resumed(self, first: str | bytes) -> None:
        assert isinstance(first, bytes)
        if first[0] != Kind.EVENT:
            raise Over(first[1:].decode())
        self._note("resumed")
        self._frames = json.loads(first[1:])["received"]  # the others are sent again

    async def _listen(self, link: ClientConnection) -> None:
        async for message in link:
            assert isinstance(message, bytes)
            self._received += 1
            if message[0] == Kind.AUDIO:
                self.came.append(time.monotonic())
            elif message[0] == Kind.EVENT and json.loads(message[1:])["type"] == "start":
                self.token = json.loads(message[1:])["resume"]
                self._note("started")

    def _note(self, event: str) -> None:
        self.events.append((time.monotonic(), event))

    def after(self, since: float, event: str) -> float | None:
        """When the first such event came after a moment."""
        return next((at for at, name in self.events if name == event and at > since), None)

    def sound_after(self, since: float) -> float | None:
        return next((at for at in self.came if at > since), None)

    def waits_ms(self, until: float) -> list[float]:
        pairs = zip(self.sent, self.came, strict=False)
        return [1000 * (came - sent) for sent, came in pairs if came < until]

    def longest_gap(self, around: float) -> float:
        """The longest time without sound from a second before a moment to six after it."""
        times = [at for at in self.came if around - 1 < at < around + 6]
        return max((b - a for a, b in pairwise(times)), default=6.0)


def replicas() -> list[psutil.Process]:
    """The replicas' processes; Ray does not start them as children of the server."""
    found = []
    for process in psutil.process_iter(["cmdline", "create_time"]):
        command = " ".join(process.info["cmdline"] or [])
        if "ServeReplica:duologue" in command and process.info["create_time"] > STARTED:
            found.append(process)
    return found


@dataclass
class Course:
    """When what happened."""

    clients: list[Client]
    lost: float = 0.0
    passed_on: int = 0
    killed: float = 0.0


async def crowd(options: Benchmark, url: str, log: Path) -> Course:
    course = Course([Client(url) for _ in range(options.clients)])
    until = time.monotonic() + options.seconds
    talks = []
    for client in course.clients:
        talks.append(asyncio.create_task(client.talk(until)))
        await asyncio.sleep(0.02)
    await asyncio.sleep(options.seconds / 4)
    course.lost = time.monotonic()
    for client in course.clients:
        if client.link is not None:
            client.link.transport.abort()
    await asyncio.sleep(options.seconds / 4)
    course.passed_on = log.read_text().count("passed on")
    victim = replicas()[0]
    course.killed = time.monotonic()
    victim.send_signal(signal.SIGKILL)
    await asyncio.gather(*talks)
    return course


def figures(course: Course) -> dict:
    admitted = [c for c in course.clients if c.came and c.came[0] < course.lost]
    resumed = [c for c in admitted if (at := c.after(course.lost, "resumed")) and at < course.killed]
    lost = [c for c in admitted if c.after(course.killed, "lost")]
    told = [c for c in lost if c.after(course.killed, "over")]
    untouched = [c for c in admitted if c not in lost]
    waits = np.concatenate([c.waits_ms(course.lost) for c in admitted])
    back = [
        at - course.killed
        for c in told
        if (new := c.after(course.killed, "started")) and (at := c.sound_after(new))
    ]
    over = [c.after(course.killed, "over") - course.killed for c in told]
    again = [c.sound_after(c.after(course.lost, "resumed")) - course.lost for c in resumed]
    return {
        "clients": len(course.clients),
        "admitted": len(admitted),
        "replicas_used": bool(told) + bool(untouched),
        "answer_p50_ms": round(float(np.percentile(waits, 50)), 1),
        "answer_p99_ms": round(float(np.percentile(waits, 99)), 1),
        "resumed": len(resumed),
        "resumed_after_s": round(max(again), 2) if again else None,
        "passed_on": course.passed_on,
        "told": len(told),
        "said": next((c.told for c in told if c.told), ""),
        "told_after_s": round(max(over), 2) if over else None,
        "came_back": len(back),
        "back_after_s": round(max(back), 2) if back else None,
        "went_on": sum(c.after(course.killed, "resumed") is not None for c in lost),
        "untouched_gap_ms": round(1000 * max((c.longest_gap(course.killed) for c in untouched), default=0.0)),
    }


@dataclass
class Served:
    url: str
    log: Path
    stopped_after: float = 0.0
    exit_code: int = 0


@contextmanager
def served(model: str, *options: str, **environment: str) -> Iterator[Served]:
    """`duologue serve --ray` with these options, once all replicas are ready."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    module = ["benchmarks.echo"] if model == "echo" else ["duologue"]
    command = [sys.executable, "-m", *module, "serve", "--ray", "--port", str(port), *options]
    command += [] if model == "echo" else ["--model", model]
    path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": path, **environment}
    with tempfile.NamedTemporaryFile("w+") as log:
        server = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True, env=environment)
        assert server.stdout is not None
        if not any("listen at" in line for line in server.stdout):
            sys.exit(f"the server did not start: {Path(log.name).read_text()[-2000:]}")
        found = Served(f"ws://127.0.0.1:{port}/api/chat?format=pcm16&events=1", Path(log.name))
        try:
            yield found
        finally:
            began = time.monotonic()
            server.terminate()
            found.exit_code = server.wait()
            found.stopped_after = time.monotonic() - began


def main(options: Benchmark) -> None:
    flags = ["--replicas", str(options.replicas), "--sessions", str(options.clients), "--queue", "0"]
    with served(options.model, *flags) as server:
        course = asyncio.run(crowd(options, server.url, server.log))
    for number, client in enumerate(course.clients):
        course_s = ", ".join(f"{event} {at - course.killed:+.2f}" for at, event in client.events)
        print(f"client {number}, seconds from the kill: {course_s}")
    report = figures(course) | {
        "stopped_after_s": round(server.stopped_after, 1),
        "exit_code": server.exit_code,
    }
    print("  ".join(f"{name} {value}" for name, value in report.items()))
    if options.json:
        print(json.dumps(report))


if __name__ == "__main__":
    main(tyro.cli(Benchmark))
