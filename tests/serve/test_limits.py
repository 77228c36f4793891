"""Every limit of the server, each by what happens beyond it."""

import asyncio
import contextlib
import json
import logging
import subprocess
import sys
import time
import zlib
from threading import Event
from types import SimpleNamespace

import numpy as np
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.extensions.permessage_deflate import ClientPerMessageDeflateFactory

from duologue.engine import batcher
from duologue.serve import link as links
from duologue.serve.openai_events import ITEMS, SHELF
from duologue.serve.openai_exchange import AHEAD_FRAMES, MISTAKES, Exchange
from duologue.serve.openai_realtime import ITEM, METADATA, Conversation
from duologue.serve.pool import Ended
from duologue.serve.settings import AUDIO_BURST_SECONDS, Settings
from tests.engine.virtual import EchoBackend, noise
from tests.serve.server import PATIENCE, Heard, Server, dial, get, pcm, read, until
from tests.serve.test_faults import handshaken, upgrade

pytestmark = pytest.mark.usefixtures("nobody_left")


@pytest.fixture(scope="module")
def server():
    server = Server(Settings(sessions=1, queue=2), ping=1.0)
    yield server
    server.close()


def ended(server, reason: str) -> float:
    return server.service.metrics.ended.labels(reason)._value.get()


def test_one_who_never_speaks_is_ended_long_before_the_idle_limit(server, monkeypatch):
    monkeypatch.setattr("duologue.serve.kyutai.FIRST_SOUND_SECONDS", 0.5)

    async def talk():
        async with dial(server, "events=1&format=pcm16") as link:
            return await read(link, Heard())

    assert asyncio.run(talk()).event("end")["reason"] == "idle"


def test_one_who_has_spoken_has_the_idle_limit(server, monkeypatch):
    monkeypatch.setattr("duologue.serve.kyutai.FIRST_SOUND_SECONDS", 0.5)

    async def talk():
        async with dial(server, "events=1&format=pcm16") as link:
            heard = await read(link, Heard(), handshaken)
            await link.send(b"\x01" + pcm(noise(1)))
            return await read(link, heard, lambda heard: len(heard.sound) > 20)

    assert asyncio.run(talk()).code is None


def test_a_peer_that_answers_no_ping_is_gone(server):
    """It is open, takes what it is sent, and says nothing: long before the time in which it must have spoken."""
    before = ended(server, "gone")
    link = upgrade(server)
    link.settimeout(0.2)
    until(lambda: server.service.engine.used == 1)
    began = time.monotonic()
    closed = False
    while not closed and time.monotonic() - began < 12:
        try:
            closed = not link.recv(1 << 16)
        except TimeoutError:
            continue
        except ConnectionError:
            closed = True
    link.close()
    assert closed, "the server did not end it"
    until(lambda: ended(server, "gone") == before + 1)


def test_what_cannot_be_sent_in_time_ends_the_conversation(server, monkeypatch):
    """Long before the ten seconds in which the agent's frames wait for a reader."""
    monkeypatch.setattr(links, "SEND_SECONDS", 0.3)
    before = ended(server, "slow")
    link = upgrade(server, window=4096)
    began = time.monotonic()
    until(lambda: ended(server, "slow") == before + 1)
    assert time.monotonic() - began < batcher.STUCK_SECONDS + 4
    link.close()


def test_a_send_has_a_limit(monkeypatch):
    monkeypatch.setattr(links, "SEND_SECONDS", 0.05)
    with pytest.raises(Ended) as end:
        asyncio.run(links.in_time(asyncio.sleep(10)))
    assert end.value.reason == "slow"


def test_nothing_is_inflated(server):
    """An offer to compress is not taken up, and who compresses all the same is sent away before it is looked at."""

    async def talk():
        url = f"ws://{server.address}/api/chat"
        async with connect(url, extensions=[ClientPerMessageDeflateFactory()]) as link:
            assert not link.protocol.extensions
        pump = zlib.compressobj(wbits=-15)
        bomb = pump.compress(bytes(1 << 26)) + pump.flush(zlib.Z_SYNC_FLUSH)
        link = await asyncio.to_thread(upgrade, server)
        head = b"\xc2\xff" + len(bomb).to_bytes(8, "big") + b"\0\0\0\0"
        with contextlib.suppress(ConnectionError):
            await asyncio.to_thread(link.sendall, head + bomb)
        data = b""
        with contextlib.suppress(ConnectionError):
            while piece := await asyncio.to_thread(link.recv, 1 << 16):
                data += piece
        link.close()
        return data

    assert (1002).to_bytes(2, "big") in asyncio.run(talk())


