"""Mutated messages and visits of every protocol: rows of `python -m benchmarks.faults`."""

import asyncio
import contextlib
import time
from typing import Any

import numpy as np
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus, WebSocketException

from benchmarks import hostile
from benchmarks.target import NOISE, Server
from tests.serve.test_fuzz import TALKING, live, mutated

AT_ONCE = 4


async def messages(options: Any, server: Server) -> tuple[str, bool]:
    """messages of four protocols that were good until something happened to them | slots free, memory + <= 20 MB"""
    sent = 0

    async def visit(seed: int, count: int) -> None:
        nonlocal sent
        rng, mine = np.random.default_rng(seed), 0
        path, messages, as_text = TALKING[seed % len(TALKING)]
        good = messages()
        while mine < count:
            with contextlib.suppress(WebSocketException, OSError, EOFError):
                async with connect(f"ws://{server.address}{path}", compression=None, max_queue=None) as link:
                    for at in range(50):
                        mine, sent = mine + 1, sent + 1
                        first = good[at % len(good)]
                        data = first if at < 2 else mutated(good[int(rng.integers(len(good)))], rng)
                        await link.send(data.decode(errors="replace") if as_text else data)

    async def crowd(count: int) -> None:
        await asyncio.gather(*[visit(seed, count // 12) for seed in range(12)])

    await crowd(options.messages // 5)
    await asyncio.to_thread(server.until_free)
    before, began, sent = server.size(), time.monotonic(), 0
    await crowd(options.messages)
    took = time.monotonic() - began
    await asyncio.to_thread(server.until_free)
    await asyncio.sleep(2)
    after, grown = server.size(), (server.size()[0] - before[0]) / 1e6
    text = f"{sent} in {took:.0f} s: {grown:+.1f} MB, files {before[1]} -> {after[1]}, free {server.free}"
    ready = server.status["ready"]
    return text, grown <= 20 and after[1] <= before[1] and server.free == server.slots and ready


async def _visit(server: Server, path: str, rng: np.random.Generator) -> None:
    phase = int(rng.integers(5))
    with contextlib.suppress(ConnectionClosed, InvalidStatus, WebSocketException, OSError, EOFError):
        if phase == 0:
            _, writer = await asyncio.open_connection(server.host, server.port)
            writer.write(f"GET {path} HTTP/1.1\r\nHost:".encode())
            writer.transport.abort()
            return
        async with connect(f"ws://{server.address}{path}", compression=None) as link:
            if phase > 1 and "twilio" in path:
                await link.send('{"event": "start", "start": {"streamSid": "M"}}')
            elif phase > 1 and "live" in path:
                await link.send(live()[0].decode())
                await link.recv()
            elif phase > 1:
                await link.recv()
            if phase > 2:
                await link.send(b"\x01" + NOISE[: int(rng.integers(1, 20_000))] if "chat" in path else "{}")
            if phase == 4:
                link.transport.abort()


async def visits(options: Any, server: Server) -> tuple[str, bool]:
    """connects and drops at random phases, every protocol | slots, files, sockets, threads back; memory within 1 %"""
    rng = np.random.default_rng(0)

    async def crowd(count: int) -> None:
        async def some(path: str) -> None:
            for _ in range(count // AT_ONCE):
                await _visit(server, path, rng)

        await asyncio.gather(*[some(path) for path, _, _ in TALKING for _ in range(AT_ONCE)])

    async def calls(count: int) -> None:
        for _ in range(count):
            peer, _, aiortc = hostile._caller()
            status, answer = await asyncio.to_thread(hostile._post, server, await hostile._offer(peer))
            if status == 201 and rng.integers(2):
                await peer.setRemoteDescription(aiortc.RTCSessionDescription(answer, "answer"))
                await asyncio.sleep(0.05 * float(rng.integers(5)))
            await peer.close()

    async def census() -> tuple[int, int, int, int]:
        await asyncio.to_thread(server.until_free)
        await asyncio.sleep(35)  # calls to nobody are given up, nothing waits to be resumed any more
        return *server.size(), server.sockets("inet")

    async def all_of_them() -> tuple[int, int, int, int]:
        await crowd(options.visits)
        await calls(max(4, options.visits // 100))
        return await census()

    before = await all_of_them()  # the first time brings imports and threads with it
    after = await all_of_them()
    grown = after[0] / before[0] - 1
    text = f"{options.visits} visits of each, {options.visits // 100} calls: memory {100 * grown:+.2f} %"
    kept = ", ".join(
        f"{name} {was} -> {now}"
        for name, was, now in zip(("files", "threads", "sockets"), before[1:], after[1:], strict=True)
    )
    fewer = all(now <= was for was, now in zip(before[1:], after[1:], strict=True))
    return f"{text}, {kept}", grown < 0.01 and fewer
