"""What a server must survive, over real sockets: see also tests/engine/test_batcher.py, in virtual time."""

import asyncio
import contextlib
import gc
import http.client
import json
import socket
import threading
import time

import psutil
import pytest
from websockets.exceptions import ConnectionClosed

from duologue.engine.live_queues import BACKLOG_FRAMES
from duologue.serve.settings import Settings
from tests.engine.virtual import noise
from tests.serve.server import PATIENCE, Heard, Server, dial, get, pcm, read, until

pytestmark = pytest.mark.usefixtures("nobody_left")


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    server = Server(
        Settings(sessions=4, queue=8, time_limit=40, idle_limit=40),
        ping=1.0,
        record=tmp_path_factory.mktemp("calls"),
    )
    yield server
    server.close()


def handshaken(heard: Heard) -> bool:
    return 0 in heard.kinds


def upgrade(server, window: int = 1 << 16) -> socket.socket:
    """A client by hand, up to the handshake of WebSocket."""
    host, port = server.address.split(":")
    link = socket.socket()
    link.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, window)
    link.settimeout(PATIENCE)
    link.connect((host, int(port)))
    link.sendall(
        f"GET /api/chat?format=pcm16 HTTP/1.1\r\nHost: {server.address}\r\nUpgrade: websocket\r\n"
        "Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
        "Sec-WebSocket-Version: 13\r\n\r\n".encode()
    )
    assert b"101" in link.recv(1000)
    return link


def test_a_client_that_vanishes_in_the_middle_of_a_frame_frees_its_slot(server):
    link = upgrade(server)
    until(lambda: server.service.engine.used == 1)
    link.sendall(b"\x82\xfe\x10")  # the beginning of a message
    link.close()
    until(lambda: server.service.engine.used == 0)


def test_half_open_sockets_are_noticed(server):
    """They are open, and never read or write again: no pong comes."""
    links = [upgrade(server) for _ in range(4)]
    until(lambda: server.service.engine.used == 4)
    until(lambda: server.service.engine.used == 0)
    for link in links:
        link.close()


def test_little_is_kept_for_one_who_does_not_read():
    """Not in the machine's own buffers either."""
    server = Server(Settings(sessions=1))
    try:
        link = upgrade(server, window=4096)
        until(lambda: server.service.pool._calls)
        (call,) = server.service.pool._calls
        until(lambda: call.session.counts().dropped > 10)
        began, kept = time.monotonic(), 0
        while time.monotonic() - began < 0.5:
            kept += len(link.recv(1 << 16))
        link.close()
        assert call.session.ended is None
        assert kept / 48_000 < 2 + 0.5 + 1
    finally:
        server.close()


