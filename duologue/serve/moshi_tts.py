"""Streaming synthesis in moshi-server's protocol: `/api/tts_streaming`, as WebSocket and as `POST`."""

import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.websockets import WebSocket, WebSocketDisconnect

from duologue.audio.opus import OpusWriter
from duologue.engine.batcher import Busy
from duologue.engine.speak import Spoken
from duologue.errors import InputError
from duologue.serve.link import Pcm16, RateLimiter, first_to_end, in_time, read_body
from duologue.serve.moshi_messages import (
    NO_CHANNEL,
    WAIT_SECONDS,
    goodbye,
    packed,
    received,
    unpacked,
    wav_header,
)
from duologue.serve.pool import Ended
from duologue.serve.settings import MESSAGE
from duologue.serve.speech import Failed, Mouth, Speaking

MOST_TEXT = 1 << 17  # characters that one connection may send: two hours of speech
FORMATS = "OggOpus", "OggOpusMessagePack", "Pcm", "PcmMessagePack"


class Tts:
    """A connection to `/api/tts_streaming`."""

    def __init__(self, websocket: WebSocket, mouth: Mouth):
        self._socket, self._mouth = websocket, mouth
        form = websocket.query_params.get("format", FORMATS[0])
        self._form = form if form in FORMATS else ""
        self._packs, self._opus = self._form.endswith("MessagePack"), None
        if self._form.startswith("Ogg"):
            self._opus = OpusWriter(mouth.rate)
        self._speaking: Speaking | None = None
        self._words = self._size = 0

    async def hold(self) -> None:
        """Serve it until it ends."""
        await self._socket.accept()
        error = None
        try:
            if not self._form:
                raise Ended("invalid", f"format is one of {', '.join(FORMATS)}")
            await self._speak()
        except Busy:
            error = NO_CHANNEL
        except (Ended, Failed, InputError) as ended:
            error = str(ended)
        except (WebSocketDisconnect, RuntimeError):
            return
        finally:
            if self._speaking is not None:
                self._speaking.close()
        await goodbye(self._socket, error if self._packs else None)

    async def _speak(self) -> None:
        name, voice = self._socket.query_params.get("voice"), self._mouth.voice
        with contextlib.suppress(InputError):  # an unknown voice falls back to the default
            voice = await self._mouth.voice_of(name)
        self._speaking = self._mouth.speak(voice)
        if self._packs:
            await in_time(self._socket.send_bytes(packed("Ready")))
        await first_to_end(self._send(), self._receive())

    async def _receive(self) -> None:
        """Receive text until its end; then wait until all is spoken."""
        limiter = RateLimiter()
        while True:
            data = await received(self._socket)
            await limiter.message(len(data))
            if isinstance(data, str):
                self._push(data)
            elif data == b"\0":
                return await self._finish(limiter)
            elif data:
                message = unpacked(data)
                if message["type"] == "Eos":
                    return await self._finish(limiter)
                self._take(message)

    def _take(self, message: dict[str, Any]) -> None:
        assert self._speaking is not None
        if message["type"] == "Text" and isinstance(message.get("text"), str):
            self._push(message["text"])
        elif message["type"] == "Voice":
            voice = self._mouth.vectors(message.get("embeddings", []), message.get("shape", []))
            if not self._words:  # later ones are ignored
                self._speaking.close()
                self._speaking = self._mouth.speak(voice)
        else:
            raise Ended("invalid", f"unknown message {message['type'][:40]!r}")

    def _push(self, text: str) -> None:
        """A message holds whole words."""
        assert self._speaking is not None
        self._words += len(text.split())
        self._size += len(text)
        if self._size > MOST_TEXT:
            raise Ended("too_big", "too much text for one connection")
        self._speaking.push(text + " ")

    async def _finish(self, limiter: RateLimiter) -> None:
        assert self._speaking is not None
        if not self._words:
            raise WebSocketDisconnect(1000)
        self._speaking.finish()
        while True:  # only to notice a disconnect
            await limiter.message(len(await received(self._socket)))

    async def _send(self) -> None:
        while True:
            speaking = self._speaking
            assert speaking is not None
            async for spoken in speaking:
                await self._sound(spoken)
            if speaking is self._speaking:
                return

    async def _sound(self, spoken: Spoken) -> None:
        if self._opus is not None:
            data = self._opus.push(spoken.wav_S)
            if data and self._packs:
                await in_time(self._socket.send_bytes(packed("OggOpus", data=data)))
            elif data:
                await in_time(self._socket.send_bytes(data))
        elif self._packs:
            await in_time(self._socket.send_bytes(packed("Audio", pcm=spoken.wav_S.tolist())))
        else:
            await in_time(self._socket.send_bytes(spoken.wav_S.astype("<f4").tobytes()))
        for word in spoken.words if self._packs else ():
            await in_time(
                self._socket.send_bytes(packed("Text", text=word.text, start_s=word.start, stop_s=word.end))
            )


async def speak(request: Request, mouth: Mouth) -> Response:
    """`POST /api/tts_streaming`: a text in, a wav of unknown length out, as it is spoken."""
    try:
        body = await read_body(request)
        if len(body) > MESSAGE:
            return JSONResponse({"error": "the body is too long"}, 413)
        values = json.loads(body)
        text, name = values["text"], values.get("voice")
        if not isinstance(text, str) or not text.strip() or not isinstance(name, str | None):
            raise ValueError
        if len(text) > MOST_TEXT:
            return JSONResponse({"error": f"a text has at most {MOST_TEXT} characters"}, 413)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return JSONResponse({"error": "the body is a JSON object with a text, and perhaps a voice"}, 400)
    voice = mouth.voice
    with contextlib.suppress(InputError):
        voice = await mouth.voice_of(name)
    try:
        speaking = await mouth.wait(WAIT_SECONDS, voice)
    except Busy:
        return JSONResponse({"error": NO_CHANNEL}, 503, {"Retry-After": "5"})
    speaking.push(text)
    speaking.finish()
    return StreamingResponse(_wav(speaking, mouth.rate), media_type="audio/wav")


async def _wav(speaking: Speaking, rate: int) -> AsyncIterator[bytes]:
    try:
        yield wav_header(rate)
        async for spoken in speaking:
            yield Pcm16.write(spoken.wav_S)
    finally:
        speaking.close()
