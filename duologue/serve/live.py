"""The GPT-Live protocol (`openai.types.live`): `WS /v1/live/sessions`, `POST` of the same for WebRTC, and `/attach`.

The protocol is for full-duplex models: there are no turns and no commits, and audio goes both ways in every frame. The
model does not read text, so text from the client is either spoken (`session.commentary.append`) or acknowledged and
dropped.
"""

import asyncio
import base64
import binascii
import contextlib
import json
from collections import deque
from dataclasses import replace

import numpy as np
from starlette.websockets import WebSocketDisconnect

from duologue.engine.session import AgentFrame
from duologue.serve.delegation import FILLER
from duologue.serve.kyutai import CLOSE
from duologue.serve.link import Pcm16, RateLimiter, first_to_end, in_time
from duologue.serve.live_schema import COMMANDS, check_command
from duologue.serve.live_session import LiveSettings, Resource, started, updated_acknowledgement
from duologue.serve.openai_events import Event, new_id
from duologue.serve.openai_exchange import Admit, Exchange, Refused, Sender
from duologue.serve.openai_wire import Wire
from duologue.serve.pool import Call, Ended, Pool
from duologue.serve.questions import Questions
from duologue.serve.settings import FIRST_SOUND_SECONDS

FRAME_MS = 80
USAGE_FRAMES = 188  # frames between two usage events: 15 s
DELEGATIONS = 100  # the latest ids, which a client may refer to
LONGEST = 500  # tokens in one appended text
SIDEBANDS = 8  # of one session: each is sent all of its sound
WAITING = 400  # events queued for a sideband; a slower reader is disconnected
PRIMARY = "session.start", "session.input_audio.append"  # events that a sideband must not send
REASONS = {"close_requested": "close_requested", "time_limit": "expired", "gone": "remote_hangup"}
NOT_READ = "the model reads no text: it is acknowledged and dropped"