class OpenAI:
    """A client by hand: what it sends, and the events that it gets."""

    def __init__(self, server):
        self.server = server

    async def __aenter__(self):
        url = f"ws://{self.server.address}/v1/realtime"
        self.link = await connect(url, max_size=None, compression=None)
        return self

    async def __aexit__(self, *_):
        await self.link.close()

    async def send(self, **event) -> None:
        await self.link.send(json.dumps(event, ensure_ascii=False))

    async def until(self, kind: str) -> dict:
        async with asyncio.timeout(PATIENCE):
            while True:
                event = json.loads(await self.link.recv())
                if event["type"] == kind:
                    return event


def item(text: str, id: str) -> dict:
    content = [{"type": "input_text", "text": text}]
    return {"id": id, "type": "message", "role": "user", "content": content}


@pytest.fixture
def shelves(monkeypatch):
    """What the server keeps for each client."""
    made = []
    original = Conversation.__init__

    def known(self, *args):
        original(self, *args)
        made.append(self)

    monkeypatch.setattr(Conversation, "__init__", known)
    return made


@pytest.mark.parametrize("in_line", [False, True])
def test_items_are_bounded_in_bytes_and_number(server, shelves, in_line):
    async def talk():
        async with contextlib.AsyncExitStack() as stack:
            if in_line:
                first = await stack.enter_async_context(dial(server, "format=pcm16"))
                await read(first, Heard(), handshaken)
            client = await stack.enter_async_context(OpenAI(server))
            for i in range(40):
                await client.send(type="conversation.item.create", item=item("x" * 50_000, f"large{i}"))
                await client.until("conversation.item.done")
            assert shelves[-1]._items._bytes <= SHELF
            assert len(shelves[-1]._items._items) < 25
            await client.send(type="conversation.item.retrieve", item_id="large39")
            found = await client.until("conversation.item.retrieved")
            assert found["item"]["content"][0]["text"] == "x" * 50_000
            for i in range(ITEMS + 5):
                await client.send(type="conversation.item.create", item=item("é", f"small{i}"))
                await client.until("conversation.item.done")
            await client.send(type="conversation.item.retrieve", item_id="small4")
            assert (await client.until("error"))["error"]["code"] == "item_retrieve_invalid_item_id"
            await client.send(type="conversation.item.retrieve", item_id="small5")
            await client.until("conversation.item.retrieved")
            kept = sum(len(text) for text in shelves[-1]._items._items.values())
            assert shelves[-1]._items._bytes == kept

    asyncio.run(talk())


@pytest.mark.parametrize(
    "event",
    [{"type": "conversation.item.create", "item": item("x" * ITEM, "a")},
     {"type": "response.create", "response": {"metadata": {"a": "x" * METADATA}}}],
    ids=["item", "metadata"],
)  # fmt: skip
def test_what_is_too_large_to_keep_is_refused(server, event):
    async def talk():
        async with OpenAI(server) as client:
            await client.send(**event)
            assert (await client.until("error"))["error"]["code"] == "invalid_value"
            await client.send(type="session.update", session={})
            assert len(json.dumps(await client.until("session.updated"))) < 2000

    asyncio.run(talk())


def test_a_session_does_not_grow(server):
    """What a session cannot do is not kept; and what comes with it is not lost."""

    async def talk():
        async with OpenAI(server) as client:
            await client.until("session.created")
            for i in range(3):
                audio = {"output": {"format": {"type": "audio/pcmu"}}}
                wanted = {f"key{i}": "x" * 300_000, "instructions": "é" * 100_000, "audio": audio}
                await client.send(type="session.update", session=wanted)
                event = await client.until("session.updated")
            return event["session"]

    session = asyncio.run(talk())
    assert len(json.dumps(session)) < 2000
    assert session["audio"]["output"]["format"] == {"type": "audio/pcmu"}


def test_some_mistakes_are_forgiven(server):
    async def talk():
        async with OpenAI(server) as client:
            await client.until("session.created")
            count = 0
            with contextlib.suppress(ConnectionClosed):
                for _ in range(MISTAKES + 5):
                    await client.link.send("no event")
                while True:
                    count += json.loads(await client.link.recv())["type"] == "error"
            return count, client.link.close_code

    assert asyncio.run(talk()) == (MISTAKES + 1, 1008)  # the last says why


def test_more_than_may_be_sent_ends_it_for_one_in_line_as_well(server):
    async def talk():
        async with dial(server, "format=pcm16") as first, OpenAI(server) as client:
            await read(first, Heard(), handshaken)
            with contextlib.suppress(ConnectionClosed):
                for _ in range(10):
                    await client.link.send(
                        json.dumps({"type": "input_audio_buffer.clear", "x": "x" * 1_000_000})
                    )
                while True:
                    await client.link.recv()
            return client.link.close_code

    assert asyncio.run(talk()) == 1008


# An engine that does not come back


