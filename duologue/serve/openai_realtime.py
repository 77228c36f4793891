"""The OpenAI Realtime protocol (GA event names) over WebSocket (`/v1/realtime`) or WebRTC.

The agent listens and speaks all the time, so its stream is cut into responses: one begins with a word or a voiced
frame, and ends after 0.6 s of silence. Clients stop playback when the server reports that the user speaks, so it does
so only while the agent is silent, or when the agent really yields.
"""

import base64
import binascii
import secrets
from collections import deque
from collections.abc import Awaitable
from dataclasses import replace

import numpy as np
from starlette.websockets import WebSocket

from duologue.audio.activity import LOUD, LOUD_USER
from duologue.engine.session import AgentFrame
from duologue.lm.sampling import Sampling
from duologue.serve.delegation import FILLER
from duologue.serve.line import Lines, comes_back, wants_to_stay
from duologue.serve.link import RATE, VoiceActivity
from duologue.serve.openai_events import Event, Reply, Shelf, Transcript, new_id, written
from duologue.serve.openai_exchange import Exchange
from duologue.serve.openai_session import DEFAULT, SessionSettings, described, session_object
from duologue.serve.openai_tools import FunctionCall, spoken
from duologue.serve.openai_wire import Wire
from duologue.serve.pool import Call, Pool
from duologue.serve.questions import Questions

QUIET_FRAMES = 8  # frames of silence that end a response, or the user's turn
SPEAKS_FRAMES = 3  # frames of voice that begin the user's turn
SETTLE_FRAMES = 5  # frames after the user's turn in which its last words are transcribed
UNREAD = "text_not_supported"  # the model takes no text input, and writes text only while it speaks
EMPTY_FRAMES = 125  # frames that a requested response may stay empty: 10 s
CALLS = 100  # functions and replies that are remembered
ITEM, METADATA = 1 << 16, 1 << 14  # bytes of JSON
LEAST = RATE // 10  # minimum samples of a turn


async def realtime(
    websocket: WebSocket,
    pool: Pool,
    lines: Lines,
    default: Sampling,
    settings: SessionSettings = DEFAULT,
) -> None:
    """Hold a conversation over an admitted connection, to its end; or go on with one whose connection was lost."""
    offered, query = websocket.scope.get("subprotocols", []), websocket.query_params
    await websocket.accept("realtime" if "realtime" in offered else None)
    if comes_back(query):
        if not await lines.resume(websocket, query):
            await websocket.close(1008, "over")
        return
    stays = wants_to_stay(query)

    async def waiting(*_) -> None:
        """No event: some clients end on an event that they do not know."""

    def admit() -> Awaitable[Call]:
        return pool.admit(replace(default, seed=secrets.randbits(31)), "openai", waiting, stays)

    name = lines.new_name("sess")
    session = session_object(query.get("model", pool.model)[:100], pool.settings.time_limit, name)
    await lines.hold(
        websocket,
        name if stays else None,
        lambda line: Conversation(line, pool, session, settings).hold(admit),
    )


