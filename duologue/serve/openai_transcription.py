"""Transcription sessions of the OpenAI Realtime protocol: `WS /v1/realtime?intent=transcription`.

Input is sound as in a conversation; output are turns and their words. A turn begins with voice and ends with a pause,
or when the client commits it.
"""

import asyncio
import base64
import binascii
import json
import time
from typing import Any

import numpy as np
import soxr
from starlette.websockets import WebSocket, WebSocketDisconnect

from duologue.audio.activity import LOUD_USER
from duologue.audio.files import clean
from duologue.engine.batcher import Busy
from duologue.engine.recognise import Heard
from duologue.serve.link import Pcm16, RateLimiter, VoiceActivity, first_to_end, in_time
from duologue.serve.openai_events import PCM, Event, Transcript, merged, new_id
from duologue.serve.openai_exchange import MISTAKES
from duologue.serve.openai_realtime import QUIET_FRAMES, SPEAKS_FRAMES
from duologue.serve.openai_session import sound_of
from duologue.serve.openai_wire import SocketWire
from duologue.serve.pool import Ended
from duologue.serve.settings import IDLE_SECONDS
from duologue.serve.speech import Ears, Failed, Listening

SETTLE_FRAMES = 2  # frames after which a turn's last word should be transcribed
SETTINGS = 1 << 16  # bytes of JSON, of all updates together
MOST_WAITING = 100  # turns whose transcripts are incomplete


def session_object(model: str, seconds: float) -> Event:
    """The initial session object."""
    return {
        "type": "transcription",
        "object": "realtime.transcription_session",
        "id": new_id("sess"),
        "audio": {
            "input": {
                "format": dict(PCM),
                "transcription": {"model": model, "language": None, "prompt": ""},
                "noise_reduction": None,
                "turn_detection": {
                    "type": "server_vad",
                    "threshold": 0.5,
                    "prefix_padding_ms": 300,
                    "silence_duration_ms": 80 * QUIET_FRAMES,
                },
            }
        },
        "include": None,
        "expires_at": int(time.time() + seconds),
    }


async def transcription(websocket: WebSocket, ears: Ears, seconds: float) -> None:
    """Hold a session over an admitted connection, to its end."""
    offered = websocket.scope.get("subprotocols", [])
    await websocket.accept("realtime" if "realtime" in offered else None)
    await Session(SocketWire(websocket), ears, seconds).hold()


