"""Attacks by a single client: rows of `python -m benchmarks.faults`."""

import asyncio
import contextlib
import json
import re
import socket
import tempfile
import time
from pathlib import Path
from typing import Any

from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from benchmarks.stranger import FRAMES
from benchmarks.target import Addressed, Server, p99, stranger, waits

CLIENTS = 6  # who speak meanwhile
LONG = 20_000
UPGRADE = {
    "Upgrade": "websocket",
    "Connection": "Upgrade",
    "Sec_WebSocket_Version": "13",
    "Sec_WebSocket_Key": "dGhlIHNhbXBsZSBub25jZQ==",
}


async def floods(options: Any, _: Server) -> tuple[str, bool]:
    """a stranger sends as fast as it can, eleven ways | six others' p99 within 20 % of quiet, memory + < 50 MB"""
    quiet: list[float] = []
    floods: list[tuple[str, float, int, float]] = []
    server = Server(["--model", options.model, "--sessions", str(CLIENTS + 2), "--queue", "4"])
    try:
        await waits(server, CLIENTS, 3)
        for kind in (*FRAMES, "half_open"):
            quiet += (await waits(server, CLIENTS, options.flooded / 2))[0]
            memory = server.size()[0]
            with stranger(server, kind, options.flooded + 5):
                await asyncio.sleep(1)
                loud, lost = await waits(server, CLIENTS, options.flooded)
            floods.append((kind, p99(loud), lost, (server.size()[0] - memory) / 1e6))
            await asyncio.sleep(1)
    finally:
        server.close()
    most = 1.2 * p99(quiet)
    texts = [f"{kind} {ms:.0f} ms ({lost} late, {grown:+.0f} MB)" for kind, ms, lost, grown in floods]
    held = all(ms <= most and grown < 50 for _, ms, _, grown in floods)
    return f"quiet {p99(quiet):.0f} ms; {'; '.join(texts)}", held


async def half_open(_: Any, server: Server) -> tuple[str, bool]:
    """a stranger keeps 1,100 connections open that ask for nothing | all others are answered within a second"""
    with stranger(server, "half_open", 10):
        await asyncio.sleep(2)
        slowest = 0.0
        for _ in range(20):
            began = time.monotonic()
            assert (await asyncio.to_thread(server.get, "/healthz"))[0] == 200
            slowest = max(slowest, time.monotonic() - began)
        most = server.size()[1]
    return f"{most} files open, /healthz in {1000 * slowest:.0f} ms at most", slowest < 1


async def long_line(_: Any, server: Server) -> tuple[str, bool]:
    """an upgrade with a line of 20,000 letters | answered with 4xx and closed, at once"""
    link, began = socket.create_connection((server.host, server.port), 20), time.monotonic()
    head = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in UPGRADE.items())
    link.sendall(f"GET /api/chat?x={'x' * LONG} HTTP/1.1\r\nHost: localhost\r\n{head}\r\n".encode())
    said = b""
    with contextlib.suppress(OSError):
        while piece := link.recv(1 << 16):
            said += piece
    link.close()
    took = time.monotonic() - began
    status = said.partition(b"\r\n")[0].decode()
    return f"{status!r} after {1000 * took:.0f} ms", " 4" in status and took < 1


async def names(_: Any, server: Server) -> tuple[str, bool]:
    """hosts and origins that cannot be, names that are not the server's | 4xx on every path, metrics and page too"""
    found = []
    for path in ("/", "/metrics", "/api/status", "/api/chat", "/v1/realtime", "/v1/twilio"):
        more = UPGRADE if path in ("/api/chat", "/v1/realtime", "/v1/twilio") else {}
        for host in ("[", "[::1", "evil.example.com", "a b"):
            found.append(server.get(path, Host=host, **more)[0])
        if more:
            found += [
                server.get(path, Origin=o, **more)[0]
                for o in ("http://[", "null", "https://evil.example.com")
            ]
    counts = {code: found.count(code) for code in sorted(set(found))}
    return f"{counts}, /healthz {server.get('/healthz', Host='any')[0]}", all(
        400 <= code < 500 for code in found
    )


async def keys(options: Any, _: Server) -> tuple[str, bool]:
    """twenty wrong keys from one address, then the right one | 401, then 429; the right one opens"""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "keys").write_text("secret\n")
        server = Server(["--model", options.model, "--api-key-file", f"{folder}/keys"], key="secret")
    try:
        wrong = [server.get("/api/status?auth_id=x")[0] for _ in range(20)]
        right = server.get("/api/status?auth_id=secret")[0]
    finally:
        server.close()
    return (
        f"wrong {wrong.count(401)} x 401, {wrong.count(429)} x 429; right {right}",
        right == 200 and 429 in wrong,
    )


