"""Telephone calls: Twilio's media streams (`<Connect><Stream>`), `WS /v1/twilio`. See docs/serving.md.

Twilio sends JSON: `connected`, `start`, `media` (base64 mu-law at 8 kHz, 20 ms each), `dtmf`, `mark`, `stop`; it plays
everything it gets in order. So nothing is sent while the agent is silent: latency from a slow network then disappears
in the next pause.
"""

import asyncio
import base64
import binascii
import contextlib
import json
import secrets
from dataclasses import replace
from typing import Any

from starlette.websockets import WebSocket, WebSocketDisconnect

from duologue.audio.activity import LOUD, LOUD_USER
from duologue.audio.g711 import G711
from duologue.engine.session import AgentFrame
from duologue.lm.sampling import Sampling
from duologue.serve.kyutai import CLOSE
from duologue.serve.link import RateLimiter, VoiceActivity, first_to_end, in_time
from duologue.serve.pool import Call, Ended, Pool, set_or
from duologue.serve.settings import CHAT_MESSAGE, FIRST_SOUND_SECONDS

QUIET_FRAMES = 4  # frames of the agent's silence after which nothing is sent


async def twilio(websocket: WebSocket, pool: Pool, default: Sampling) -> None:
    """Hold a conversation over an admitted connection, to its end."""
    await websocket.accept()
    phone = _Phone(websocket, pool, replace(default, seed=secrets.randbits(31)))
    try:
        await phone.run()
    except Ended as ended:
        with contextlib.suppress(Ended, WebSocketDisconnect, RuntimeError):
            await in_time(websocket.close(CLOSE.get(ended.reason, 1000), ended.reason))
    except (WebSocketDisconnect, RuntimeError):
        pass


class _Phone:
    def __init__(self, websocket: WebSocket, pool: Pool, sampling: Sampling):
        self._socket, self._pool, self._sampling = websocket, pool, sampling
        self._call: Call | None = None
        self._stream = ""  # Twilio's streamSid
        self._started = asyncio.Event()
        self._codec = G711("ulaw")
        self._agent, self._user = VoiceActivity(LOUD), VoiceActivity(LOUD_USER)
        self._speaking = False

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

    # Out

    async def _talk(self) -> None:
        async def waiting(*_) -> None:
            """No message while the caller is queued."""

        await set_or(self._started, FIRST_SOUND_SECONDS)
        if not self._started.is_set():
            raise Ended("idle")
        call = self._call = await self._pool.admit(self._sampling, "twilio", waiting)
        call.first_sound = FIRST_SOUND_SECONDS
        while True:
            for said in await call.said():
                await self._say(said)

    async def _say(self, said: AgentFrame) -> None:
        self._agent.push(said.wav_S, bool(said.text))
        sound = self._codec.write(said.wav_S)
        if self._agent.voiced or (self._speaking and self._agent.quiet < QUIET_FRAMES):
            self._speaking = True
            await self._send("media", media={"payload": base64.b64encode(sound).decode()})
        elif self._speaking:
            self._speaking = False
            if (
                self._user.voiced
            ):  # the agent has yielded: what Twilio has not played yet is not heard any more
                await self._send("clear")

    async def _send(self, event: str, **more: Any) -> None:
        await in_time(self._socket.send_text(json.dumps({"event": event, "streamSid": self._stream, **more})))

    # In

    async def _receive(self) -> None:
        limiter = RateLimiter()
        while True:
            message = await self._socket.receive()
            if message["type"] == "websocket.disconnect":
                raise WebSocketDisconnect(message.get("code", 1006))
            text = message.get("text") or ""
            await limiter.message(len(text or message.get("bytes") or b""))
            if len(text) > CHAT_MESSAGE:
                raise Ended("too_big")
            try:
                event = json.loads(text)
                kind = event["event"]
                if kind == "start":
                    self._begin(event["start"])
                elif kind == "media" and event["media"].get("track", "inbound") == "inbound":
                    data = base64.b64decode(event["media"]["payload"], validate=True)
                    self._hear(data, limiter)
                elif kind == "stop":
                    raise Ended("hung up")
            except (ValueError, KeyError, TypeError, AttributeError, RecursionError, binascii.Error):
                raise Ended("invalid", "This is no media stream of Twilio.") from None

    def _begin(self, start: dict[str, Any]) -> None:
        form = start.get("mediaFormat") or {}
        if form.get("encoding", "audio/x-mulaw") != "audio/x-mulaw" or form.get("sampleRate", 8000) != 8000:
            raise ValueError("only mu-law at 8 kHz is supported")
        self._stream = str(start["streamSid"])[:100]
        self._started.set()

    def _hear(self, data: bytes, limiter: RateLimiter) -> None:
        wav_S = self._codec.read(data)
        limiter.take(wav_S.size)
        if self._call is not None and wav_S.size:
            self._user.push(wav_S)
            self._call.push(wav_S)
