"""A conversation's connection to its client, which may resume on a new WebSocket.

A client that connects with `resume=1` may lose its connection and reconnect within `WAIT_SECONDS`: the conversation
waits and resumes at the same frame. Both sides count messages. On reconnection each side states how many messages it
has received, and the other side resends the missing ones, so none is lost or duplicated.
"""

import asyncio
import contextlib
import secrets
from collections import deque
from collections.abc import Callable, Coroutine

import numpy as np
from starlette.datastructures import QueryParams
from starlette.websockets import WebSocket, WebSocketDisconnect

from duologue.serve.link import first_to_end
from duologue.serve.settings import SEND_SECONDS

WAIT_SECONDS = 30.0  # seconds that a conversation waits for its client
GOODBYE_SECONDS = 1.0  # seconds for a close code to arrive once a message could not be sent
KEPT = 1 << 19  # bytes of sent messages kept for resending
CLOSED = 1000, 1001  # close codes of a client that will not reconnect
REPLACED = 4000  # close code of a connection that the client has replaced by a new one
SEPARATOR = "."  # between a name and the replica that holds it
Message = str | bytes
Announcement = Callable[[int], Message]
"""Makes the first message on a new connection from the number of client messages received so far."""


class TooOld(Exception):
    """The client misses messages that are no longer kept, or counts messages that were never sent."""


class Lines:
    """The resumable lines by name."""

    def __init__(self, replica: str = ""):
        self._replica = replica
        self._lines: dict[str, Line] = {}

    def new_name(self, kind: str) -> str:
        """A name that nobody can guess; in a fleet it ends with the replica that holds the conversation."""
        return f"{kind}_{secrets.token_hex(16)}{SEPARATOR}{self._replica}".removesuffix(SEPARATOR)

    async def hold(
        self, websocket: WebSocket, name: str | None, converse: Callable[["Line"], Coroutine]
    ) -> None:
        """Start a conversation on an accepted connection; returns when that connection is over or replaced. With a
        `name`, the client may resume it."""
        line = Line(name is not None)
        task = asyncio.create_task(converse(line))
        if name is not None:
            self._lines[name] = line
            task.add_done_callback(lambda _: self._lines.pop(name))
        await line.serve(websocket, task)

    async def resume(self, websocket: WebSocket, query: QueryParams) -> bool:
        """Resume a line on an accepted connection: in the query, `resume` is its name and `received` the number of
        messages that the client has received. Returns False if the line does not exist or cannot be resumed."""
        line = self._lines.get(query["resume"])
        received = query.get("received", "")
        if line is None or not received.isdecimal() or len(received) > 12:
            return False
        try:
            await line.come_back(websocket, int(received))
        except TooOld:
            return False
        return True


def wants_to_stay(query: QueryParams) -> bool:
    """Whether a new client asks for a resumable line."""
    return query.get("resume") == "1"


def comes_back(query: QueryParams) -> bool:
    return query.get("resume", "1") != "1"


