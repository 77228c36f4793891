"""The OpenAI Realtime protocol (GA event names): `WS /v1/realtime`.

The agent listens and speaks all the time, so its stream is cut into responses: one begins with a word or a voiced
frame, and ends after 0.6 s of silence. Clients drop their playback when they are told that the user speaks, so they
are told so only while the agent is silent, or when it really yields.
"""

import asyncio
import base64
import binascii
import json
import secrets
from collections import OrderedDict
from dataclasses import replace

import numpy as np
from starlette.websockets import WebSocket, WebSocketDisconnect

from ..engine.session import Said
from ..engine.words import LOUD, loudness
from ..lm.sampling import Sampling
from .kyutai import CLOSE
from .link import Allowance, Pcm16, first_to_end, in_time
from .openai_events import Event, Reply, merged, message_item, new_id, session_object
from .pool import Call, Ended, Pool

QUIET = 8  # frames of silence that end a response, or the user's turn
SPEAKS = 3  # frames of voice that begin the user's turn
LOUD_USER = 1e-2  # root mean square: a microphone is never silent
EMPTY = 125  # frames that a response asked for may stay empty: 10 s
ITEMS = 100  # of the conversation that can be asked for again
MISTAKES = 20  # messages that are not understood before the connection is closed


async def realtime(websocket: WebSocket, pool: Pool, default: Sampling) -> None:
    """Hold a conversation over an admitted connection, to its end."""
    offered = websocket.scope.get("subprotocols", [])
    await websocket.accept("realtime" if "realtime" in offered else None)
    link = _Realtime(websocket, pool, replace(default, seed=secrets.randbits(31)))
    try:
        await link.run()
    except Ended as ended:
        await link.goodbye(ended)
    except (WebSocketDisconnect, RuntimeError):
        pass