def test_whoever_waits_for_a_step_that_hangs_is_told(monkeypatch):
    monkeypatch.setattr(batcher, "STUCK_SECONDS", 0.3)
    backend, go_on = EchoBackend(1), Event()
    server = Server(Settings(sessions=1), backend)

    async def talk():
        async with dial(server, "events=1&format=pcm16") as link:
            heard = await read(link, Heard(), handshaken)
            backend.step = lambda *_: go_on.wait(PATIENCE)
            return await read(link, heard), await asyncio.to_thread(get, server, "/healthz")

    try:
        heard, (status, _) = asyncio.run(talk())
        assert (heard.event("end")["reason"], heard.code) == ("error", 1011)
        assert status == 503
    finally:
        go_on.set()
        server.close()


def test_a_thread_that_ended_is_not_healthy():
    server = Server(Settings(sessions=1))
    try:
        assert get(server, "/healthz")[0] == 200
        with server.service.engine._lock:
            server.service.engine._failures = batcher.TRIES  # its loop ends
            server.service.engine._lock.notify()
        until(lambda: get(server, "/healthz")[0] == 503)
        assert json.loads(get(server, "/api/status")[1])["ready"] is False
    finally:
        server.close()


def test_a_process_whose_engine_gives_up_exits_with_1():
    script = (
        "from duologue.engine import batcher; batcher.RETRY_SECONDS, batcher.TRIES = (0.01, 0.02), 3\n"
        "from duologue.engine.backend import TorchBackend\n"
        "original, count = TorchBackend.step, [0]\n"
        "def step(self, *args):\n"
        "    count[0] += 1\n"
        "    if count[0] > 3: raise RuntimeError('boom')\n"
        "    return original(self, *args)\n"
        "TorchBackend.step = step\n"
        "from duologue.cli import main; main(['serve', '--model', 'tiny', '--port', '0'])\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    address = process.stdout.readline().rsplit("//", 1)[-1].strip()

    async def talk():
        with contextlib.suppress(ConnectionClosed, InvalidStatus, OSError):
            async with connect(f"ws://{address}/api/chat?format=pcm16", max_size=None) as link:
                while True:
                    await link.recv()

    asyncio.run(talk())
    _, errors = process.communicate(timeout=PATIENCE)
    assert process.returncode == 1
    levels = [json.loads(line)["level"] for line in errors.splitlines()]
    assert "critical" in levels


def test_after_a_failure_nothing_of_the_past_is_left():
    """`rebuild` makes every slot as new, in the model itself."""
    from duologue.engine.backend import TorchBackend
    from duologue.weights import load

    model = load("tiny")

    def say(backend, frames_TS):
        return [backend.step(frame_S[None], np.ones(1, bool)).wav_BS[0] for frame_S in frames_TS]

    backend, silence_TS = TorchBackend(model), np.zeros((3, 1920), np.float32)
    new = say(backend, silence_TS)
    say(backend, noise(5))
    assert not np.array_equal(say(backend, silence_TS), new)
    backend.rebuild()
    assert np.array_equal(say(backend, silence_TS), new)


def test_a_slot_is_given_back_however_a_connection_ends(server, caplog):
    """In every phase of every protocol."""
    paths = ("/api/chat?format=pcm16&events=1", "/v1/realtime", "/v1/twilio")
    start = json.dumps({"event": "start", "streamSid": "M", "start": {"streamSid": "M"}})

    async def visit(path: str, phase: int):
        with contextlib.suppress(ConnectionClosed):
            async with connect(f"ws://{server.address}{path}", compression=None) as link:
                if phase and "twilio" in path:
                    await link.send(start)
                if phase > 1:
                    await link.send(b"\x01" + pcm(noise(1)) if "chat" in path else "{}")
                if phase > 2:
                    await asyncio.wait_for(link.recv(), 0.3)
                if phase % 2:
                    link.transport.abort()

    async def all_visits():
        for path in paths:
            for phase in range(4):
                with contextlib.suppress(TimeoutError):
                    await visit(path, phase)

    asyncio.run(all_visits())
    # Well before the engine itself gives up a session that nobody takes frames from, after 12 s.
    until(lambda: server.service.engine.used == 0 and not server.service.pool._calls, 8)
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


def test_sound_for_a_model_that_is_too_slow_is_bounded_and_the_latest_is_kept():
    async def go() -> np.ndarray:
        exchange = Exchange(None, None)  # pyright: ignore[reportArgumentType]
        exchange._limiter = SimpleNamespace(take=lambda samples: None)  # time passes
        exchange._call = SimpleNamespace(session=SimpleNamespace(waiting=AHEAD_FRAMES))
        for second in range(2 * int(AUDIO_BURST_SECONDS)):
            await exchange.hear(np.full(24_000, second, np.float32))
        return np.concatenate(exchange._ahead)

    kept_S = asyncio.run(go())
    assert AUDIO_BURST_SECONDS - 1 < kept_S.size / 24_000 <= AUDIO_BURST_SECONDS
    assert kept_S[-1] == 2 * int(AUDIO_BURST_SECONDS) - 1