class LiveSession(Exchange):
    """One conversation in the protocol's events. `settings` is given if the session was configured when it was created
    (WebRTC); otherwise `session.start` brings it."""

    HANDLED = frozenset(COMMANDS)

    def __init__(self, wire: Wire, pool: Pool, resource: Resource, settings: LiveSettings | None = None):
        super().__init__(wire, pool)
        self.resource = resource
        self.settings = settings or LiveSettings()
        self._reads = self._writes = self.settings.sound()
        self._started = asyncio.Event()
        self._start_id: str | None = None  # of the client's event
        if settings is not None:
            self._started.set()
        self._muted = self._closed = False
        self._frames = 0
        self._told = self.settings.told  # whether the client knows that its text is not read
        self._questions = Questions(pool.help.asks)
        self._delegations: deque[str] = deque(maxlen=DELEGATIONS)  # their ids
        self._acknowledge_at: int | None = None  # the frame
        self._observers: set[Sideband] = set()

    # Beginning and end

    async def _admitted(self, admit: Admit) -> Call:
        try:
            async with asyncio.timeout(FIRST_SOUND_SECONDS):
                await self._started.wait()
        except TimeoutError:
            raise Ended("invalid", "The first event must be session.start.") from None
        return await admit()

    def _update(self) -> Event:
        return {"type": "session.updated", "session": self.described()}

    async def _begin(self) -> None:
        if self._call is not None and self.settings.delegates:
            self._call.stop_delegating()
        await self.publish("session.started", self._start_id, session=self.described())
        if self.settings.allowed.from_client is not None or self.settings.allowed.to_client is not None:
            await self.publish(
                "info", code="data_channel_permissions", message="some events may not pass here"
            )
        if self._told:
            await self.publish("info", code="text_not_read", message=NOT_READ)

    def described(self) -> Event:
        return self.resource.described(self.settings, self._wire.has_track)

    @property
    def begun(self) -> bool:
        """Whether the session has started and has not ended."""
        return self._call is not None and not self._closed

    async def _last_words(self, ended: Ended) -> None:
        await super()._last_words(ended)
        await self._close(ended.reason)

    async def _close(self, reason: str) -> None:
        if self._call is None or self._closed:
            return
        self._closed = True
        reason = REASONS.get(reason, "connection_lost")
        usage = {"seconds": self._seconds}
        await self.publish("session.closed", reason=reason, session=self.described(), usage=usage)

    async def hold(self, admit: Admit) -> None:
        """Run the session to its end and close it; sidebands get the closing event whatever the reason was."""
        try:
            await super().hold(admit)
        finally:
            with contextlib.suppress(Ended, WebSocketDisconnect, RuntimeError):
                await self._close("gone")
            for observer in list(self._observers):
                observer.over()

    # Out

    async def publish(self, type: str, client_event_id: str | None = None, /, **fields: object) -> None:
        """Send an event to the client, if it may receive it, and to all sidebands."""
        event = {"event_id": new_id("event"), "type": type, **fields}
        if client_event_id is not None:
            event["client_event_id"] = client_event_id
        self._reflect(event)
        allowed = self.settings.allowed.to_client
        if allowed is None or type in allowed:
            await self.send(event)

    def _error_event(self, kind: str, code: str, text: str, event_id: str | None, param: str | None) -> Event:
        error = {"type": kind, "code": code, "message": text, "param": param, "client_event_id": event_id}
        return {"event_id": new_id("event"), "type": "error", "error": error}

    async def _tell(self, said: AgentFrame) -> None:
        now = self._now
        self._frames += 1
        span = {"start_ms": now, "end_ms": self._now}
        if self._wire.has_track:
            self._wire.play(said.wav_S)
        else:
            delta = base64.b64encode(self._writes.write(said.wav_S)).decode()
            await self.send({"type": "session.output_audio.delta", "delta": delta})
        if self._observers:
            delta = base64.b64encode(Pcm16.write(said.wav_S)).decode()
            self._reflect({"type": "session.output_audio.delta", "delta": delta, **span})
        if said.text:
            await self.publish("session.output_transcript.delta", delta=said.text, **span)
        if said.user_text:
            await self.publish("session.input_transcript.delta", delta=said.user_text, **span)
        if self.settings.delegates:
            await self._delegate(said)
        if self._frames % USAGE_FRAMES == 0:
            await self.publish("session.usage.updated", usage={"seconds": self._seconds})

    async def _delegate(self, said: AgentFrame) -> None:
        """Delegate the user's questions to the client. The agent stays silent meanwhile, and says a filler if the
        client has sent nothing after the acknowledgement delay."""
        assert self._call is not None
        session = self._call.session
        if self._frames == 1 and said.user_token < 0:
            text = "the model does not write down the user's words: nothing will be delegated"
            await self.publish("info", code="delegation_not_available", message=text)
        if self._questions.push(said) is not None:
            self._delegations.append(new_id("delegation"))
            session.hold()
            self._acknowledge_at = self._frames + self.settings.acknowledgement_ms // FRAME_MS
            delegation = {"id": self._delegations[-1], "type": "delegation", "target": "client"}
            await self.publish("session.delegation.created", delegation=delegation, offset_ms=self._now)
        if self._acknowledge_at is not None and self._frames >= self._acknowledge_at:
            self._acknowledge_at = None
            session.dictate(FILLER)
            session.hold()

    def _reflect(self, event: Event) -> None:
        for observer in list(self._observers):
            observer.put(event)

    @property
    def _now(self) -> int:
        return FRAME_MS * self._frames

    @property
    def _seconds(self) -> float:
        return round(self._now / 1000, 2)

    # In

    async def hear(self, wav_S: np.ndarray) -> None:
        """The user's audio at 24 kHz. Sidebands get it even while it is muted."""
        if self._observers:
            sound = base64.b64encode(Pcm16.write(wav_S)).decode()
            self._reflect({"type": "session.input_audio.append", "audio": sound})
        await super().hear(np.zeros_like(wav_S) if self._muted else wav_S)

    def _unknown(self, kind: object) -> str:
        return f"unknown event type {str(kind)[:60]!r}: known are {', '.join(COMMANDS)}"

    async def _obey(self, event: Event, sender: Sender) -> None:
        kind, allowed = event["type"], self.settings.allowed.from_client
        if sender is not self and kind in PRIMARY:
            raise Refused("unknown_event", f"{kind} comes over the first connection alone", "type")
        if sender is self and allowed is not None and kind not in allowed:
            raise Refused("event_not_allowed", f"{kind} may not be sent over this data channel", "type")
        check_command(event)
        if kind == "session.start" and self._started.is_set():
            raise Refused("session_already_started", "the session has started")
        if kind != "session.start" and not self._started.is_set():
            raise Refused("session_not_started", "the first event is session.start", "type")
        await getattr(self, "_on_" + kind.removeprefix("session.").replace(".", "_"))(event)

    async def _on_start(self, event: Event) -> None:
        self.settings = started(event["session"], self._wire.has_track)
        self._reads, self._writes = self.settings.sound(), self.settings.sound()
        self._told, self._start_id = self.settings.told, event.get("event_id")
        self._started.set()

    async def _on_update(self, event: Event) -> None:
        wait = updated_acknowledgement(event["session"], self.settings.acknowledgement_ms)
        self.settings = replace(self.settings, acknowledgement_ms=wait)
        await self.publish("session.updated", event.get("event_id"), session=self.described())

    async def _on_input_audio_append(self, event: Event) -> None:
        if self._wire.has_track:
            raise Refused("event_not_allowed", "the sound of this session comes over its track", "type")
        try:
            data = base64.b64decode(event["audio"], validate=True)
        except binascii.Error:
            raise Refused("invalid_value", "audio is base64", "audio") from None
        if data:
            await self.hear(self._reads.read(data))

    async def _on_input_audio_mute(self, event: Event) -> None:
        self._muted = True
        await self.publish("session.input_audio.muted", event.get("event_id"))

    async def _on_input_audio_unmute(self, event: Event) -> None:
        self._muted = False
        await self.publish("session.input_audio.unmuted", event.get("event_id"))

    async def _on_instructions_append(self, event: Event) -> None:
        await self._drop("instructions", event)

    async def _on_thinking_append(self, event: Event) -> None:
        await self._drop("thinking", event)

    async def _on_commentary_append(self, event: Event) -> None:
        content = self._content(event)
        if self._call is not None:
            taken = self._call.session.dictate(content)
            self._call.session.release()
            if not taken:
                raise Refused("too_much_to_say", "the agent has too much to say already", "content")
        await self._appended("commentary", event)

    async def _drop(self, what: str, event: Event) -> None:
        """Acknowledge text that is neither spoken nor read by the model."""
        self._content(event)
        first, self._told = not self._told, True
        await self._appended(what, event)
        if first:
            await self.publish("info", code="text_not_read", message=NOT_READ)

    def _content(self, event: Event) -> str:
        id = event.get("delegation_id")
        if id is not None and id not in self._delegations:
            raise Refused("invalid_delegation_id", "there is no such delegation", "delegation_id")
        tokens = len(self._pool.engine.tokenizer.encode(event["content"]))
        if tokens > LONGEST:
            raise Refused(
                "string_above_max_length", f"content has {tokens} tokens, {LONGEST} may be", "content"
            )
        if event["type"] != "session.instructions.append":
            self._acknowledge_at = None
        return event["content"]

    async def _appended(self, what: str, event: Event) -> None:
        span = {"start_ms": self._now, "end_ms": self._now}
        await self.publish(f"session.{what}.appended", event.get("event_id"), **span)

    async def _on_close(self, _: Event) -> None:
        self.hang_up("close_requested")

    # Sidebands

    @property
    def crowded(self) -> bool:
        """Whether it has as many sidebands as it may have."""
        return len(self._observers) >= SIDEBANDS

    def attach(self, observer: "Sideband") -> None:
        """Send all events to this sideband too, from now on."""
        self._observers.add(observer)

    def detach(self, observer: "Sideband") -> None:
        self._observers.discard(observer)