class Conversation(Exchange):
    """A conversation in the events of the protocol."""

    HANDLED = frozenset(
        (
            "session.update",
            "input_audio_buffer.append",
            "input_audio_buffer.commit",
            "input_audio_buffer.clear",
            "output_audio_buffer.clear",
            "response.create",
            "response.cancel",
            "conversation.item.create",
            "conversation.item.truncate",
            "conversation.item.delete",
            "conversation.item.retrieve",
        )
    )

    def __init__(self, wire: Wire, pool: Pool, session: Event, settings: SessionSettings = DEFAULT):
        super().__init__(wire, pool)
        self._session, self._settings = session, settings
        self._reads, self._writes = self._settings.codecs()
        self._uncommitted = 0  # samples of the user since the last turn
        self._unread = False  # the client sent text, which the model does not read
        self._reply: Reply | None = None
        self._muted = False  # the reply was cancelled: the rest is not sent
        self._agent, self._user = VoiceActivity(LOUD), VoiceActivity(LOUD_USER)
        self._turn: str | None = None  # the item of the user's current turn
        self._transcript = Transcript()  # of this turn, or else the next
        self._settling: Transcript | None = None  # of the turn before
        self._transcribes = False
        self._frames = 0
        self._items = Shelf()
        self._questions: Questions | None = None  # collected only for a client with tools
        self._called: deque[str] = deque(maxlen=CALLS)  # the ids of functions that were called
        self._pieces: deque[tuple[str, list[tuple[int, str]]]] = deque(
            maxlen=CALLS
        )  # of the replies, by item

    def _update(self) -> Event:
        return {"type": "session.updated", "session": described(self._session, self._settings)}

    async def _begin(self) -> None:
        self._delegate_to_client()
        await self._send({"type": "session.created", "session": described(self._session, self._settings)})

    def _delegate_to_client(self) -> None:
        """With tools the client answers the user's questions, instead of the server's delegate."""
        if not self._settings.tools:
            self._questions = None
            return
        self._questions = self._questions or Questions(self._pool.help.asks)
        if self._call is not None:
            self._call.stop_delegating()

    async def _tell(self, said: AgentFrame) -> None:
        if self._questions is not None and (question := self._questions.push(said)) is not None:
            await self._call_function(question)
        await self._write_down(said)
        await self._say(said)
        self._frames += 1

    async def _call_function(self, question: str) -> None:
        """The client works at a question; meanwhile the agent says that it will see, and is then silent."""
        assert self._call is not None
        await self._end_reply()
        function = FunctionCall(self._settings.tools[0], question)
        self._called.append(function.call_id)
        await self._send(*function.events())
        self._call.session.dictate(FILLER)
        self._call.session.hold()

    async def _say(self, said: AgentFrame) -> None:
        voiced = self._agent.push(said.wav_S, bool(said.text))
        muted, self._muted = self._muted, self._muted and self._agent.quiet < QUIET_FRAMES
        muted = muted or (self._reply is None and not self._settings.creates)
        if self._wire.has_track:
            self._wire.play(said.wav_S * (not muted))
        if muted:
            return
        if self._reply is None:
            if not voiced:
                return
            self._reply = Reply()
            await self._send(*self._reply.created())
        reply = self._reply
        if voiced or reply.begun:
            begins = [] if reply.begun else [*reply.begin(), *self._playback("started", reply)]
            await self._send(*begins, *reply.frame(self._encoded(said.wav_S), said.text))
        else:
            reply.quiet += 1
        if self._reply is not reply:  # cancelled meanwhile
            return
        if reply.begun and self._agent.quiet >= QUIET_FRAMES:
            yields = self._turn and self._settings.interrupts
            await self._end_reply("cancelled", "turn_detected") if yields else await self._end_reply()
        elif reply.quiet >= EMPTY_FRAMES:
            await self._end_reply()

    def _encoded(self, wav_S: np.ndarray) -> str | None:
        return None if self._wire.has_track else base64.b64encode(self._writes.write(wav_S)).decode()

    def _playback(self, what: str, reply: Reply) -> list[Event]:
        """The WebRTC event about the media track; other clients do not know it."""
        return [{"type": f"output_audio_buffer.{what}", "response_id": reply.id}] * self._wire.has_track

    async def _end_reply(self, status: str = "completed", reason: str | None = None) -> None:
        reply, self._reply = self._reply, None
        if reply is None:
            return
        if reason == "turn_detected":
            await self._send({"type": "input_audio_buffer.speech_started", **self._moment("start")})
        self._items.keep(reply.item("completed"))
        self._pieces.append((reply.item_id, reply.pieces))
        await self._send(*reply.end(status, reason))
        if reply.begun:
            await self._send(*self._playback("stopped" if status == "completed" else "cleared", reply))

    # The user's turns

    async def _write_down(self, said: AgentFrame) -> None:
        """The user's words, if the session wants them and the model transcribes."""
        self._transcribes = self._asks_for_words and said.user_token >= 0
        if not self._transcribes:
            self._settling = None
            return
        if said.user_text:
            await self._send((self._settling or self._transcript).delta(said.user_text))
        if self._settling is not None and self._frames >= self._settling.due:
            await self._settle()

    async def _settle(self) -> None:
        done, self._settling = self._settling, None
        if done is not None and self._transcribes:
            await self._send(done.completed())
            self._items.keep(done.item)

    @property
    def _asks_for_words(self) -> bool:
        return self._settings.transcription is not None

    def _moment(self, edge: str) -> Event:
        return {f"audio_{edge}_ms": 80 * self._frames, "item_id": self._turn or new_id("item")}

    async def hear(self, wav_S: np.ndarray) -> None:
        """The user's sound at 24 kHz. What comes before its time is heard at its time, all of it."""
        await super().hear(wav_S)
        if self._call is not None:
            self._uncommitted += wav_S.size
            await self._follow(wav_S)

    async def _follow(self, wav_S: np.ndarray) -> None:
        """Start or end the user's turn with this sound."""
        self._user.push(wav_S)
        if self._settings.detection is None:
            self._transcript.seconds += wav_S.size / RATE
        elif self._turn is None and self._user.voiced >= SPEAKS_FRAMES:
            self._turn, self._transcript.seconds = self._transcript.item["id"], 0.08 * self._user.voiced
            if self._reply is None or not self._reply.begun:
                await self._send({"type": "input_audio_buffer.speech_started", **self._moment("start")})
        elif self._turn is not None:
            self._transcript.seconds += wav_S.size / RATE
            if self._user.quiet >= QUIET_FRAMES:
                await self._send({"type": "input_audio_buffer.speech_stopped", **self._moment("end")})
                await self._commit()

    async def _commit(self) -> None:
        done, self._transcript = self._transcript, Transcript()
        waiting = 0 if self._call is None else self._call.session.waiting
        done.due = self._frames + waiting + len(self._ahead) + SETTLE_FRAMES
        self._uncommitted, self._unread = 0, False
        self._turn, self._user, item = None, VoiceActivity(LOUD_USER), done.item
        self._items.keep(item)
        await self._settle()
        self._settling = done if self._asks_for_words else None
        await self._send(
            {"type": "input_audio_buffer.committed", "previous_item_id": None, "item_id": item["id"]},
            {"type": "conversation.item.added", "previous_item_id": None, "item": item},
            {"type": "conversation.item.done", "previous_item_id": None, "item": item},
        )

    async def hush(self, seconds: float) -> None:
        """The user has sent nothing for so long, and is there: they are silent."""
        await super().hush(seconds)
        if self._call is not None:
            await self._follow(np.zeros(round(seconds * RATE), np.float32))

    # In

    async def _on_session_update(self, event: Event) -> None:
        before, self._settings = self._settings, self._settings.updated(event["session"])
        reads, writes = self._settings.codecs()  # both have state, so they are kept as long as the format
        if self._settings.reads != before.reads:
            self._reads = reads
        if self._settings.writes != before.writes:
            self._writes = writes
        self._delegate_to_client()
        await self._send(self._update())

    async def _on_input_audio_buffer_append(self, event: Event) -> None:
        try:
            data = base64.b64decode(event["audio"], validate=True)
        except binascii.Error:
            raise ValueError from None
        if data and not self._wire.has_track:
            await self.hear(self._reads.read(data))

    async def _on_input_audio_buffer_commit(self, event: Event) -> None:
        if self._uncommitted < LEAST:
            text = f"buffer too small: expected at least 100 ms of audio, it has {self._uncommitted / RATE:.3f} s"
            code = "input_audio_buffer_commit_empty"
            await self._error("invalid_request_error", code, text, event.get("event_id"))
        else:
            await self._commit()

    async def _on_input_audio_buffer_clear(self, _: Event) -> None:
        self._forget_ahead()
        self._uncommitted = 0
        self._turn, self._user, self._transcript = None, VoiceActivity(LOUD_USER), Transcript()
        await self._send({"type": "input_audio_buffer.cleared"})

    async def _on_output_audio_buffer_clear(self, _: Event) -> None:
        if self._reply is not None and self._reply.begun:
            self._muted = True
            await self._end_reply("cancelled", "client_cancelled")

    async def _on_response_create(self, event: Event) -> None:
        if self._reply is not None:
            text = "the agent is speaking already"
            code = "conversation_already_has_active_response"
            await self._error("invalid_request_error", code, text, event.get("event_id"))
            return
        response = event.get("response") or {}
        metadata = response.get("metadata")
        if len(written(metadata)) > METADATA:
            raise ValueError
        self._muted = False
        self._reply = Reply(metadata)
        await self._send(*self._reply.created())
        if self._unread or response.get("output_modalities") == ["text"] or response.get("input"):
            self._unread = False
            await self._end_reply("incomplete", UNREAD)

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
        if len(written(item)) > ITEM:
            raise ValueError
        self._items.keep(item)
        if item.get("type") == "function_call_output" and self._call is not None:
            self._called.remove(item["call_id"])  # ValueError: it was not called, or has been answered
            self._call.session.dictate(spoken(item["output"]))
            self._call.session.release()
        self._unread |= item.get("role") == "user" and item.get("type") == "message"
        where = {"previous_item_id": event.get("previous_item_id"), "item": item}
        await self._send(
            {"type": "conversation.item.added", **where}, {"type": "conversation.item.done", **where}
        )

    async def _on_conversation_item_truncate(self, event: Event) -> None:
        place = {key: event[key] for key in ("item_id", "content_index", "audio_end_ms")}
        item = self._items.get(place["item_id"])
        if item is not None and (pieces := dict(self._pieces).get(item["id"])) is not None:
            heard = "".join(text for ms, text in pieces if ms < place["audio_end_ms"])
            item["content"][0]["transcript"] = heard
            self._items.keep(item)
        await self._send({"type": "conversation.item.truncated", **place})

    async def _on_conversation_item_delete(self, event: Event) -> None:
        self._items.drop(event["item_id"])
        await self._send({"type": "conversation.item.deleted", "item_id": event["item_id"]})

    async def _on_conversation_item_retrieve(self, event: Event) -> None:
        item = self._items.get(event["item_id"])
        if item is None:
            text = "there is no such item"
            await self._error(
                "invalid_request_error", "item_retrieve_invalid_item_id", text, event.get("event_id")
            )
        else:
            await self._send({"type": "conversation.item.retrieved", "item": item})
