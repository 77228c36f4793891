"""The base of OpenAI's Realtime and GPT-Live protocols: dispatch of events, pacing of audio, and closing."""

import asyncio
import json
from collections import deque
from collections.abc import Awaitable, Callable
from typing import ClassVar, Protocol

import numpy as np
from starlette.websockets import WebSocketDisconnect

from duologue.audio.framing import FRAME_SIZE
from duologue.engine.session import AgentFrame
from duologue.serve.kyutai import CLOSE
from duologue.serve.line import Line
from duologue.serve.link import RATE, RateLimiter, first_to_end, in_time
from duologue.serve.openai_events import Event, new_id
from duologue.serve.openai_wire import Wire
from duologue.serve.pool import Call, Ended, Pool
from duologue.serve.settings import AUDIO_BURST_SECONDS

AHEAD_FRAMES = 4  # user frames queued in the engine, which skips silence to catch up; later ones wait here
MISTAKES = 20  # invalid messages after which the connection is closed
Admit = Callable[[], Awaitable[Call]]
UNREADABLE = ValueError, TypeError, KeyError, AttributeError, RecursionError


class Refused(Exception):
    """A client's event is refused. `param` names the value at fault."""

    def __init__(self, code: str, text: str, param: str | None = None):
        super().__init__(text)
        self.code, self.param = code, param


class Sender(Protocol):
    """The sender of a command, which receives the errors about it."""

    mistakes: int

    async def send(self, event: Event) -> None: ...


class Exchange:
    """One conversation as JSON events over a wire."""

    HANDLED: ClassVar[frozenset[str]]
    """The events of a client; `a.b` is handled by the method `_on_a_b`."""

    def __init__(self, wire: Wire, pool: Pool):
        self._wire, self._pool = wire, pool
        self._call: Call | None = None
        self._ahead: deque[np.ndarray] = deque()  # user audio that came faster than real time
        self._ahead_samples = 0
        self._end: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self.mistakes = 0

    def hang_up(self, reason: str) -> None:
        """End the conversation from outside of it."""
        if not self._end.done():
            self._end.set_result(reason)

    async def _until_hung_up(self) -> None:
        raise Ended(await asyncio.shield(self._end))

    async def hold(self, admit: Admit) -> None:
        """Run the conversation to its end and close the connection."""
        reason, self._limiter = "gone", RateLimiter()
        try:
            await first_to_end(self._receive(), self._talk(admit), self._until_hung_up())
        except Ended as ended:
            reason = ended.reason
            await self._goodbye(ended)
        except (WebSocketDisconnect, RuntimeError):  # RuntimeError: a message after the peer has closed
            pass
        finally:
            if self._call is not None:
                self._call.close(reason)

    async def _goodbye(self, ended: Ended) -> None:
        if self._call is not None:
            self._call.close(ended.reason)  # free the slot before a slow peer has read the reason
        try:
            await self._last_words(ended)
            await in_time(self._wire.close(CLOSE.get(ended.reason, 1000), ended.reason))
        except (Ended, WebSocketDisconnect, RuntimeError):
            pass

    async def _last_words(self, ended: Ended) -> None:
        if CLOSE.get(ended.reason):
            hint = f" (in {ended.retry:.0f} s)" if ended.retry else ""
            await self._error("server_error", ended.reason, ended.text + hint)

    # Out

    async def _talk(self, admit: Admit) -> None:
        call = self._call = await self._admitted(admit)
        await self._begin()
        if isinstance(self._wire, Line):
            self._wire.announce = self._resumed
        while True:
            for said in await call.said():
                self._feed(call)
                await self._tell(said)

    async def _admitted(self, admit: Admit) -> Call:
        return await admit()

    def _resumed(self, received: int) -> str:
        """The first event after a reconnection; `received`: how many of the client's messages had arrived."""
        if self._call is not None:
            self._call.resumed()
        return json.dumps({"event_id": new_id("event"), "received": received, **self._update()})

    def _update(self) -> Event:
        """The event that describes the session, as after an update."""
        raise NotImplementedError

    async def _begin(self) -> None:
        """Announce the conversation."""
        raise NotImplementedError

    async def _tell(self, said: AgentFrame) -> None:
        """Send the events of one agent frame."""
        raise NotImplementedError

    async def _send(self, *events: Event) -> None:
        for event in events:
            await self.send({"event_id": new_id("event"), **event})

    async def send(self, event: Event) -> None:
        await in_time(self._wire.send(json.dumps(event)))

    def _error_event(self, kind: str, code: str, text: str, event_id: str | None, param: str | None) -> Event:
        error = {"type": kind, "code": code, "message": text, "param": param, "event_id": event_id}
        return {"event_id": new_id("event"), "type": "error", "error": error}

    async def _error(
        self, kind: str, code: str, text: str, event_id: str | None = None, param: str | None = None
    ) -> None:
        await self.send(self._error_event(kind, code, text, event_id, param))

    # In

    async def hear(self, wav_S: np.ndarray) -> None:
        """Take the user's audio at 24 kHz. Audio that comes faster than real time is queued; none of it is dropped,
        unless the model is slower than real time for longer than such a queue may be."""
        self._limiter.take(wav_S.size)
        if self._call is not None:
            self._ahead.extend(wav_S[at : at + FRAME_SIZE] for at in range(0, wav_S.size, FRAME_SIZE))
            self._ahead_samples += wav_S.size
            self._feed(self._call)
            while self._ahead_samples > AUDIO_BURST_SECONDS * RATE:
                self._next()

    def _feed(self, call: Call) -> None:
        while self._ahead and call.session.waiting < AHEAD_FRAMES:
            call.push(self._next())

    def _forget_ahead(self) -> None:
        self._ahead.clear()
        self._ahead_samples = 0

    def _next(self) -> np.ndarray:
        wav_S = self._ahead.popleft()
        self._ahead_samples -= wav_S.size
        return wav_S

    async def hush(self, seconds: float) -> None:
        """The user has sent no audio for `seconds` but is still connected: treat that as silence."""
        if self._call is not None:
            self._call.session.silent()

    async def _receive(self) -> None:
        while True:
            message = await self._wire.receive()
            await self._limiter.message(len(message))
            await self.take(message, self)

    async def take(self, message: str | bytes, sender: Sender) -> None:
        """Dispatch one client message; invalid ones are answered with an error event."""
        try:
            event = json.loads(message)
            kind, event_id = event["type"], event.get("event_id")
        except UNREADABLE:
            text = "a message is a JSON object with a type"
            await self._mistake(sender, None, Refused("invalid_json", text))
            return
        try:
            if not isinstance(kind, str) or kind not in self.HANDLED:
                raise Refused("unknown_event", self._unknown(kind), "type")
            await self._obey(event, sender)
        except Refused as refused:
            await self._mistake(sender, event_id, refused)
        except UNREADABLE:
            text = f"a value of {kind} cannot be understood"
            await self._mistake(sender, event_id, Refused("invalid_value", text))

    async def _obey(self, event: Event, sender: Sender) -> None:
        await getattr(self, "_on_" + event["type"].replace(".", "_"))(event)

    def _unknown(self, kind: object) -> str:
        return f"unknown event type {str(kind)[:60]!r}"

    async def _mistake(self, sender: Sender, event_id: str | None, refused: Refused) -> None:
        sender.mistakes += 1
        if sender.mistakes > MISTAKES:
            raise Ended("invalid", "Too many messages were not understood.")
        code, param = refused.code, refused.param
        await sender.send(self._error_event("invalid_request_error", code, str(refused), event_id, param))
