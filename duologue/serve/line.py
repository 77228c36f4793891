"""A conversation's line to its client, over one WebSocket after another.

A client that asks for it (`resume=1`) may lose its connection and reconnect within `WAIT_SECONDS`: the conversation
waits and resumes at the same frame. Both sides count messages. On reconnection the client says how many it has got,
and is told how many of its own arrived; missing messages are sent again, so nothing is lost or duplicated.
"""

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable, Coroutine

import numpy as np
from starlette.datastructures import QueryParams
from starlette.websockets import WebSocket, WebSocketDisconnect

from duologue.serve.link import first_to_end
from duologue.serve.settings import SEND_SECONDS

WAIT_SECONDS = 30.0  # seconds that a conversation waits for its client
KEPT = 1 << 19  # bytes of messages that can be sent again
CLOSED = 1000, 1001  # the codes with which a client says that it will not come back
REPLACED = 4000  # with which a connection is closed whose client has come back on another
Message = str | bytes
Announcement = Callable[[int], Message]
"""The first message on a new connection, from the number of the client's messages that were received."""


class TooOld(Exception):
    """The client has missed more than can be sent again, or counts what was never sent."""


class Lines:
    """The lines whose clients may come back, by their names."""

    def __init__(self):
        self._lines: dict[str, Line] = {}

    async def hold(
        self, websocket: WebSocket, name: str | None, converse: Callable[["Line"], Coroutine]
    ) -> None:
        """Hold a conversation that begins on an accepted connection; returns when that has no part in it any more.
        With a `name`, its client may come back."""
        line = Line(name is not None)
        task = asyncio.create_task(converse(line))
        if name is not None:
            self._lines[name] = line
            task.add_done_callback(lambda _: self._lines.pop(name))
        await line.serve(websocket, task)

    async def resume(self, websocket: WebSocket, query: QueryParams) -> bool:
        """Take an accepted connection for that of a client who comes back: `resume` names the line, `received` counts
        what has arrived. Returns False if there is no such line, or it cannot go on."""
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
    """Whether a client says at its beginning that it may come back."""
    return query.get("resume") == "1"


def comes_back(query: QueryParams) -> bool:
    return query.get("resume", "1") != "1"


class Line:
    """What the conversation sends and receives: a `Wire`. Without `keeps` it is its one connection."""

    has_track = False

    def __init__(self, keeps: bool):
        self.keeps = keeps
        self.announce: Announcement | None = None  # set by the conversation, once it has begun
        self._socket: WebSocket | None = None
        self._task: asyncio.Task | None = None
        self._given_up = asyncio.Event()  # the connection of now: another has taken its place, or it is lost
        self._expiry: asyncio.TimerHandle | None = None
        self._inbox: asyncio.Queue[Message | None] = asyncio.Queue()
        self._code = 1006
        self._received = 0
        self._sent: deque[Message] = deque()
        self._dropped = self._bytes = 0  # how many are not kept any more; the size of the others

    # For the conversation

    async def send(self, message: Message, counts: bool = True) -> None:
        """Send a message; one that does not count is not sent again. Raises WebSocketDisconnect or RuntimeError if the
        client has gone for good."""
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
        """Whether the client may come back: it has asked for it, and the conversation has begun."""
        return self.keeps and self.announce is not None

    async def receive(self) -> Message:
        """The next message. Raises WebSocketDisconnect once there will be none."""
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
        """The first connection, and the task that holds the conversation."""
        self._task, self._socket = task, websocket
        await self._serve(websocket)

    async def come_back(self, websocket: WebSocket, received: int) -> None:
        """Another connection of a client that has `received` so many messages. Raises TooOld."""
        total = self._dropped + len(self._sent)
        if self.announce is None or not self._dropped <= received <= total:
            raise TooOld
        self._given_up.set()
        self._given_up = asyncio.Event()
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
        pumping = asyncio.create_task(self._pump(websocket))
        waiting = asyncio.create_task(given_up.wait())
        try:
            await asyncio.wait({pumping, waiting, self._task}, return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:  # the server is told to stop
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
        elif given_up.is_set():
            with contextlib.suppress(RuntimeError, WebSocketDisconnect):
                await websocket.close(REPLACED, "replaced")
        else:
            await self._disconnected(websocket)

    async def _pump(self, websocket: WebSocket) -> None:
        """Take messages one at a time, as fast as the conversation does, until there are none."""
        while True:
            message = await websocket.receive()
            if message["type"] == "websocket.disconnect":
                self._code = message.get("code", 1006)
                return
            self._inbox.put_nowait(message.get("bytes") or message.get("text") or b"")
            self._received += 1
            await self._inbox.join()

    async def _disconnected(self, websocket: WebSocket) -> None:
        if self._stays and self._code not in CLOSED:
            self._lose(websocket)
            return
        self._socket = None
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
