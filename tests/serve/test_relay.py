"""A conversation of one replica, resumed through another: requests end here as Ray ends them."""

import asyncio
import contextlib
import json
from collections.abc import AsyncGenerator
from typing import Any

import httpx2
import numpy as np
import pytest
import uvicorn
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from duologue.engine.backend import TorchBackend
from duologue.engine.session import Session
from duologue.serve import line
from duologue.serve.app import Service, create_app
from duologue.serve.link import Pcm16
from duologue.serve.relay import InnerServer, Relay, holder_of
from duologue.serve.run import listen
from duologue.serve.settings import Settings
from duologue.weights import load
from tests.engine.virtual import noise, seeded
from tests.serve.server import PATIENCE

NAMES = "first1", "second2"
SEED = 7


class Fleet:
    """Two replicas in one event loop, each with its own port."""

    def __init__(self):
        self.relays: dict[str, Relay] = {}
        self.addresses: dict[str, str] = {}
        self.services: dict[str, Service] = {}
        self.inside: dict[str, str] = {}
        self.inner: dict[str, InnerServer] = {}

    @contextlib.asynccontextmanager
    async def run(self, **settings: Any) -> AsyncGenerator["Fleet"]:
        tiny = load("tiny")
        servers = []
        for name in NAMES:
            own = Settings(sessions=1, queue=0, replica=name, **settings)
            service = Service(TorchBackend(tiny, 1), tiny.tokenizer, tiny.sampling, "tiny", own)
            app = create_app(service)
            relay, inner = Relay(app, name, self.find), InnerServer(app, "127.0.0.1")
            self.inner[name], self.inside[name] = inner, inner.address
            self.services[name], socket = service, listen("127.0.0.1", 0)
            self.addresses[name] = f"127.0.0.1:{socket.getsockname()[1]}"
            server = uvicorn.Server(uvicorn.Config(as_ray_calls(relay), log_config=None))
            server.install_signal_handlers = lambda: None  # pyright: ignore[reportAttributeAccessIssue]
            servers.append((server, asyncio.create_task(server.serve([socket]))))
        while not all(server.started for server, _ in servers):
            await asyncio.sleep(0.01)
        try:
            yield self
        finally:
            for server, task in servers:
                server.should_exit = True
                await task
            for inner in self.inner.values():
                await inner.close()

    async def find(self, name: str) -> str | None:
        return self.inside.get(name)

    def url(self, name: str, query: str, path: str = "/api/chat") -> str:
        return f"ws://{self.addresses[name]}{path}?{query}"


