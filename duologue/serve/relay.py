"""A fleet's connections: each reaches the replica that holds its conversation.

A proxy spreads connections over the replicas and knows nothing of conversations. The name of a conversation ends with
its replica (`Lines.new_name`), so a replica that is asked for another one's conversation, as `?resume=NAME` or as
`/v1/live/sessions/NAME/...`, is a reverse proxy to a port of that one (`InnerServer`). Not by Ray's own calls: if the
caller of one dies, Ray stops the event loop of the replica that answers, a second for each (seen with Ray 2.60).
"""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Iterable
from typing import Any
from urllib.parse import parse_qs, quote

import httpx2
import uvicorn
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus

from duologue.serve.line import SEPARATOR
from duologue.serve.run import listen
from duologue.serve.settings import MESSAGE

log = logging.getLogger(__name__)

WAIT_SECONDS = 1.0  # seconds for a client's own goodbye to arrive, once Ray says that the client has left
FIND_SECONDS = 2.0  # seconds for Ray to say where another replica is
REACH_SECONDS = 2.0  # seconds to reach another replica
ANSWER_SECONDS = 30.0  # seconds for its answer to a request
KINDS = "chat_", "sess_", "live_"  # names of conversations begin with one of these
LOST = 1006  # close code of a connection that ended without a word
NO_CODE = 1005  # of one whose goodbye gave none; uvicorn's for a lost one too
OF_ONE_HOP = (  # headers that end at each hop, or are made anew
    "connection", "upgrade", "keep-alive", "te", "trailer", "transfer-encoding", "content-length", "content-encoding",
    "proxy-connection", "x-forwarded-for", "sec-websocket-key", "sec-websocket-version", "sec-websocket-extensions",
    "sec-websocket-protocol",
)  # fmt: skip
PATH_CHARACTERS = "/:@!$&'()*+,;=~%"

Find = Callable[[str], Awaitable[str | None]]
"""The address of a replica's `InnerServer`, "host:port"; None if there is no such replica any more."""


class Connection:
    """Runs the application for one connection in a task of its own.

    Ray cancels a request as soon as its client has left. The application must get a message of that instead: the
    conversation may be waiting for its client to come back.
    """

    def __init__(self, app: ASGIApp, scope: Scope, send: Send):
        self._lost = lost(scope)
        self._inbox: asyncio.Queue[Message] = asyncio.Queue()
        self._send, self._left = send, False
        self.task = asyncio.ensure_future(app(scope, self._receive, self._write))

    def push(self, message: Message) -> None:
        """A message of the client."""
        self._inbox.put_nowait(message)

    def leave(self) -> None:
        """The client can be sent no more. Its last message may still come."""
        self._left = True
        asyncio.get_running_loop().call_later(WAIT_SECONDS, self.push, self._lost)

    async def _receive(self) -> Message:
        message = await self._inbox.get()
        if message["type"] == self._lost["type"]:
            self._left = True
            self.push(message)  # as often as it is asked for
        return message

    async def _write(self, message: Message) -> None:
        if self._left:
            raise OSError("the client has left")
        await self._send(message)


class Relay:
    """The application of a replica for all connections that come to it."""

    def __init__(self, app: ASGIApp, replica: str, find: Find):
        self._app, self._replica, self._find = app, replica, find
        self._addresses: dict[str, str] = {}  # of replicas that were found
        self._tasks: set[asyncio.Future[Any]] = set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        holder = holder_of(scope)
        if holder not in ("", self._replica) and (address := await self._address(holder)) is not None:
            if scope["type"] == "http":
                body = await Request(scope, receive).body()
                receive = _again(body)
                passed_on = await _pass_on_request(address, scope, body, receive, send)
            else:
                passed_on = await self._pass_on(address, scope, receive, send)
            if passed_on:
                return
        # Where nobody holds the conversation any more, this replica says so in its protocol.
        await self._serve(scope, receive, send)

    async def _address(self, replica: str) -> str | None:
        if replica not in self._addresses:
            try:
                async with asyncio.timeout(FIND_SECONDS):
                    found = await self._find(replica)
            except TimeoutError:  # Ray takes its time over one that has just died
                found = None
            if found is None:
                return None
            self._addresses[replica] = found
        return self._addresses[replica]

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "websocket":
            await self._app(scope, receive, send)
            return
        connection = Connection(self._app, scope, send)
        self._keep(connection.task)
        hearing = asyncio.create_task(_hear(receive, connection))
        self._keep(hearing)
        connection.task.add_done_callback(lambda _: hearing.cancel())
        try:
            await asyncio.shield(connection.task)
        except asyncio.CancelledError:
            connection.leave()
            raise

    def _keep(self, task: "asyncio.Future[Any]") -> None:
        """Hold a task that nobody waits for, to its end."""
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _pass_on(self, address: str, scope: Scope, receive: Receive, send: Send) -> bool:
        """Pass a WebSocket on to its end. Returns False if the holder was not reached."""
        try:
            link = await _link(address, scope)
        except InvalidStatus as refused:
            answer = refused.response
            await receive()  # websocket.connect
            headers = _kept(answer.headers.raw_items())
            await Response(bytes(answer.body), answer.status_code, headers)(scope, receive, send)
            return True
        except (OSError, TimeoutError, InvalidHandshake):
            return False
        log.info("connection is passed on", extra={"replica": address})
        hearing = asyncio.create_task(_pass_in(receive, link))
        self._keep(hearing)
        try:
            await send({"type": "websocket.accept", "subprotocol": link.subprotocol})
            with contextlib.suppress(ConnectionClosed):
                async for message in link:
                    kind = "bytes" if isinstance(message, bytes) else "text"
                    await send({"type": "websocket.send", kind: message})
            if link.close_code == LOST:
                raise ConnectionError("the replica that holds the conversation is gone")
            await send(
                {"type": "websocket.close", "code": link.close_code, "reason": link.close_reason or ""}
            )
        finally:
            self._keep(asyncio.create_task(_part(hearing, link)))
        return True