class Session:
    """One transcription session in this protocol."""

    def __init__(self, wire: SocketWire, ears: Ears, seconds: float):
        self._wire, self._ears, self._seconds = wire, ears, seconds
        self._session = session_object(ears.model.name, seconds)
        self._reads: Any = Pcm16()
        self._listening: Listening | None = None
        self._user = VoiceActivity(LOUD_USER)
        self._turn: Transcript | None = None  # the user's current turn
        self._turns: list[Transcript] = []  # ended turns whose transcripts are incomplete
        self._pushed = 0  # frames of sound, by samples
        self._samples = 0
        self._previous: str | None = None
        self._mistakes = 0

    async def hold(self) -> None:
        """Serve it until it ends, then close the connection."""
        self._limiter = RateLimiter()
        try:
            self._listening = self._ears.listen()
            await self._send({"type": "session.created", "session": self._session})
            async with asyncio.timeout(self._seconds):
                await first_to_end(self._receive(), self._write())
        except Busy:
            await self._goodbye("full", "all places are taken: try again in a moment", 1013)
        except Failed as error:
            await self._goodbye("error", str(error), 1011)
        except TimeoutError:
            await self._goodbye("time_limit", "", 1000)
        except Ended as ended:
            await self._goodbye(ended.reason, ended.text, 1000 if ended.reason == "idle" else 1008)
        except (WebSocketDisconnect, RuntimeError):
            pass
        finally:
            if self._listening is not None:
                self._listening.close()

    async def _goodbye(self, reason: str, text: str, code: int) -> None:
        try:
            if text:
                await self._error("server_error", reason, text, None)
            await in_time(self._wire.close(code, reason))
        except (Ended, WebSocketDisconnect, RuntimeError):
            pass

    async def _send(self, *events: Event) -> None:
        for event in events:
            await in_time(self._wire.send(json.dumps({"event_id": new_id("event"), **event})))

    async def _error(self, kind: str, code: str, text: str, event_id: str | None) -> None:
        error = {"type": kind, "code": code, "message": text, "param": None, "event_id": event_id}
        await self._send({"type": "error", "error": error})

    # Out

    async def _write(self) -> None:
        listening = self._listening
        assert listening is not None
        async for heard in listening:
            await self._written(heard)

    async def _written(self, heard: Heard) -> None:
        """Words belong to the oldest incomplete turn, or else to the current one."""
        turn = self._turns[0] if self._turns else self._turn
        if heard.text and turn is not None:
            await self._send(turn.delta(heard.text))
        while self._turns and heard.step >= self._turns[0].due:
            await self._send(self._turns.pop(0).completed())

    # In

    async def _receive(self) -> None:
        while True:
            try:
                async with asyncio.timeout(IDLE_SECONDS):
                    message = await self._wire.receive()
            except TimeoutError:
                raise Ended("idle", "no message has come for two minutes") from None
            await self._limiter.message(len(message))
            own_id = None
            try:
                event = json.loads(message)
                kind, own_id = event["type"], event.get("event_id")
                handle = HANDLERS.get(kind)
                if handle is None:
                    await self._mistake("unknown_event", f"unknown event type {str(kind)[:60]!r}", own_id)
                else:
                    await handle(self, event)
            except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
                await self._mistake("invalid_value", "the message cannot be understood", own_id)

    async def _mistake(self, code: str, text: str, event_id: str | None) -> None:
        self._mistakes += 1
        if self._mistakes > MISTAKES:
            raise Ended("invalid", "Too many messages were not understood.")
        await self._error("invalid_request_error", code, text, event_id)

    async def _update(self, event: Event) -> None:
        wanted = event["session"]
        if wanted.get("type", "transcription") != "transcription":
            raise ValueError
        session = merged(self._session, wanted)
        detection = session["audio"]["input"]["turn_detection"] or {}
        if len(json.dumps(session)) > SETTINGS or type(detection.get("silence_duration_ms") or 0) is not int:
            raise ValueError
        self._reads = sound_of(session["audio"]["input"]["format"])
        kept = {key: self._session[key] for key in ("id", "object", "type", "expires_at")}
        self._session = session | kept
        await self._send({"type": "session.updated", "session": self._session})

    async def _append(self, event: Event) -> None:
        try:
            data = base64.b64decode(event["audio"], validate=True)
        except binascii.Error:
            raise ValueError from None
        wav_S = self._reads.read(data)
        self._limiter.take(wav_S.size)
        listening = self._listening
        assert listening is not None
        await listening.push(self._at_rate(wav_S))
        self._samples += wav_S.size
        self._pushed = self._samples // self._ears.frame_size
        self._user.push(wav_S)
        if self._session["audio"]["input"]["turn_detection"] is not None:
            await self._detect(wav_S.size)
        elif wav_S.size:
            self._turn = self._turn or Transcript()
            self._turn.seconds += wav_S.size / self._ears.rate

    def _at_rate(self, wav_S: np.ndarray) -> np.ndarray:
        """The sound, resampled from the protocol's 24 kHz to the model's rate."""
        return (
            wav_S
            if self._ears.rate == PCM["rate"]
            else soxr.resample(clean(wav_S), PCM["rate"], self._ears.rate)
        )

    async def _detect(self, samples: int) -> None:
        now_ms = 80 * self._pushed
        if self._turn is None:
            if self._user.voiced >= SPEAKS_FRAMES:
                self._turn = Transcript()
                self._turn.seconds = 0.08 * self._user.voiced
                place = {"audio_start_ms": now_ms, "item_id": self._turn.item["id"]}
                await self._send({"type": "input_audio_buffer.speech_started", **place})
            return
        self._turn.seconds += samples / self._ears.rate
        detection = self._session["audio"]["input"]["turn_detection"]
        silence_ms = detection.get("silence_duration_ms") or 80 * QUIET_FRAMES
        if 80 * self._user.quiet >= silence_ms:
            place = {"audio_end_ms": now_ms, "item_id": self._turn.item["id"]}
            await self._send({"type": "input_audio_buffer.speech_stopped", **place})
            await self._commit({})

    async def _commit(self, event: Event) -> None:
        if self._turn is None:
            text = "the buffer is empty"
            await self._error(
                "invalid_request_error", "input_audio_buffer_commit_empty", text, event.get("event_id")
            )
            return
        turn, self._turn = self._turn, None
        self._user = VoiceActivity(LOUD_USER)
        item = turn.item
        where = {"previous_item_id": self._previous, "item_id": item["id"]}
        await self._send(
            {"type": "input_audio_buffer.committed", **where},
            {"type": "conversation.item.added", "previous_item_id": self._previous, "item": item},
            {"type": "conversation.item.done", "previous_item_id": self._previous, "item": item},
        )
        self._previous = item["id"]
        self._settle(turn)

    def _settle(self, turn: Transcript) -> None:
        """End it; silence is inserted so that its last words come at once."""
        if len(self._turns) >= MOST_WAITING:
            raise Ended("invalid", "Too many turns at once.")
        listening, config = self._listening, self._ears.config
        assert listening is not None
        turn.due = 1 << 60
        self._turns.append(turn)

        def flush() -> None:
            hearing = listening.item
            ahead = -(-hearing.waiting // self._ears.frame_size)
            hearing.flush()
            turn.due = hearing.steps + ahead + round(config.delay * 12.5) + SETTLE_FRAMES

        listening.post(flush)

    async def _clear(self, _: Event) -> None:
        self._turn, self._user = None, VoiceActivity(LOUD_USER)
        await self._send({"type": "input_audio_buffer.cleared"})


HANDLERS = {
    "session.update": Session._update,  # pyright: ignore[reportPrivateUsage]
    "transcription_session.update": Session._update,  # pyright: ignore[reportPrivateUsage]
    "input_audio_buffer.append": Session._append,  # pyright: ignore[reportPrivateUsage]
    "input_audio_buffer.commit": Session._commit,  # pyright: ignore[reportPrivateUsage]
    "input_audio_buffer.clear": Session._clear,  # pyright: ignore[reportPrivateUsage]
}