def as_ray_calls(app: Relay) -> Any:
    """Ray cancels a request once its client has left, and repeats the last message to whoever asks."""

    async def called(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "websocket":
            await app(scope, receive, send)
            return
        inbox, last = asyncio.Queue(), None

        async def fetch() -> None:
            nonlocal last
            while last is None:
                message = await receive()
                inbox.put_nowait(message)
                last = message if message["type"] == "websocket.disconnect" else None

        async def hear() -> Any:
            return last if last is not None and inbox.empty() else await inbox.get()

        fetching, request = asyncio.create_task(fetch()), asyncio.create_task(app(scope, hear, send))
        await asyncio.wait({fetching, request}, return_when=asyncio.FIRST_COMPLETED)
        request.cancel() if fetching.done() else fetching.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await request

    return called


def closed_port() -> int:
    with contextlib.closing(listen("127.0.0.1", 0)) as socket:
        return socket.getsockname()[1]


class Client:
    """Says frames, three ahead of their answers; its connections go to the replicas in turn."""

    def __init__(self, fleet: Fleet, frames: int):
        self._fleet = fleet
        self.user_TS = noise(frames)
        self._messages = [b"\1" + Pcm16.write(frame_S) for frame_S in self.user_TS]
        self.sound: list[bytes] = []
        self.token, self.sent, self.received = "", 0, 0

    async def connection(self, name: str, until: int, abort: bool = True) -> None:
        """Talk over this replica until so many frames have come."""
        query = "events=1&format=pcm16&"
        query += (
            f"resume={self.token}&received={self.received}" if self.token else f"text_seed={SEED}&resume=1"
        )
        async with connect(self._fleet.url(name, query), compression=None, max_size=None) as link:
            if self.token:
                event = json.loads((await link.recv())[1:])
                assert event["type"] == "resumed"
                self.sent = event["received"]
            while len(self.sound) < until:
                message = await link.recv()
                self.received += 1
                if message[0] == 1:
                    self.sound.append(message[1:])
                elif message[0] == 4 and (event := json.loads(message[1:]))["type"] == "start":
                    self.token = event["resume"]
                while self.token and self.sent < min(len(self.sound) + 3, len(self._messages)):
                    await link.send(self._messages[self.sent])
                    self.sent += 1
            if abort:
                link.transport.abort()


def test_a_conversation_goes_on_through_either_replica_as_if_nothing_had_happened() -> None:
    async def talk() -> Client:
        async with asyncio.timeout(PATIENCE), Fleet().run() as fleet:
            client = Client(fleet, 35)
            for number, name in enumerate([*NAMES, *NAMES, *NAMES]):
                await client.connection(name, 5 * (number + 1))
            await client.connection(NAMES[1], 35, abort=False)
            assert client.token.endswith(".first1")
            assert [
                service.metrics.begun.labels("kyutai")._value.get() for service in fleet.services.values()
            ] == [1, 0]
            while any(service.engine.used for service in fleet.services.values()):
                await asyncio.sleep(0.01)  # the goodbye through the other replica frees the slot
            return client

    client, tiny = asyncio.run(talk()), load("tiny")
    heard_TS = (client.user_TS.clip(-1, 1) * 32767).round().astype(np.float32) / 32768
    alone = Session(tiny, seeded(tiny, SEED))
    assert client.sound == [Pcm16.write(alone.push(frame_S).wav_S) for frame_S in heard_TS]


def test_whoever_says_goodbye_is_not_waited_for() -> None:
    async def go() -> None:
        async with asyncio.timeout(line.WAIT_SECONDS / 2), Fleet().run() as fleet:
            await Client(fleet, 9).connection(NAMES[0], 3, abort=False)
            while fleet.services[NAMES[0]].engine.used:
                await asyncio.sleep(0.01)

    asyncio.run(go())


@pytest.mark.parametrize("known", [True, False])
def test_a_conversation_whose_replica_has_died_is_over(known: bool) -> None:
    async def go() -> None:
        async with asyncio.timeout(PATIENCE), Fleet().run() as fleet:
            client = Client(fleet, 9)
            await client.connection(NAMES[0], 3)
            if known:
                del fleet.inside[NAMES[0]]
            else:
                fleet.inside[NAMES[0]] = f"127.0.0.1:{closed_port()}"
            async with connect(
                fleet.url(NAMES[1], f"resume={client.token}&received=1"), compression=None
            ) as late:
                assert b"is over" in await late.recv()
                with pytest.raises(ConnectionClosed) as closed:
                    await late.recv()
            assert closed.value.rcvd and (closed.value.rcvd.code, closed.value.rcvd.reason) == (1008, "over")

    asyncio.run(go())


def test_a_key_is_asked_for_by_the_replica_that_holds_the_conversation() -> None:
    async def go() -> None:
        async with asyncio.timeout(PATIENCE), Fleet().run(keys=("secret",)) as fleet:
            with pytest.raises(InvalidStatus) as refused:
                await connect(fleet.url(NAMES[1], "resume=chat_00.first1&received=0"))
            assert refused.value.response.status_code == 401

    asyncio.run(go())


def test_a_session_is_hung_up_through_either_replica() -> None:
    async def go() -> None:
        path = "/v1/live/sessions"
        async with (
            asyncio.timeout(PATIENCE),
            Fleet().run() as fleet,
            connect(fleet.url(NAMES[0], "", path), compression=None) as link,
            httpx2.AsyncClient(base_url=f"http://{fleet.addresses[NAMES[1]]}") as other,
        ):
            await link.send(json.dumps({"type": "session.start", "session": {"model": "tiny"}}))
            event = json.loads(await link.recv())
            assert event["type"] == "session.started", event
            name = event["session"]["id"]
            assert name.endswith(".first1")
            assert (await other.post(f"{path}/{name}/hangup")).status_code == 200
            assert (await other.post(f"{path}/live_00.first1/hangup")).status_code == 404
            with pytest.raises(ConnectionClosed):
                while True:
                    event = json.loads(await link.recv())
            assert event["type"] == "session.closed"

    asyncio.run(go())


def test_whoever_reads_slowly_is_as_slow_in_the_replica_that_holds_the_conversation() -> None:
    sent = 0

    async def endless(scope: Any, receive: Any, send: Any) -> None:
        nonlocal sent
        await send({"type": "websocket.accept"})
        while True:
            await send({"type": "websocket.send", "bytes": bytes(10_000)})
            sent += 1

    async def go() -> list[int]:
        inner = InnerServer(endless, "127.0.0.1")
        relay = Relay(endless, "second2", lambda name: asyncio.sleep(0, inner.address))
        taken, given = asyncio.Queue(1), asyncio.Queue()
        given.put_nowait({"type": "websocket.connect"})
        scope = {
            "type": "websocket",
            "path": "/api/chat",
            "query_string": b"resume=chat_1.first1",
            "headers": [],
        }
        passed_on = asyncio.create_task(relay(scope, given.get, taken.put))
        counts = []
        for _ in range(20):
            await asyncio.sleep(0.05)
            counts.append(sent)
        passed_on.cancel()
        await inner.close()
        return counts

    *_, before, after = asyncio.run(go())
    assert 0 < before == after < 3000  # what fits into the buffers between


def test_a_replica_that_dies_takes_the_connections_with_it_that_it_holds() -> None:
    async def go() -> None:
        async with asyncio.timeout(PATIENCE), Fleet().run() as fleet:
            client = Client(fleet, 9)
            await client.connection(NAMES[0], 3)
            query = f"events=1&format=pcm16&resume={client.token}&received={client.received}"
            async with connect(fleet.url(NAMES[1], query), compression=None) as link:
                await link.recv()
                for protocol in list(fleet.inner[NAMES[0]]._server.server_state.connections):
                    protocol.transport.abort()  # pyright: ignore[reportAttributeAccessIssue]
                with pytest.raises(ConnectionClosed) as closed:
                    while True:
                        await link.recv()
            assert closed.value.rcvd is None or closed.value.rcvd.code not in (1000, 1001, 1008)

    asyncio.run(go())


def test_holder_of() -> None:
    scope = {"type": "websocket", "path": "/api/chat", "query_string": b"resume=chat_12ab.x9&received=3"}
    assert holder_of(scope) == "x9"
    assert holder_of(scope | {"query_string": b"resume=1"}) == ""
    assert holder_of(scope | {"query_string": b"resume=chat_12ab"}) == ""
    live = {"type": "http", "path": "/v1/live/sessions/live_12.x9/hangup", "query_string": b""}
    assert holder_of(live) == "x9"
    assert holder_of(live | {"path": "/assets/index.4f3a.js"}) == ""
    assert holder_of({"type": "lifespan"}) == ""