def test_many_who_come_and_go_leave_nothing(server):
    async def visit(rounds: int):
        for i in range(rounds):
            # On a slow machine slots are not free again in time, and some are refused: they come and go as well.
            with contextlib.suppress(ConnectionClosed):
                async with dial(server, "events=1&format=pcm16") as link:
                    if i % 4:
                        await read(link, Heard(), handshaken)
                    if i % 4 > 1:
                        await link.send(b"\x01" + pcm(noise(1)))
                    if i % 4 == 3:
                        link.transport.abort()

    async def crowd(rounds: int):
        await asyncio.gather(*[visit(rounds // 4) for _ in range(4)])

    def census():
        until(lambda: server.service.engine.used == 0 and not server.uvicorn.server_state.connections)
        written = threading.Event()  # what is still being recorded holds files open
        until(lambda: server.service.recorder.put(written.set))
        assert written.wait(PATIENCE)
        gc.collect()
        return threading.active_count(), psutil.Process().num_fds(), len(server.uvicorn.server_state.tasks)

    asyncio.run(crowd(20))
    before = census()
    asyncio.run(crowd(200))
    until(lambda: census() == before)


def test_sound_at_a_hundred_times_its_rate_keeps_the_queue_short(server):
    async def talk():
        async with dial(server, "format=pcm16") as link:
            heard, deepest = await read(link, Heard(), handshaken), 0
            second = b"\x01" + pcm(noise(12))
            with_room = asyncio.create_task(read(link, heard))
            with contextlib.suppress(ConnectionClosed):
                for _ in range(200):
                    await link.send(second)
                    for call in list(server.service.pool._calls):
                        deepest = max(deepest, len(call.session._user))
            heard = await with_room
            return heard, deepest

    heard, deepest = asyncio.run(talk())
    assert heard.code == 1008
    assert deepest <= BACKLOG_FRAMES


def test_a_failing_engine_is_told_and_comes_back(server):
    async def talk():
        async with dial(server, "events=1") as link:
            heard = await read(link, Heard(), handshaken)
            server.backend.faults = [RuntimeError("boom")] * 2
            heard = await read(link, heard)
            return heard, get(server, "/healthz")

    heard, (status, _) = asyncio.run(talk())
    assert heard.code == 1011
    assert heard.event("end")["retry_s"] > 0
    until(lambda: get(server, "/healthz")[0] == 200)
    assert server.service.engine.restarts >= 1
    assert status in (200, 503)  # it may be back already

    async def again():
        async with dial(server) as link:
            await read(link, Heard(), handshaken)

    asyncio.run(again())


def test_not_ready_is_503(server):
    server.service.engine._down, server.service.engine._retry_at = True, float("inf")
    try:
        assert get(server, "/healthz")[0] == 503
        assert json.loads(get(server, "/api/status")[1])["ready"] is False
    finally:
        server.service.engine._down = False


def test_metrics_count_what_happened(server):
    async def talk():
        async with dial(server, "format=pcm16") as link:
            heard = await read(link, Heard(), handshaken)
            await link.send(b"\x01" + pcm(noise(5)))
            await read(link, heard, lambda heard: len(heard.sound) > 20)

    asyncio.run(talk())
    until(lambda: server.service.engine.used == 0 and not server.service.pool._calls)
    status, body = get(server, "/metrics")
    figures = dict(line.rsplit(" ", 1) for line in body.decode().splitlines() if not line.startswith("#"))
    assert status == 200
    assert float(figures["duologue_slots_total"]) == 4
    assert float(figures["duologue_slots_used"]) == 0
    assert float(figures['duologue_conversations_total{protocol="kyutai"}']) >= 1
    assert float(figures['duologue_frames_total{kind="frames"}']) >= 20
    assert float(figures["duologue_step_seconds_count"]) >= 20
    assert float(figures["duologue_response_seconds_count"]) >= 5


def test_conversations_are_recorded_where_asked(server):
    folder = server.service.recorder.folder
    before = set(folder.glob("[!.]*.json"))

    async def talk():
        async with dial(server, "format=pcm16&text_seed=3") as link:
            heard = await read(link, Heard(), handshaken)
            await link.send(b"\x01" + pcm(noise(2)))
            await read(link, heard, lambda heard: len(heard.sound) > 4)

    asyncio.run(talk())

    def reports():  # others who left a moment ago may still be written down
        found = (json.loads(path.read_text()) for path in set(folder.glob("[!.]*.json")) - before)
        return [report for report in found if report["sampling"]["seed"] == 3]

    until(reports)
    (report,) = reports()
    assert report["frames"] > 4


@pytest.fixture(scope="module")
def strict():
    server = Server(Settings(sessions=1, time_limit=1.5, idle_limit=0.6))
    yield server
    server.close()


def test_a_conversation_ends_at_its_time_limit(strict):
    async def talk():
        async with dial(strict, "events=1&format=pcm16") as link:
            heard = await read(link, Heard(), handshaken)
            listening = asyncio.create_task(read(link, heard))
            while not listening.done():
                with contextlib.suppress(ConnectionClosed):
                    await link.send(b"\x01" + pcm(noise(1)))
                await asyncio.sleep(0.05)
            return await listening

    heard = asyncio.run(talk())
    assert (heard.event("end")["reason"], heard.code) == ("time_limit", 1000)
    assert heard.event("warning")["reason"] == "time_limit"


def test_a_client_that_falls_silent_is_ended(strict):
    async def talk():
        async with dial(strict, "events=1&format=pcm16") as link:
            heard = await read(link, Heard(), handshaken)
            await link.send(b"\x01" + pcm(noise(1)))
            return await read(link, heard)

    heard = asyncio.run(talk())
    assert (heard.event("end")["reason"], heard.code) == ("idle", 1000)


def test_the_page_is_there_and_other_paths_are_not(server):
    link = http.client.HTTPConnection(server.address, timeout=PATIENCE)
    link.request("GET", "/")
    response = link.getresponse()
    body = response.read()
    link.close()
    assert response.status == 200
    assert "default-src 'self'" in response.headers["Content-Security-Policy"]
    assert "frame-ancestors 'none'" in response.headers["Content-Security-Policy"]
    assert b"<html" in body.lower()
    assert get(server, "/nothing")[0] == 404
    assert get(server, "/../settings.py")[0] == 404