class Line:
    """A `Wire` of which the connection may change. Without `keeps` it cannot be resumed."""

    has_track = False

    def __init__(self, keeps: bool):
        self.keeps = keeps
        self.announce: Announcement | None = None  # set by the conversation, once it has begun
        self._socket: WebSocket | None = None
        self._task: asyncio.Task | None = None
        self._given_up = asyncio.Event()  # set when the present connection is lost or replaced
        self._expiry: asyncio.TimerHandle | None = None
        self._inbox: asyncio.Queue[Message | None] = asyncio.Queue()
        self._code = 1006
        self._received = 0
        self._sent: deque[Message] = deque()
        self._dropped = self._bytes = 0  # messages no longer kept; bytes of those that are

    # For the conversation

    async def send(self, message: Message, counts: bool = True) -> None:
        """Send a message. If `counts` is False, it is neither counted nor resent. Raises WebSocketDisconnect or
        RuntimeError if the client has left for good."""
        if counts:
            self._keep(message)
        socket, given_up = self._socket, self._given_up
        if not self._stays:
            if socket is None:
                raise WebSocketDisconnect(self._code)
            await _write(socket, message)
        elif socket is not None:
            await self._try(socket, message, given_up)

    async def _try(self, socket: WebSocket, message: Message, given_up: asyncio.Event) -> None:
        try:
            async with asyncio.timeout(SEND_SECONDS / 2):
                await first_to_end(_write(socket, message), _until(given_up))
        except (WebSocketDisconnect, RuntimeError, TimeoutError):
            self._lose(socket)

    @property
    def _stays(self) -> bool:
        """Whether the client may resume: it asked for that, and the conversation has begun."""
        return self.keeps and self.announce is not None

    async def receive(self) -> Message:
        """The next message. Raises WebSocketDisconnect when no more will come."""
        message = await self._inbox.get()
        self._inbox.task_done()
        if message is None:
            raise WebSocketDisconnect(self._code)
        return message

    def play(self, wav_S: np.ndarray) -> None:
        raise NotImplementedError

    async def close(self, code: int, reason: str) -> None:
        """Close the connection, if there is one."""
        if self._socket is not None:
            await self._socket.close(code, reason)

    def _keep(self, message: Message) -> None:
        self._sent.append(message)
        self._bytes += len(message)
        while self._bytes > (KEPT if self._stays else 0):
            self._bytes -= len(self._sent.popleft())
            self._dropped += 1

    # For the connections

    async def serve(self, websocket: WebSocket, task: asyncio.Task) -> None:
        """Serve the first connection; `task` runs the conversation."""
        self._task, self._socket = task, websocket
        await self._serve(websocket)

    async def come_back(self, websocket: WebSocket, received: int) -> None:
        """Serve a new connection of a client that has received `received` messages. Raises TooOld."""
        total = self._dropped + len(self._sent)
        if self.announce is None or not self._dropped <= received <= total:
            raise TooOld
        self._given_up.set()
        self._given_up = asyncio.Event()
        self._code = 1006
        self._socket = None
        self._stop_waiting()
        try:
            async with asyncio.timeout(SEND_SECONDS):
                await _write(websocket, self.announce(self._received))
                while received < self._dropped + len(self._sent):
                    await _write(websocket, self._sent[received - self._dropped])
                    received += 1
        except (WebSocketDisconnect, RuntimeError, TimeoutError, IndexError):
            self._wait()
            return
        self._socket = websocket
        await self._serve(websocket)

    async def _serve(self, websocket: WebSocket) -> None:
        assert self._task is not None
        given_up = self._given_up
        pumping = asyncio.create_task(self._pump(websocket, given_up))
        waiting = asyncio.create_task(given_up.wait())
        try:
            await asyncio.wait({pumping, waiting, self._task}, return_when=asyncio.FIRST_COMPLETED)
            if waiting.done():  # a message could not be sent: was that because the client has said goodbye?
                await asyncio.wait({pumping, self._task}, timeout=GOODBYE_SECONDS)
        except asyncio.CancelledError:  # the server shuts down
            self._task.cancel()
            raise
        finally:
            for task in (pumping, waiting):
                task.cancel()
            await asyncio.gather(pumping, waiting, return_exceptions=True)
        if self._task.done():
            await asyncio.gather(self._task, return_exceptions=True)
            if not self._task.cancelled() and (error := self._task.exception()):
                raise error
        elif given_up.is_set() and not (given_up is self._given_up and self._code in CLOSED):
            with contextlib.suppress(RuntimeError, WebSocketDisconnect):
                await websocket.close(REPLACED, "replaced")
        else:
            await self._disconnected(websocket)

    async def _pump(self, websocket: WebSocket, given_up: asyncio.Event) -> None:
        """Receive messages one at a time, each when the conversation has taken the one before, until disconnection."""
        while True:
            message = await websocket.receive()
            if message["type"] == "websocket.disconnect":
                if given_up is self._given_up:  # else the code is not of the present connection
                    self._code = message.get("code", 1006)
                return
            if self._socket is not websocket:  # given up: the client sends again what has not been counted
                continue
            self._inbox.put_nowait(message.get("bytes") or message.get("text") or b"")
            self._received += 1
            await self._inbox.join()

    async def _disconnected(self, websocket: WebSocket) -> None:
        if self._stays and self._code not in CLOSED:
            self._lose(websocket)
            return
        self._socket = None
        self._stop_waiting()
        self._inbox.put_nowait(None)
        assert self._task is not None
        await asyncio.gather(self._task, return_exceptions=True)

    def _lose(self, websocket: WebSocket) -> None:
        if self._socket is websocket:
            self._socket = None
            self._given_up.set()
            self._wait()

    def _wait(self) -> None:
        self._stop_waiting()
        self._expiry = asyncio.get_running_loop().call_later(WAIT_SECONDS, self._inbox.put_nowait, None)

    def _stop_waiting(self) -> None:
        if self._expiry is not None:
            self._expiry.cancel()
            self._expiry = None


async def _until(event: asyncio.Event) -> None:
    await event.wait()


async def _write(websocket: WebSocket, message: Message) -> None:
    if isinstance(message, bytes):
        await websocket.send_bytes(message)
    else:
        await websocket.send_text(message)