class InnerServer:
    """The application on a port of its own, for other replicas."""

    def __init__(self, app: ASGIApp, host: str):
        listening = listen(host, 0)
        self.address = f"{host}:{listening.getsockname()[1]}"
        config = uvicorn.Config(
            app, ws="websockets-sansio", ws_max_size=MESSAGE, ws_per_message_deflate=False, lifespan="off",
            log_config=None, access_log=False, forwarded_allow_ips="*", timeout_graceful_shutdown=3,
        )  # fmt: skip
        self._server = uvicorn.Server(config)
        self._task = asyncio.ensure_future(self._server.serve([listening]))

    async def close(self) -> None:
        """End all connections and the task."""
        self._server.should_exit = True
        await self._task


async def _link(address: str, scope: Scope) -> ClientConnection:
    """The client's connection once more, from here to another replica."""
    host, _, port = address.rpartition(":")
    headers = dict(_headers(scope))
    name = headers.pop("host", address)
    return await connect(
        f"ws://{name}{_target(scope)}", host=host, port=int(port), proxy=None, compression=None, max_size=None,
        open_timeout=REACH_SECONDS, subprotocols=scope.get("subprotocols") or None,
        additional_headers=headers, user_agent_header=None,
    )  # fmt: skip


async def _pass_in(receive: Receive, link: ClientConnection) -> None:
    """The client's messages to the other replica, and how it left."""
    with contextlib.suppress(ConnectionClosed):
        await receive()  # websocket.connect
        while (message := await receive())["type"] != "websocket.disconnect":
            data = message.get("bytes")
            await link.send(message["text"] if data is None else data)
        code = message.get("code") or NO_CODE
        if code in (LOST, NO_CODE):
            link.transport.abort()
        else:
            await link.close(code)


async def _part(hearing: "asyncio.Task[None]", link: ClientConnection) -> None:
    """The connection is over, or Ray says that the client has left: let its goodbye arrive, or say that it is lost."""
    if link.close_code is None:
        await asyncio.wait({hearing}, timeout=WAIT_SECONDS)
    if not hearing.done():
        hearing.cancel()
        link.transport.abort()


def _again(body: bytes) -> Receive:
    """What has been received of a request, once more."""

    async def receive() -> Message:
        return {"type": "http.request", "body": body, "more_body": False}

    return receive


async def _pass_on_request(address: str, scope: Scope, body: bytes, receive: Receive, send: Send) -> bool:
    """Pass a request on. Returns False if the holder was not reached."""
    timeout = httpx2.Timeout(ANSWER_SECONDS, connect=REACH_SECONDS)
    try:
        async with httpx2.AsyncClient(trust_env=False, timeout=timeout) as client:
            url = f"http://{address}{_target(scope)}"
            answer = await client.request(scope["method"], url, headers=_headers(scope), content=body)
    except httpx2.HTTPError:
        return False
    await Response(answer.content, answer.status_code, _kept(answer.headers.items()))(scope, receive, send)
    return True


def _kept(headers: Iterable[tuple[str, str]]) -> dict[str, str]:
    """The headers of an answer that are passed on."""
    return {name: value for name, value in headers if name.lower() not in OF_ONE_HOP}


def _target(scope: Scope) -> str:
    path, query = quote(scope["path"], safe=PATH_CHARACTERS), scope["query_string"].decode("latin-1")
    return f"{path}?{query}" if query else path


def _headers(scope: Scope) -> list[tuple[str, str]]:
    """Those of the client, and who it is."""
    given = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in scope["headers"]]
    kept = [(name, value) for name, value in given if name not in OF_ONE_HOP]
    return [*kept, ("x-forwarded-for", scope["client"][0])] if scope.get("client") else kept


async def _hear(receive: Receive, connection: Connection) -> None:
    while True:
        message = await receive()
        connection.push(message)
        if message["type"].endswith(".disconnect"):
            return


def lost(scope: Scope) -> Message:
    """What an application is told of a client that has left without a word."""
    return {"type": f"{scope['type']}.disconnect", "code": LOST}


def holder_of(scope: Scope) -> str:
    """The replica that holds the conversation which a request names; "" if it names none of a fleet."""
    if scope["type"] not in ("http", "websocket"):
        return ""
    asked = parse_qs(scope["query_string"].decode("latin-1")).get("resume", [""])[0]
    for name in (asked, *scope["path"].split("/")):
        kind, _, replica = name.partition(SEPARATOR)
        if kind.startswith(KINDS) and replica.isalnum():
            return replica
    return ""
