"""Limits of connections: how many, how long a request may take, how much is read at once. uvicorn has no deadline for a
request, no limit of connections per address, and processes all that a peer sent as one piece of work. A single peer
could block the server, or delay every conversation.
"""

import asyncio
import contextlib
import errno
import logging
import math
import resource
import socket
import ssl
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, cast

import h11
import uvicorn
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from duologue.serve.link import Budget
from duologue.serve.settings import (  # fmt: skip
    ANSWER_SECONDS,
    BLOCKED_SECONDS,
    CONNECTIONS,
    FLOOD,
    FROM_ONE,
    MESSAGES_BURST,
    MESSAGES_PER_SECOND,
    PIECE,
    REQUEST_SECONDS,
    SOUND_ANSWER_SECONDS,
    SOUND_PATHS,
    SPARE,
    UNSENT,
)

log = logging.getLogger(__name__)

PAUSE_SECONDS = 0.005  # seconds after a refused connection, so that a flood of them does not use all the time
NO_ROOM = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}
TOO_LARGE = b"HTTP/1.1 431 Request Header Fields Too Large\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
TLS_HANDSHAKE = b"\x16"  # the first byte of a connection
GOODBYE_SECONDS = 0.5  # for a close frame to arrive at a peer that is not read any more
AFTER_CLOSE = 256 * 1024  # bytes that are read after a close frame was sent, in search of the answer to it
TOO_SLOW = b"HTTP/1.1 408 Request Timeout\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"


class Http(H11Protocol):
    """A connection with deadlines for sending a whole request and for reading the answer."""

    _deadline: asyncio.TimerHandle | None = None
    began = 0.0
    shun: Callable[[str], object] = staticmethod(lambda host: None)

    @property
    def waits(self) -> bool:
        """Whether it is idle or its request is incomplete."""
        return self.conn.their_state in (h11.IDLE, h11.SEND_BODY)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)  # pyright: ignore[reportArgumentType]
        self.began = self.loop.time()
        self._within(REQUEST_SECONDS)

    def connection_lost(self, exc: Exception | None) -> None:
        self._within(None)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        complete = not self.waits
        super().data_received(data)
        if self.transport.get_protocol() is not self:
            return
        if self.waits:
            if (
                self._deadline is None or self._carries_sound
            ):  # a recording may take longer, while data arrives
                self._within(REQUEST_SECONDS)
        elif not complete:
            self._within(SOUND_ANSWER_SECONDS if self._carries_sound else ANSWER_SECONDS)

    @property
    def _carries_sound(self) -> bool:
        scope: Any = getattr(self, "scope", None)
        return self.conn.their_state is not h11.IDLE and bool(scope) and scope["path"].startswith(SOUND_PATHS)

    def on_response_complete(self) -> None:
        self._within(None)
        super().on_response_complete()

    def handle_websocket_upgrade(self, event: h11.Request) -> None:
        self._within(None)
        super().handle_websocket_upgrade(event)
        upgraded = self.transport.get_protocol()
        if not getattr(
            upgraded, "handshake_initiated", True
        ):  # a header line that is too long for the WebSocket library
            self.transport.write(TOO_LARGE)
            self.transport.close()
        elif isinstance(upgraded, Socket):
            upgraded.shun = self.shun

    def _within(self, seconds: float | None) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
        self._deadline = None if seconds is None else self.loop.call_later(seconds, self._late)

    def _late(self) -> None:
        if self.waits and self.conn.our_state is h11.IDLE:
            self.transport.write(TOO_SLOW)
            self.transport.close()
        else:
            self.transport.abort()


