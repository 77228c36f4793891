"""Bad networks and a loaded machine: rows of `python -m benchmarks.faults`.

The network is a proxy of our own on this machine: it needs no rights and no module of the kernel, as `tc netem` does.
Over TCP it delays, narrows and cuts what passes, and stalls it as a lost packet does: that one is sent again, and all
behind it waits. Over UDP it loses packets, and delays each differently, so that they overtake one another.
"""

import asyncio
import contextlib
import os
import re
import subprocess
import sys
import time
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from benchmarks import hostile
from benchmarks.target import FRAME, NOISE, Addressed, Server, handshake, p99, waits
from duologue.serve.kyutai import Kind

CONNECTED_SECONDS = 30.0  # that a call may take to be set up
RESENT_SECONDS = 0.25  # until a lost packet of TCP is there after all
BUSY = "import time; end = time.monotonic() + {}\nwhile time.monotonic() < end: pass"


@dataclass(frozen=True)
class Line:
    """A bad line: a packet is `delay` ± half of it seconds late, the share `loss` is lost, `rate` is bytes a second."""

    delay: float = 0.1
    rate: float = 32_000
    loss: float = 0.01

    def late(self, rng: np.random.Generator) -> float:
        return self.delay * float(rng.uniform(0.5, 1.5))


class Pipe:
    """One direction of a TCP connection over a line, in odd pieces."""

    def __init__(self, line: Line, seed: int):
        self._line, self._rng = line, np.random.default_rng(seed)
        self._free = self._last = 0.0

    async def run(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        loop, queue = asyncio.get_running_loop(), asyncio.Queue(200)

        async def deliver() -> None:
            while True:
                due, piece = await queue.get()
                await asyncio.sleep(max(0.0, due - loop.time()))
                writer.write(piece)
                await writer.drain()

        delivering = asyncio.create_task(deliver())
        with contextlib.suppress(OSError):
            while piece := await reader.read(int(self._rng.integers(200, 1400))):
                self._free = max(self._free, loop.time()) + len(piece) / self._line.rate
                lost = self._rng.random() < self._line.loss
                arrives = self._free + self._line.late(self._rng) + lost * RESENT_SECONDS
                self._last = max(self._last, arrives)  # TCP keeps the order
                await queue.put((self._last, piece))
        delivering.cancel()
        with contextlib.suppress(OSError):
            writer.close()


class Proxy:
    """A bad line to a server: `cut` ends all connections as a reset does."""

    def __init__(self, server: Addressed, line: Line):
        self._server, self._line = server, line
        self._links: list[asyncio.StreamWriter] = []

    async def __aenter__(self) -> "Proxy":
        self._listening = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = self._listening.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self.cut()
        self._listening.close()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        host, port = self._server.address.replace("localhost", "127.0.0.1").split(":")
        there, back = await asyncio.open_connection(host, int(port))
        self._links += [writer, back]
        pipes = Pipe(self._line, 1), Pipe(self._line, 2)
        await asyncio.gather(pipes[0].run(reader, back), pipes[1].run(there, writer))

    def cut(self) -> None:
        for link in self._links:
            link.transport.abort()
        self._links.clear()


async def _talk(port: int, seconds: float, lates: list[tuple[float, float]]) -> int:
    """Speak Opus over a line; when each frame of the agent came, and how late it was against its pace. Returns how
    many came."""
    from websockets.asyncio.client import connect

    from duologue.audio.opus import OpusWriter

    writer, came = OpusWriter(), 0
    wav_S = np.frombuffer(NOISE, "<i2")[:1920].astype(np.float32) / 32768
    async with connect(f"ws://127.0.0.1:{port}/api/chat?events=1", compression=None, max_size=None) as link:
        await handshake(link)
        began = time.monotonic()

        async def speak() -> None:
            for frame in range(round(seconds / FRAME)):
                await asyncio.sleep(max(0.0, began + frame * FRAME - time.monotonic()))
                await link.send(b"\x01" + writer.push(wav_S))

        speaking = asyncio.create_task(speak())
        try:
            async with asyncio.timeout(seconds + 2):
                async for message in link:
                    if message[0] == Kind.AUDIO:
                        came += 1
                        now = time.monotonic() - began
                        lates.append((now, now - came * FRAME))
        except TimeoutError:
            pass
        finally:
            speaking.cancel()
    return came


async def bad_network(options: Any, server: Server) -> tuple[str, bool]:
    """100 ± 50 ms, 256 kbit/s, 1 % lost, one reset | lag <= 1 s; after the reset back in <= 5 s"""
    lates: list[tuple[float, float]] = []
    async with Proxy(server, Line()) as line:
        came = await _talk(line.port, 20, lates)
        lag = float(np.percentile([late for at, late in lates if at > 3], 99))
        cut = asyncio.create_task(_talk(line.port, 10, []))
        await asyncio.sleep(4)
        line.cut()
        began = time.monotonic()
        with contextlib.suppress(Exception):
            await cut
        await asyncio.to_thread(server.until_free)
        again = await _talk(line.port, 2, [])
        back = time.monotonic() - began - 4
    held = lag <= 1 and back <= 5 and came > 230 and again > 10
    return (
        f"{came} frames in 20 s, p99 of the lag {lag:.2f} s, back {max(0.0, back):.1f} s after the reset",
        held,
    )


class Lossy(asyncio.DatagramProtocol):
    """A port of the peer's line: what comes from it goes on to the server, and back."""

    def __init__(self, there: tuple[str, int], line: Line):
        self._there, self.line, self._rng = there, line, np.random.default_rng(0)
        self._loop, self._peer = asyncio.get_running_loop(), None
        self._newest: dict[bool, float] = {True: 0.0, False: 0.0}
        self.lost = self.passed = self.answers = self.overtaken = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: Any = transport

    def datagram_received(self, data: bytes, addr: Any) -> None:
        answer = addr == self._there
        self._peer = self._peer if answer else addr
        to = self._peer if answer else self._there
        if to is None or self._rng.random() < self.line.loss:
            self.lost += 1
            return
        self.passed += 1
        self.answers += answer
        due = self._loop.time() + self.line.late(self._rng)
        self.overtaken += due < self._newest[answer]
        self._newest[answer] = max(self._newest[answer], due)
        self._loop.call_at(due, self._send, data, to)

    def _send(self, data: bytes, to: Any) -> None:
        if not self._transport.is_closing():
            self._transport.sendto(data, to)


@dataclass
class LossyCall:
    """What became of a WebRTC call over a bad line."""

    state: str
    seconds: float
    """Of sound that the client decoded."""
    line: Lossy
    events: list[str]


async def call(server: Addressed, line: Line, seconds: float) -> LossyCall:
    """Make a call whose packets all pass through a bad line; it lasts so many seconds once it is connected."""
    peer, channel, aiortc = hostile._caller()
    heard, pulls = [0.0], []
    events: list[str] = []
    channel.on("message", events.append)

    async def pull(track: Any) -> None:
        with contextlib.suppress(aiortc.mediastreams.MediaStreamError):
            while True:
                frame = await track.recv()
                heard[0] += frame.samples / frame.sample_rate

    peer.on("track", lambda track: pulls.append(asyncio.create_task(pull(track))))
    lines = [each for each in (await hostile._offer(peer)).splitlines() if "candidate" not in each]
    status, answer = await asyncio.to_thread(hostile._post, server, "\r\n".join(lines) + "\r\n")
    assert status == 201, answer
    (host, port) = re.findall(r"a=candidate:\S+ 1 udp \d+ (\S+) (\d+) typ host", answer)[0]
    transport, lossy = await asyncio.get_running_loop().create_datagram_endpoint(
        lambda: Lossy((host, int(port)), line), local_addr=("0.0.0.0", 0)
    )
    mine = transport.get_extra_info("sockname")[1]
    others = [each for each in answer.splitlines() if "a=candidate" not in each]
    at = next(i for i, each in enumerate(others) if each.startswith("m=audio")) + 2
    others.insert(at, f"a=candidate:1 1 udp 2130706431 {host} {mine} typ host")
    await peer.setRemoteDescription(aiortc.RTCSessionDescription("\r\n".join(others) + "\r\n", "answer"))
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(CONNECTED_SECONDS):
            while peer.connectionState != "connected":
                await asyncio.sleep(0.05)
    await asyncio.sleep(seconds)
    state = peer.connectionState
    lossy.line = replace(line, loss=0.0)  # a goodbye is sent once
    await peer.close()
    await asyncio.gather(*pulls, return_exceptions=True)
    await asyncio.sleep(2 * line.delay)
    transport.close()
    return LossyCall(state, heard[0], lossy, events)


async def lost_packets(_: Any, server: Server) -> tuple[str, bool]:
    """a WebRTC call of 20 s, 5 % of packets lost, 50 ± 25 ms late | it holds, 50 packets of sound a second are sent"""
    made = await call(server, Line(delay=0.05, loss=0.05), 20)
    await asyncio.to_thread(server.until_free)
    line = made.line
    held = made.state == "connected" and line.answers > 20 * 40 and line.lost > 20 and bool(made.events)
    return (
        f"{made.state}, {line.lost} of {line.lost + line.passed} packets lost, {line.overtaken} overtaken, "
        f"{line.answers / 20:.0f} a second, {made.seconds:.1f} s decoded, {len(made.events)} events",
        held,
    )


async def starved(options: Any, server: Server) -> tuple[str, bool]:
    """twice as many busy processes as there are cores, for 10 s | the server stays ready, p99 is back within 5 s"""
    quiet = p99((await waits(server, 2, 4))[0])
    count = 2 * (os.cpu_count() or 1)
    busy = [subprocess.Popen([sys.executable, "-c", BUSY.format(10)]) for _ in range(count)]
    try:
        found, late = await waits(server, 2, 8)
    finally:
        for process in busy:
            process.wait()
    await asyncio.sleep(2)
    after = p99((await waits(server, 2, 4))[0])
    text = f"p99 {quiet:.0f} ms, under load {p99(found):.0f} ms ({late} late), 2 s after it {after:.0f} ms"
    return text, after <= max(2 * quiet, 160) and server.status["ready"]