class Sideband:
    """A second connection to a session: it receives all of its events and may send commands."""

    def __init__(self, session: LiveSession, wire: Wire):
        self._session, self._wire = session, wire
        self._events: asyncio.Queue[Event | None] = asyncio.Queue()
        self.mistakes = 0

    def put(self, event: Event) -> None:
        """Queue an event. A sideband that does not read its events is disconnected."""
        if self._events.qsize() < WAITING:
            self._events.put_nowait(event)
        else:
            self.over()

    def over(self) -> None:
        """Detach, and end the connection once the queued events are sent."""
        self._session.detach(self)
        self._events.put_nowait(None)

    async def send(self, event: Event) -> None:
        self.put(event)

    async def run(self) -> None:
        """Forward events and obey commands until the session or this connection ends; the session outlives it."""
        self.put(
            {"event_id": new_id("event"), "type": "session.started", "session": self._session.described()}
        )
        self._session.attach(self)
        code, reason = 1000, ""
        try:
            await first_to_end(self._pass_on(), self._listen())
        except Ended as ended:
            code, reason = CLOSE.get(ended.reason, 1000), ended.reason
        except (WebSocketDisconnect, RuntimeError):
            pass
        finally:
            self._session.detach(self)
        with contextlib.suppress(Ended, WebSocketDisconnect, RuntimeError):
            await in_time(self._wire.close(code, reason))

    async def _pass_on(self) -> None:
        while (event := await self._events.get()) is not None:
            await in_time(self._wire.send(json.dumps(event)))

    async def _listen(self) -> None:
        limiter = RateLimiter()
        while True:
            message = await self._wire.receive()
            await limiter.message(len(message))
            await self._session.take(message, self)
