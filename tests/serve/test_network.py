"""Conversations over bad lines: proxies on this machine that delay, lose, reorder and reset."""

import asyncio
import contextlib
import json
import time

import numpy as np
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from benchmarks.network import Line, Proxy, call
from duologue.serve.link import Pcm16
from tests.serve.server import PATIENCE, until

pytestmark = pytest.mark.usefixtures("nobody_left")

FRAMES = 50
BAD = Line(delay=0.1, rate=100_000, loss=0.05)


def ramp() -> list[np.ndarray]:
    """Frames that are louder each time, so that an echo tells which it is."""
    return [np.full(1920, 0.1 + 0.01 * frame, np.float32) for frame in range(FRAMES)]


async def echoes(port: int, came: list[int]) -> None:
    """Speak in real time until all has been echoed: which frames came, in order."""
    async with connect(f"ws://127.0.0.1:{port}/api/chat?format=pcm16", compression=None) as link:
        await link.recv()

        async def speak() -> None:
            began = time.monotonic()
            with contextlib.suppress(ConnectionClosed):
                for frame, wav_S in enumerate(ramp()):
                    await asyncio.sleep(max(0.0, began + 0.08 * frame - time.monotonic()))
                    await link.send(b"\x01" + Pcm16.write(wav_S))

        speaking = asyncio.create_task(speak())
        async with asyncio.timeout(PATIENCE):
            async for message in link:
                level = np.frombuffer(message[1:], "<i2")[0] / 32767 if message[0] == 1 else 0.0
                if level > 0.05:
                    came.append(round((level - 0.1) / 0.01))
                    if came[-1] == FRAMES - 1:
                        break
        await speaking


def test_nothing_is_lost_over_a_line_that_delays_and_stalls(server):
    came: list[int] = []

    async def go() -> None:
        async with Proxy(server, BAD) as line:
            await echoes(line.port, came)

    asyncio.run(go())
    assert came == list(range(FRAMES))


def test_a_reset_frees_the_slot_and_the_next_is_let_in(server):
    came: list[int] = []
    again: list[int] = []

    async def go() -> None:
        async with Proxy(server, BAD) as line:
            talking = asyncio.create_task(echoes(line.port, came))
            while len(came) < 5:
                await asyncio.sleep(0.05)
            line.cut()
            with contextlib.suppress(ConnectionClosed):
                await talking
            await asyncio.to_thread(until, lambda: server.service.engine.used == 0)
            await echoes(line.port, again)

    asyncio.run(go())
    assert 5 <= len(came) < FRAMES
    assert again == list(range(FRAMES))


def test_a_call_holds_where_packets_are_lost_and_overtake_one_another(server):
    pytest.importorskip("aiortc", reason="the extra webrtc is not installed")
    made = asyncio.run(call(server, Line(delay=0.05, loss=0.05), 3))
    assert made.state == "connected"
    assert made.line.lost > 5 and made.line.overtaken > 20
    assert made.seconds > 1  # of three: what is lost or late is not decoded
    assert json.loads(made.events[0])["type"] == "session.created"
