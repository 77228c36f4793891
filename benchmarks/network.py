"""Bad networks and a loaded machine: rows of `python -m benchmarks.faults`.

The network is a proxy of our own on this machine: it delays, narrows and cuts what passes over TCP, and loses packets
of UDP.
"""

import asyncio
import contextlib
import os
import re
import subprocess
import sys
import time
from typing import Any

import numpy as np

from benchmarks import hostile
from benchmarks.target import FRAME, NOISE, Server, answers, handshake
from duologue.serve.kyutai import Kind

BUSY = "import time; end = time.monotonic() + {}\nwhile time.monotonic() < end: pass"


class Pipe:
    """One direction of a connection: odd pieces, `delay` ± half of it late, `rate` bytes a second."""

    def __init__(self, delay: float, rate: float, seed: int):
        self._delay, self._rate, self._rng = delay, rate, np.random.default_rng(seed)
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
                self._free = max(self._free, loop.time()) + len(piece) / self._rate
                late = self._delay * float(self._rng.uniform(0.5, 1.5))
                self._last = max(self._last, self._free + late)  # TCP keeps the order
                await queue.put((self._last, piece))
        delivering.cancel()
        with contextlib.suppress(OSError):
            writer.close()


class Proxy:
    """A bad line to a server: `cut` ends all connections as a reset does."""

    def __init__(self, server: Server, delay: float = 0.1, rate: float = 32_000):
        self._server, self._delay, self._rate = server, delay, rate
        self._links: list[asyncio.StreamWriter] = []

    async def __aenter__(self) -> "Proxy":
        self._listening = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = self._listening.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self.cut()
        self._listening.close()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection(self._server.host, self._server.port)
        self._links += [writer, back]
        pipes = Pipe(self._delay, self._rate, 1), Pipe(self._delay, self._rate, 2)
        await asyncio.gather(pipes[0].run(reader, back), pipes[1].run(there, writer))

    def cut(self) -> None:
        for link in self._links:
            link.transport.abort()
        self._links.clear()


async def _talk(port: int, seconds: float, waits: list[tuple[float, float]]) -> int:
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
                        waits.append((now, now - came * FRAME))
        except TimeoutError:
            pass
        finally:
            speaking.cancel()
    return came


async def bad_network(options: Any, server: Server) -> tuple[str, bool]:
    """100 ± 50 ms, 256 kbit/s, odd pieces, one reset | lag <= 1 s; after the reset back in <= 5 s"""
    waits: list[tuple[float, float]] = []
    async with Proxy(server) as line:
        came = await _talk(line.port, 20, waits)
        lag = float(np.percentile([late for at, late in waits if at > 3], 99))
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
    """A port of the peer's line: what comes from it goes on to the server and back, less one in twenty."""

    def __init__(self, there: tuple[str, int], loss: float = 0.05):
        self._there, self._loss, self._rng = there, loss, np.random.default_rng(0)
        self._peer: tuple[str, int] | None = None
        self.lost = self.passed = self.answers = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: Any = transport

    def datagram_received(self, data: bytes, addr: Any) -> None:
        if addr != self._there:
            self._peer = addr
        to = self._peer if addr == self._there else self._there
        if to is None or self._rng.random() < self._loss:
            self.lost += 1
            return
        self.passed += 1
        self.answers += addr == self._there
        self._transport.sendto(data, to)


async def lost_packets(_: Any, server: Server) -> tuple[str, bool]:
    """a WebRTC call of 20 s over UDP that loses 5 % | it holds, and 50 packets of sound a second are sent"""
    peer, channel, aiortc = hostile._caller()
    heard, events = [0.0], []
    channel.on("message", events.append)

    @peer.on("track")
    def listen(track: Any) -> None:
        async def pull() -> None:
            with contextlib.suppress(aiortc.mediastreams.MediaStreamError):
                while True:
                    frame = await track.recv()
                    heard[0] += frame.samples / frame.sample_rate

        pulls.append(asyncio.create_task(pull()))

    pulls: list[asyncio.Task[None]] = []
    lines = [line for line in (await hostile._offer(peer)).splitlines() if "candidate" not in line]
    status, answer = await asyncio.to_thread(hostile._post, server, "\r\n".join(lines) + "\r\n")
    assert status == 201, answer
    (host, port) = re.findall(r"a=candidate:\S+ 1 udp \d+ (\S+) (\d+) typ host", answer)[0]
    loop = asyncio.get_running_loop()
    transport, line = await loop.create_datagram_endpoint(
        lambda: Lossy((host, int(port))), local_addr=("0.0.0.0", 0)
    )
    mine = transport.get_extra_info("sockname")[1]
    others = [each for each in answer.splitlines() if "a=candidate" not in each]
    at = next(i for i, each in enumerate(others) if each.startswith("m=audio")) + 2
    others.insert(at, f"a=candidate:1 1 udp 2130706431 {host} {mine} typ host")
    await peer.setRemoteDescription(aiortc.RTCSessionDescription("\r\n".join(others) + "\r\n", "answer"))
    await asyncio.sleep(20)
    state, seconds = peer.connectionState, heard[0]
    await peer.close()
    await asyncio.gather(*pulls, return_exceptions=True)
    transport.close()
    await asyncio.to_thread(server.until_free)
    lost = f"{line.lost} of {line.lost + line.passed} packets lost"
    held = state == "connected" and line.answers > 20 * 40 and line.lost > 20 and bool(events)
    return (
        f"{state}, {lost}, {line.answers / 20:.0f} a second, {seconds:.1f} s decoded, {len(events)} events",
        held,
    )


async def starved(options: Any, server: Server) -> tuple[str, bool]:
    """twice as many busy processes as there are cores, for 10 s | the server stays ready, p99 is back within 5 s"""
    quiet, _ = await answers(server, 2, 4)
    count = 2 * (os.cpu_count() or 1)
    busy = [subprocess.Popen([sys.executable, "-c", BUSY.format(10)]) for _ in range(count)]
    try:
        during, late = await answers(server, 2, 8)
    finally:
        for process in busy:
            process.wait()
    await asyncio.sleep(2)
    after, _ = await answers(server, 2, 4)
    text = f"p99 {quiet:.0f} ms, under load {during:.0f} ms ({late} late), 2 s after it {after:.0f} ms"
    return text, after <= max(2 * quiet, 160) and server.status["ready"]