class Socket(WebSocketsSansIOProtocol):
    """A WebSocket with a small send buffer (frames for a slow peer wait in its session, which drops old ones) that
    reads little at once, so that a peer that sends much does not delay others."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.shun: Callable[[str], object] = lambda host: None
        self._unread = b""
        self._reads = False  # soon
        self._held_at = -math.inf  # when the peer was last not read
        self._frames = Budget(MESSAGES_PER_SECOND, MESSAGES_BURST)
        self._left = AFTER_CLOSE

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self.transport.set_write_buffer_limits(UNSENT)

    def data_received(self, data: bytes) -> None:
        if not self.handshake_initiated:
            super().data_received(data)
            return
        self._unread += data
        self._go_on()

    def _go_on(self) -> None:
        """Resume reading when all messages were taken."""
        if self.transport.is_closing() or self._left < 0:
            return
        if self._unread and not self.read_paused and not self._reads:
            self._reads = True
            self.loop.call_soon(self._read)
        if self._unread or self.read_paused:
            self._held_at = self.loop.time()
            self.transport.pause_reading()
        else:
            self.transport.resume_reading()

    def _read(self) -> None:
        self._reads = False
        if self.transport.is_closing() or self.read_paused or self._left < 0:
            return
        piece, self._unread = self._unread[:PIECE], self._unread[PIECE:]
        if self.close_sent:
            self._left -= len(piece)
            if self._left < 0:
                self._leave()
                return
        super().data_received(piece)
        self._go_on()

    async def receive(self):
        message = await self.queue.get()
        if self.read_paused and self.queue.empty():
            self.read_paused = False
            self._go_on()
        return message

    async def send(self, message) -> None:
        await super().send(message)
        if message["type"] == "websocket.close" and message.get("reason") == FLOOD:
            self._shun()
        if self.initial_response is not None and self.close_sent:
            self.handshake_complete = True  # it was refused, which uvicorn would log as an error
        if self.close_sent:  # the peer's close frame may be among the unread data
            self._go_on()

    def keepalive_timeout(self) -> None:
        """A peer that is not read, because what it sent waits for the model, may have answered: its pong waits too."""
        held = self.read_paused or self._unread or self.loop.time() - self._held_at < (self.ping_timeout or 0)
        if held and not self.transport.is_closing():
            self.pong_timer = self.loop.call_later(self.ping_timeout or 0, self.keepalive_timeout)
        else:
            super().keepalive_timeout()

    def handle_ping(self) -> None:
        if self._counted():
            super().handle_ping()

    def handle_pong(self, event) -> None:
        if self._counted():
            super().handle_pong(event)

    def handle_cont(self, event) -> None:
        if self._counted():
            super().handle_cont(event)

    def _counted(self) -> bool:
        """Frames other than whole messages, which the application limits itself: pings and fragments."""
        if not self._frames.take() and not self.close_sent:
            self.conn.fail(1008, "too many frames")
            self.handle_parser_exception()
            self._shun()
        return not self.close_sent

    def _shun(self) -> None:
        if self.client:
            self.shun(self.client[0])
        self._leave()

    def _leave(self) -> None:
        """Read nothing more, and end the connection soon: a peer that is told to go and sends on costs no time."""
        self._unread, self._left = b"", -1
        self.transport.pause_reading()
        self.loop.call_later(GOODBYE_SECONDS, self.transport.abort)


class Door:
    """Accepts connections at a socket, as one of `uvicorn.Server.servers`, with limits in all and per address (except
    trusted proxies). At the limit, a connection without a request is closed, or else the new one is refused; an address
    that flooded the server is blocked for a while."""

    def __init__(
        self,
        listening: socket.socket,
        connect: Callable[[], asyncio.Protocol],
        connections: set,
        tls: ssl.SSLContext | None,
        trusted,
        on_refused: Callable[[], object],
    ):
        listening.setblocking(False)
        self._listening, self._connect, self._connections = listening, connect, connections
        self._tls, self._trusted, self._on_refused = tls, trusted, on_refused
        self._most = most_connections()
        self._shunned: OrderedDict[str, float] = OrderedDict()  # until when
        self._beginning: dict[
            asyncio.Task[None], str
        ] = {}  # connections in their TLS handshake, and their addresses
        self.loop = asyncio.get_running_loop()
        self._task = self.loop.create_task(self._run())

    def shun(self, host: str) -> None:
        """Block an address for a while."""
        if host not in self._trusted:
            self._shunned[host] = self.loop.time() + BLOCKED_SECONDS
            self._shunned.move_to_end(host)
            if len(self._shunned) > CONNECTIONS:
                self._shunned.popitem(last=False)

    def close(self) -> None:
        for task in (self._task, *self._beginning):
            task.cancel()

    async def wait_closed(self) -> None:
        await asyncio.gather(self._task, *self._beginning, return_exceptions=True)

    async def _run(self) -> None:
        while True:
            try:
                await asyncio.sleep(0)  # accepting a waiting connection does not yield to other tasks
                link, address = await self.loop.sock_accept(self._listening)
            except OSError as error:  # the peer has disconnected, or the machine is out of descriptors
                if error.errno in NO_ROOM:
                    log.error("no connection can be accepted: %s", error.strerror)
                    await asyncio.sleep(1.0)
                continue
            host = address[0] if isinstance(address, tuple) else ""
            if not self._makes_room(host):
                self._on_refused()
                link.close()
                await asyncio.sleep(PAUSE_SECONDS)
                continue
            task = self.loop.create_task(self._begin(link))
            self._beginning[task] = host
            task.add_done_callback(self._beginning.pop)

    async def _begin(self, link: socket.socket) -> None:
        try:
            tls = self._tls if self._tls and await self._greets_in_tls(link) else None
            wait = REQUEST_SECONDS if tls else None
            await self.loop.connect_accepted_socket(self._connect, link, ssl=tls, ssl_handshake_timeout=wait)
        except (OSError, asyncio.CancelledError):
            link.close()

    async def _greets_in_tls(self, link: socket.socket) -> bool:
        """Whether a connection begins with a TLS handshake, and not with an http request (`create_app` redirects it).
        Raises TimeoutError if nothing comes."""
        readable = asyncio.Event()
        self.loop.add_reader(link, readable.set)
        try:
            async with asyncio.timeout(REQUEST_SECONDS):
                await readable.wait()
        finally:
            self.loop.remove_reader(link)
        return link.recv(1, socket.MSG_PEEK) == TLS_HANDSHAKE

    def _makes_room(self, host: str) -> bool:
        """Whether another connection from an address is allowed, possibly by closing an idle one."""
        if self._shunned.get(host, 0.0) > self.loop.time():
            return False
        if host and host not in self._trusted:
            mine = [link for link in self._connections if link.client and link.client[0] == host]
            if len(mine) + list(self._beginning.values()).count(host) >= FROM_ONE:
                return _end_oldest(mine)
        if len(self._connections) + len(self._beginning) < self._most:
            return True
        if self._tls and self._beginning:
            next(iter(self._beginning)).cancel()
            return True
        return _end_oldest(self._connections)


def _end_oldest(links) -> bool:
    """Close the connection that has waited longest for a request, if there is one."""
    waiting = [
        link for link in links if isinstance(link, Http) and link.waits and not link.transport.is_closing()
    ]
    if waiting:
        min(waiting, key=lambda link: link.began).transport.abort()
    return bool(waiting)


def most_connections() -> int:
    """The limit of open files of this process, minus what everything else needs."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = CONNECTIONS + SPARE
    if soft != resource.RLIM_INFINITY and soft < wanted:
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return CONNECTIONS if soft == resource.RLIM_INFINITY else max(8, min(CONNECTIONS, soft - SPARE))


class WebServer(uvicorn.Server):
    """uvicorn with these limits."""

    def __init__(self, config: uvicorn.Config, on_refused: Callable[[], object]):
        super().__init__(config)
        self._on_refused = on_refused

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await self.lifespan.startup()
        if self.lifespan.should_exit:
            raise SystemExit(1)

        def connect() -> asyncio.Protocol:
            link = Http(self.config, self.server_state, self.lifespan.state)
            link.shun = self._shun
            return link

        trusted = ProxyHeadersMiddleware(
            cast(Any, self.config.loaded_app), self.config.forwarded_allow_ips
        ).trusted_hosts
        self.servers: Any = [
            Door(
                listening, connect, self.server_state.connections, self.config.ssl, trusted, self._on_refused
            )
            for listening in sockets or []
        ]
        self.started = True

    def _shun(self, host: str) -> None:
        for door in self.servers:
            door.shun(host)

    def capture_signals(self):  # pyright: ignore[reportIncompatibleMethodOverride]
        """`run` handles signals: uvicorn would raise them again at the end, and change the exit code."""
        return contextlib.nullcontext()