class _Realtime:
    def __init__(self, websocket: WebSocket, pool: Pool, sampling: Sampling):
        self._socket, self._pool, self._sampling = websocket, pool, sampling
        self._call: Call | None = None
        model = websocket.query_params.get("model", pool.model)[:100]
        self._session = session_object(model, pool.settings.time_limit)
        self._reply: Reply | None = None
        self._muted = False  # the reply was cancelled: its rest is not sent
        self._quiet = self._voiced = self._user_quiet = 0
        self._turn: str | None = None  # the item of what the user says now
        self._frames = 0
        self._items: OrderedDict[str, Event] = OrderedDict()
        self._mistakes = 0

    async def run(self) -> None:
        reason = "gone"
        try:
            await first_to_end(self._receive(), self._talk())
        except Ended as ended:
            reason = ended.reason
            raise
        finally:
            if self._call is not None:
                self._call.close(reason)

    async def goodbye(self, ended: Ended) -> None:
        try:
            if CLOSE.get(ended.reason):
                hint = f" (in {ended.retry:.0f} s)" if ended.retry else ""
                await self._error("server_error", ended.reason, ended.text + hint)
            await in_time(self._socket.close(CLOSE.get(ended.reason, 1000), ended.reason))
        except (Ended, WebSocketDisconnect, RuntimeError):
            pass

    # Out

    async def _send(self, *events: Event) -> None:
        for event in events:
            await in_time(self._socket.send_text(json.dumps({"event_id": new_id("event"), **event})))

    async def _error(self, kind: str, code: str, text: str, event_id: str | None = None) -> None:
        error = {"type": kind, "code": code, "message": text, "param": None, "event_id": event_id}
        await self._send({"type": "error", "error": error})

    async def _talk(self) -> None:
        async def waiting(*_) -> None:
            """There is no event for it: any that a client does not know ends some of them."""

        call = await self._pool.admit(self._sampling, "openai", waiting)
        self._call = call
        await self._send({"type": "session.created", "session": self._session})
        while True:
            for said in await call.said():
                await self._say(said)
            self._frames += 1
            if self._frames % 12 == 0:
                call.counts()

    async def _say(self, said: Said) -> None:
        voiced = bool(said.text) or loudness(said.wav_S) > LOUD
        self._quiet = 0 if voiced else self._quiet + 1
        if self._muted:
            self._muted = self._quiet < QUIET
            return
        if self._reply is None:
            if not voiced:
                return
            self._reply = Reply()
            await self._send(*self._reply.created())
        reply = self._reply
        if voiced or reply.begun:
            sound = base64.b64encode(Pcm16.write(said.wav_S)).decode()
            await self._send(*reply.begin(), *reply.frame(sound, said.text))
        else:
            reply.quiet += 1
        if reply.begun and self._quiet >= QUIET:
            await self._end_reply("cancelled", "turn_detected") if self._turn else await self._end_reply()
        elif reply.quiet >= EMPTY:
            await self._end_reply()

    async def _end_reply(self, status: str = "completed", reason: str | None = None) -> None:
        reply, self._reply = self._reply, None
        if reply is not None:
            if reason == "turn_detected":
                await self._send({"type": "input_audio_buffer.speech_started", **self._moment("start")})
            self._keep(reply.item("completed"))
            await self._send(*reply.end(status, reason))

    # The user's turns

    def _moment(self, edge: str) -> Event:
        return {f"audio_{edge}_ms": 80 * self._frames, "item_id": self._turn or new_id("item")}

    async def _listen(self, wav_S: np.ndarray) -> None:
        frames = wav_S.size / 1920
        voiced = loudness(wav_S) > LOUD_USER
        self._voiced = self._voiced + frames if voiced else 0
        self._user_quiet = 0 if voiced else self._user_quiet + frames
        if self._turn is None and self._voiced >= SPEAKS:
            self._turn = new_id("item")
            if self._reply is None or not self._reply.begun:
                await self._send({"type": "input_audio_buffer.speech_started", **self._moment("start")})
        elif self._turn is not None and self._user_quiet >= QUIET:
            await self._send({"type": "input_audio_buffer.speech_stopped", **self._moment("end")})
            await self._commit()

    async def _commit(self) -> None:
        item = message_item("user", [{"type": "input_audio", "transcript": None}], id=self._turn or "")
        self._turn, self._voiced = None, 0
        self._keep(item)
        await self._send(
            {"type": "input_audio_buffer.committed", "previous_item_id": None, "item_id": item["id"]},
            {"type": "conversation.item.added", "previous_item_id": None, "item": item},
            {"type": "conversation.item.done", "previous_item_id": None, "item": item},
        )

    def _keep(self, item: Event) -> None:
        self._items[item["id"]] = item
        if len(self._items) > ITEMS:
            self._items.popitem(last=False)

    # In

    async def _receive(self) -> None:
        self._allowance = Allowance()
        while True:
            message = await self._socket.receive()
            if message["type"] == "websocket.disconnect":
                raise WebSocketDisconnect(message.get("code", 1006))
            try:
                event = json.loads(message.get("text") or message.get("bytes") or b"")
                kind = event["type"]
                handle = getattr(self, "_on_" + kind.replace(".", "_"), None) if kind in HANDLED else None
            except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
                await self._mistake("invalid_json", "a message is a JSON object with a type", None)
                continue
            own_id = event.get("event_id")
            if handle is None:
                await self._mistake("unknown_event", f"unknown event type {str(kind)[:60]!r}", own_id)
                continue
            try:
                await handle(event)
            except (ValueError, TypeError, KeyError, AttributeError):
                await self._mistake("invalid_value", f"a value of {kind} cannot be understood", own_id)
            await asyncio.sleep(0)

    async def _mistake(self, code: str, text: str, event_id: str | None) -> None:
        self._mistakes += 1
        if self._mistakes > MISTAKES:
            raise Ended("invalid", "Too many messages were not understood.")
        await self._error("invalid_request_error", code, text, event_id)

    async def _on_session_update(self, event: Event) -> None:
        wanted = event["session"]
        if len(json.dumps(wanted)) > 1 << 16:
            raise ValueError
        session = merged(self._session, wanted)
        for side in ("input", "output"):
            form = session["audio"][side]["format"]
            if form is not None and (form["type"] != "audio/pcm" or form.get("rate", 24_000) != 24_000):
                raise ValueError("audio/pcm at 24000 alone")
        kept = {key: self._session[key] for key in ("id", "object", "model", "expires_at")}
        self._session = session | kept
        await self._send({"type": "session.updated", "session": self._session})

    async def _on_input_audio_buffer_append(self, event: Event) -> None:
        try:
            data = base64.b64decode(event["audio"], validate=True)
        except binascii.Error:
            raise ValueError from None
        wav_S = np.frombuffer(data[: len(data) // 2 * 2], "<i2").astype(np.float32) / 32768
        if not wav_S.size:
            return
        self._allowance.take(wav_S.size)
        if self._call is not None:
            self._call.push(wav_S)
            await self._listen(wav_S)

    async def _on_input_audio_buffer_commit(self, _: Event) -> None:
        await self._commit()

    async def _on_input_audio_buffer_clear(self, _: Event) -> None:
        self._turn, self._voiced = None, 0
        await self._send({"type": "input_audio_buffer.cleared"})

    async def _on_response_create(self, event: Event) -> None:
        if self._reply is not None:
            text = "the agent is speaking already"
            code = "conversation_already_has_active_response"
            await self._error("invalid_request_error", code, text, event.get("event_id"))
            return
        self._muted = False
        self._reply = Reply((event.get("response") or {}).get("metadata"))
        await self._send(*self._reply.created())

    async def _on_response_cancel(self, event: Event) -> None:
        if self._reply is None:
            code = "response_cancel_not_active"
            await self._error("invalid_request_error", code, "no response is active", event.get("event_id"))
            return
        self._muted = self._reply.begun
        await self._end_reply("cancelled", "client_cancelled")

    async def _on_conversation_item_create(self, event: Event) -> None:
        item = event["item"] | {"id": event["item"].get("id") or new_id("item"), "object": "realtime.item"}
        item.setdefault("status", "completed")
        self._keep(item)
        where = {"previous_item_id": event.get("previous_item_id"), "item": item}
        await self._send(
            {"type": "conversation.item.added", **where}, {"type": "conversation.item.done", **where}
        )

    async def _on_conversation_item_truncate(self, event: Event) -> None:
        place = {key: event[key] for key in ("item_id", "content_index", "audio_end_ms")}
        await self._send({"type": "conversation.item.truncated", **place})

    async def _on_conversation_item_delete(self, event: Event) -> None:
        self._items.pop(event["item_id"], None)
        await self._send({"type": "conversation.item.deleted", "item_id": event["item_id"]})

    async def _on_conversation_item_retrieve(self, event: Event) -> None:
        item = self._items.get(event["item_id"])
        if item is None:
            text = "there is no such item"
            await self._error("invalid_request_error", "item_not_found", text, event.get("event_id"))
        else:
            await self._send({"type": "conversation.item.retrieved", "item": item})


HANDLED = frozenset(
    (
        "session.update",
        "input_audio_buffer.append",
        "input_audio_buffer.commit",
        "input_audio_buffer.clear",
        "response.create",
        "response.cancel",
        "conversation.item.create",
        "conversation.item.truncate",
        "conversation.item.delete",
        "conversation.item.retrieve",
    )
)
