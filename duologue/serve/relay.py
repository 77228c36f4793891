"""A fleet's connections: each reaches the replica that holds its conversation.

A proxy spreads connections over the replicas and knows nothing of conversations. The name of a conversation ends with
its replica (`Lines.new_name`), so a replica that is asked for another one's conversation, as `?resume=NAME` or as
`/v1/live/sessions/NAME/...`, passes the ASGI messages of that connection on to it, both ways, through a handle of Ray.
"""

import asyncio
import logging
import secrets
from collections.abc import AsyncGenerator
from typing import Any
from urllib.parse import parse_qs

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from duologue.serve.line import SEPARATOR

log = logging.getLogger(__name__)

WAIT_SECONDS = 1.0  # seconds for a client's own goodbye to arrive, once Ray says that the client has left
AGAIN_SECONDS = 0.02  # seconds until a message that reached the wrong replica is sent again
TRIES = 50  # how often it is sent
FINDS = 3  # how often a holder is looked for: Ray asks another replica where that one is gone, and once in a while else
AHEAD = 64  # messages that may be under way to another replica
REPORT = 16  # messages after which that one reports that they are sent
SENT = "relay.sent"  # the type of such a report
KINDS = "chat_", "sess_", "live_"  # names of conversations begin with one of these
PASSED_ON = (  # of an ASGI scope: plain values
    "type", "asgi", "http_version", "method", "scheme", "path", "raw_path", "root_path", "query_string",
    "headers", "client", "server", "subprotocols", "extensions",
)  # fmt: skip


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


class Guest:
    """A connection that came to another replica. That one reports what it has sent, so that a client that reads slowly
    is as slow here."""

    def __init__(self, app: ASGIApp, scope: Scope):
        self.outbox: asyncio.Queue[Message | None] = asyncio.Queue()
        self._ahead = asyncio.Semaphore(AHEAD)
        self.connection = Connection(app, scope, self._send)
        self.connection.task.add_done_callback(lambda _: self.outbox.put_nowait(None))

    async def _send(self, message: Message) -> None:
        await self._ahead.acquire()
        self.outbox.put_nowait(message)

    def hear(self, message: Message) -> None:
        if message["type"] != SENT:
            self.connection.push(message)
            return
        for _ in range(REPORT):
            self._ahead.release()


class Relay:
    """The application of a replica for all connections that come to it. `handle` is Ray's, of the deployment."""

    def __init__(self, app: ASGIApp, replica: str, handle: Any):
        self._app, self._replica, self._handle = app, replica, handle
        self._guests: dict[str, Guest] = {}
        self._tasks: set[asyncio.Future[Any]] = set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        holder = holder_of(scope)
        if holder not in ("", self._replica):
            for _ in range(FINDS):
                if await self._pass_on(holder, scope, receive, send):
                    return
                await asyncio.sleep(AGAIN_SECONDS)
        # Where nobody holds the conversation any more, this replica says so in its protocol.
        await self._serve(scope, receive, send)

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

    # In the replica that got the connection

    async def _pass_on(self, holder: str, scope: Scope, receive: Receive, send: Send) -> bool:
        """Pass a connection on to its end. Returns False if the holder was not reached."""
        name, handle = secrets.token_hex(8), self._handle.options(multiplexed_model_id=holder)
        plain = {key: scope[key] for key in PASSED_ON if key in scope}
        answers = handle.options(stream=True).carry.remote(name, holder, plain)
        hearing, sent, over = None, 0, False
        try:
            async for message in answers:
                if hearing is None:  # the first message says that the connection is there
                    log.info("connection is passed on", extra={"replica": holder})
                    hearing = asyncio.create_task(self._pass_in(handle, name, receive))
                    continue
                await send(message)
                sent += 1
                if sent % REPORT == 0:
                    self._keep(asyncio.create_task(_tell(handle, name, {"type": SENT})))
            over = True
        except Exception:  # of whatever kind Ray's are where that replica is no more
            if hearing is not None:
                raise
        finally:
            if hearing is not None:
                self._keep(asyncio.create_task(_part(hearing, over, handle, name, lost(scope))))
        return hearing is not None

    async def _pass_in(self, handle: Any, name: str, receive: Receive) -> None:
        while True:
            message = await receive()
            await _tell(handle, name, message)
            if message["type"].endswith(".disconnect"):
                return

    # In the replica that holds the conversation

    async def carry(self, name: str, holder: str, scope: Scope) -> AsyncGenerator[Message]:
        """Serve a connection that came to another replica; yields an empty message, then the application's. A replica
        that is not the `holder` yields nothing: Ray asks any replica where that one is gone."""
        if holder != self._replica:
            return
        guest = self._guests[name] = Guest(self._app, scope)
        try:
            yield {}
            while (message := await guest.outbox.get()) is not None:
                yield message
        finally:
            guest.connection.leave()
            asyncio.get_running_loop().call_later(2 * WAIT_SECONDS, self._guests.pop, name)

    def hear(self, name: str, message: Message) -> bool:
        """A message of the client of such a connection. Returns False in a replica that does not carry it."""
        guest = self._guests.get(name)
        if guest is not None:
            guest.hear(message)
        return guest is not None


async def _tell(handle: Any, name: str, message: Message) -> None:
    """Send a message to the holder. Ray may direct it to another replica once in a while."""
    for _ in range(TRIES):
        if await handle.hear.remote(name, message):
            return
        await asyncio.sleep(AGAIN_SECONDS)


async def _part(hearing: "asyncio.Task[None]", over: bool, handle: Any, name: str, last: Message) -> None:
    """A connection has ended: let the client's goodbye arrive at the holder, or say that the client is gone."""
    if not over:
        await asyncio.wait({hearing}, timeout=WAIT_SECONDS)
    if not hearing.done():
        hearing.cancel()
        await _tell(handle, name, last)


async def _hear(receive: Receive, connection: Connection) -> None:
    while True:
        message = await receive()
        connection.push(message)
        if message["type"].endswith(".disconnect"):
            return


def lost(scope: Scope) -> Message:
    """What an application is told of a client that has left without a word."""
    return {"type": f"{scope['type']}.disconnect", "code": 1006}


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