async def items(_: Any, server: Server) -> tuple[str, bool]:
    """eight clients send what is kept, 57 messages of 1 MiB or as large as is taken | memory + < 100 MB"""
    before, texts = server.size()[0], ["x" * 1_000_000, "x" * 60_000, "é" * 30_000]

    async def fill() -> None:
        url = f"ws://{server.address}/v1/realtime"
        with contextlib.suppress(ConnectionClosed, InvalidStatus):
            async with connect(url, max_size=None, compression=None) as link:
                for i in range(57):
                    content = [{"type": "input_text", "text": texts[i % 3]}]
                    item = {"id": f"i{i}", "type": "message", "role": "user", "content": content}
                    event = {"type": "conversation.item.create", "item": item}
                    await link.send(json.dumps(event, ensure_ascii=False))
                    await asyncio.sleep(0.05)

    await asyncio.gather(*[fill() for _ in range(8)])
    grown = (server.size()[0] - before) / 1e6
    return f"{grown:+.0f} MB", grown < 100


# WebRTC


def _caller():
    """A peer that sends silence, has a channel, and no server to ask."""
    import aiortc

    peer = aiortc.RTCPeerConnection(aiortc.RTCConfiguration([]))
    peer.addTrack(aiortc.mediastreams.AudioStreamTrack())
    return peer, peer.createDataChannel("oai-events"), aiortc


async def _offer(peer) -> str:
    await peer.setLocalDescription(await peer.createOffer())
    return peer.localDescription.sdp


def _post(server: Addressed, sdp: str) -> tuple[int, str]:
    import http.client

    link = http.client.HTTPConnection(server.address, timeout=30)
    link.request("POST", "/v1/realtime/calls", sdp, {"Content-Type": "application/sdp"})
    response = link.getresponse()
    text = response.read().decode()
    link.close()
    return response.status, text


async def _call(server: Server, peer, aiortc) -> None:
    status, answer = await asyncio.to_thread(_post, server, await _offer(peer))
    assert status == 201, answer
    await peer.setRemoteDescription(aiortc.RTCSessionDescription(answer, "answer"))


async def webrtc_ends(options: Any, _: Server) -> tuple[str, bool]:
    """twelve calls that the server ends at its limits, four to nobody | no socket is left after 30 s"""
    server = Server(["--model", options.model, "--sessions", "4", "--time-limit", "2", "--idle-limit", "2"])
    try:
        before = server.size()[1], server.sockets("udp")
        for _ in range(3):
            peers = [_caller() for _ in range(4)]
            await asyncio.gather(*[_call(server, peer, aiortc) for peer, _, aiortc in peers])
            await asyncio.sleep(3)
            await asyncio.gather(*[peer.close() for peer, _, _ in peers])
            await asyncio.to_thread(server.until_free)
        for _ in range(4):
            peer, _, _ = _caller()
            dead = re.sub(r"(a=candidate:\S+ \d \S+ \d+) \S+ \d+ ", r"\1 127.0.0.1 9 ", await _offer(peer))
            await asyncio.to_thread(_post, server, dead)
            await peer.close()
        began = time.monotonic()
        after = before[0] + 1, 0
        while (after[0] > before[0] or after[1]) and time.monotonic() - began < 30:
            await asyncio.sleep(0.5)
            after = server.size()[1], server.sockets("udp")
    finally:
        server.close()
    return f"files and UDP sockets {before} -> {after}", after[0] <= before[0] and not after[1]


async def webrtc_video(_: Any, server: Server) -> tuple[str, bool]:
    """a call that sends video too, for 10 s | memory + < 20 MB"""
    peer, _, aiortc = _caller()
    peer.addTrack(aiortc.VideoStreamTrack())
    await _call(server, peer, aiortc)
    await asyncio.sleep(2)
    before = server.size()[0]
    await asyncio.sleep(10)
    grown = (server.size()[0] - before) / 1e6
    directions = [(each.kind, each.currentDirection) for each in peer.getTransceivers()]
    await peer.close()
    await asyncio.to_thread(server.until_free)
    return f"{grown:+.1f} MB, {directions}", grown < 20


async def webrtc_candidates(_: Any, server: Server) -> tuple[str, bool]:
    """an offer that names 700 addresses | packets go to 20 of them at most"""
    sinks = []
    for _ in range(700):
        sink = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sink.bind(("127.0.0.1", 0))
        sink.setblocking(False)
        sinks.append(sink)
    peer, _, _ = _caller()
    lines = [line for line in (await _offer(peer)).splitlines() if "candidate" not in line]
    named = [
        f"a=candidate:{i} 1 udp 1 127.0.0.1 {sink.getsockname()[1]} typ host" for i, sink in enumerate(sinks)
    ]
    at = next(i for i, line in enumerate(lines) if line.startswith("m=audio")) + 2
    sdp = "\r\n".join([*lines[:at], *named, "a=end-of-candidates", *lines[at:]]) + "\r\n"
    status, _ = await asyncio.to_thread(_post, server, sdp)
    await asyncio.sleep(20)
    counts = []
    for sink in sinks:
        count = 0
        with contextlib.suppress(BlockingIOError):
            while sink.recv(2000):
                count += 1
        counts.append(count)
        sink.close()
    await peer.close()
    await asyncio.to_thread(server.until_free)
    reached = sum(count > 0 for count in counts)
    return f"offer of {len(sdp)} bytes: {status}, {sum(counts)} packets to {reached} addresses", reached <= 20
