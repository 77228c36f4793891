"""The protocol of Kyutai's moshi-server: recognition at `/api/asr-streaming`, synthesis at `/api/tts_streaming`.

Messages are MessagePack maps with the key `type`. What clients such as unmute rely upon is in
docs/serving.md.
"""

import asyncio
import contextlib
import platform
import struct
from collections import deque
from collections.abc import AsyncIterator
from typing import Any, cast

import msgpack
import numpy as np
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.websockets import WebSocket, WebSocketDisconnect

from duologue import __version__
from duologue.audio.activity import LOUD_USER
from duologue.audio.files import clean
from duologue.audio.opus import OpusReader, OpusWriter
from duologue.engine.batcher import Busy
from duologue.engine.recognise import Heard
from duologue.engine.speak import Spoken
from duologue.errors import InputError
from duologue.serve.audio_files import TooBig, received_sound
from duologue.serve.link import Pcm16, RateLimiter, VoiceActivity, first_to_end, in_time
from duologue.serve.pool import Ended
from duologue.serve.speech import Ears, Failed, Listening, Mouth, Speaking

SILENT = 120.0  # seconds without a message after which a connection ends
PATIENCE = 100.0  # seconds that a request without a stream waits for a slot
MESSAGE = 1 << 20  # bytes of text that one connection may have waiting
PAUSES = 0.5, 1.0, 2.0, 3.0  # seconds of the pauses that the four probabilities stand for
NO_CHANNEL = "no free channels"
LONGEST_WAV = 0xFFFFFFFF


def packed(kind: str, **values: Any) -> bytes:
    """A message. Numbers with a fraction are single floats, as the server that clients know sends them."""
    return cast(bytes, msgpack.packb({"type": kind, **values}, use_single_float=True))


def unpacked(data: bytes) -> dict[str, Any]:
    """Raises Ended for what is no message."""
    try:
        message = msgpack.unpackb(data, raw=False)
        if isinstance(message, dict) and isinstance(message.get("type"), str):
            return message
    except (ValueError, msgpack.UnpackException, RecursionError):
        pass
    raise Ended("invalid", "a message is a MessagePack map with a type")


async def _received(websocket: WebSocket) -> bytes | str:
    """The next message. Raises Ended for a client that is silent, WebSocketDisconnect for one that has gone."""
    try:
        async with asyncio.timeout(SILENT):
            message = await websocket.receive()
    except TimeoutError:
        raise Ended("idle", "no message has come for two minutes") from None
    if message["type"] == "websocket.disconnect":
        raise WebSocketDisconnect(message.get("code", 1006))
    return message.get("bytes") or message.get("text") or b""


async def _goodbye(websocket: WebSocket, error: str | None) -> None:
    with contextlib.suppress(Ended, WebSocketDisconnect, RuntimeError):
        if error is not None:
            await in_time(websocket.send_bytes(packed("Error", message=error)))
        await in_time(websocket.close())


# Recognition


class Asr:
    """A connection to `/api/asr-streaming`."""

    def __init__(self, websocket: WebSocket, ears: Ears):
        self._socket, self._ears = websocket, ears
        self._listening: Listening | None = None
        self._opus = OpusReader(ears.rate)
        self._markers: deque[tuple[int, Any]] = deque()  # the step after which each is due, and its id
        self._restarted = asyncio.Event()
        self._user = VoiceActivity(LOUD_USER)

    async def hold(self) -> None:
        """Hold it to its end."""
        await self._socket.accept()
        error = None
        try:
            self._listening = self._ears.listen()
            await first_to_end(self._receive(), self._send())
        except Busy:
            error = NO_CHANNEL
        except (Ended, Failed, InputError) as ended:
            error = str(ended)
        except (WebSocketDisconnect, RuntimeError):
            return
        finally:
            if self._listening is not None:
                self._listening.close()
        await _goodbye(self._socket, error)

    async def _receive(self) -> None:
        limiter = RateLimiter()
        while True:
            data = await _received(self._socket)
            if not isinstance(data, bytes):  # text is no message
                await limiter.message(len(data))
                continue
            message = unpacked(data)
            if message["type"] not in ("Audio", "OggOpus"):  # sound comes as fast as it is heard
                await limiter.message(len(data))
            if message["type"] == "Init":
                await self._restart()
            elif message["type"] == "Marker":
                self._mark(message.get("id"))
            elif message["type"] in ("Audio", "OggOpus"):
                await self._hear(message)
            else:
                raise Ended("invalid", f"unknown message {message['type'][:40]!r}")
            await asyncio.sleep(0)

    async def _hear(self, message: dict[str, Any]) -> None:
        assert self._listening is not None
        try:
            if message["type"] == "Audio":
                wav_S = clean(np.array(message["pcm"], np.float32).reshape(-1))
            else:
                wav_S = self._opus.push(bytes(message["data"]))
        except (KeyError, ValueError, TypeError):
            raise Ended("invalid", f"{message['type']} holds no sound") from None
        self._user.push(wav_S)
        await self._listening.push(wav_S)

    async def _restart(self) -> None:
        """The recording begins anew, in a slot as new."""
        old, self._listening = self._listening, None
        if old is not None:
            old.close()
        self._markers.clear()
        self._listening = await self._ears.wait(1.0)
        self._restarted.set()

    def _mark(self, marker: Any) -> None:
        """It is answered once all that came before it was heard, and written down."""
        listening, config, frame_size = self._listening, self._ears.config, self._ears.frame_size
        assert listening is not None
        delay = config.delay_frames if config.made_for_it else round(config.delay * 12.5)

        def due() -> None:
            hearing = listening.item
            heard = hearing.steps or int(config.made_for_it)  # the first frame takes two steps
            self._markers.append((heard + hearing.waiting // frame_size + delay, marker))

        listening.post(due)

    async def _send(self) -> None:
        while True:
            listening = self._listening
            assert listening is not None
            await self._tell("Ready")
            async for heard in listening:
                if listening is not self._listening:
                    break
                await self._told(heard, listening)
            if listening is self._listening:
                return
            await self._restarted.wait()
            self._restarted.clear()

    async def _told(self, heard: Heard, listening: Listening) -> None:
        """In the order that clients know: the step, its word, that word's end, the markers that are due."""
        buffered = listening.item.waiting
        await self._tell("Step", step_idx=heard.step, prs=self._pauses(heard), buffered_pcm=buffered)
        if self._ears.config.made_for_it:
            if heard.began is not None:
                await self._tell("Word", text=heard.began[0], start_time=heard.began[1])
            if heard.ended is not None:
                await self._tell("EndWord", stop_time=heard.ended)
        else:
            for word in heard.words:
                await self._tell("Word", text=word.text, start_time=word.start)
                await self._tell("EndWord", stop_time=word.end)
        while self._markers and heard.step >= self._markers[0][0]:
            await self._tell("Marker", id=self._markers.popleft()[1])

    def _pauses(self, heard: Heard) -> list[float]:
        """What the model's heads say; where it has none, how long it has been quiet: clients wait for pauses."""
        if heard.pauses:
            return list(heard.pauses)
        return [min(1.0, 0.08 * self._user.quiet / seconds) for seconds in PAUSES]

    async def _tell(self, kind: str, **values: Any) -> None:
        await in_time(self._socket.send_bytes(packed(kind, **values)))


async def transcribe(request: Request, ears: Ears) -> Response:
    """`POST /api/asr-streaming`: a recording in, its words out, as an array of the same messages."""
    try:
        wav_S = await received_sound(request.stream(), ears.rate)
        listening = await ears.wait(PATIENCE)
    except TooBig as error:
        return JSONResponse({"error": str(error)}, 413)
    except InputError as error:
        return JSONResponse({"error": str(error)}, 400)
    except Busy:
        return JSONResponse({"error": NO_CHANNEL}, 503, {"Retry-After": "5"})
    messages: list[dict[str, Any]] = []
    try:
        listening.post(lambda: listening.item.push(wav_S))
        listening.finish()
        async for heard in listening:
            for word in heard.words:
                messages.append({"type": "Word", "text": word.text, "start_time": round(word.start, 2)})
                messages.append({"type": "EndWord", "stop_time": round(word.end, 2)})
    except Failed as error:
        return JSONResponse({"error": str(error)}, 500)
    finally:
        listening.close()
    return JSONResponse(messages)


# Synthesis

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
        """Hold it to its end."""
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
        await _goodbye(self._socket, error if self._packs else None)

    async def _speak(self) -> None:
        name, voice = self._socket.query_params.get("voice"), self._mouth.voice
        with contextlib.suppress(InputError):  # a voice that is not known is the usual one
            voice = await self._mouth.voice_of(name)
        self._speaking = self._mouth.speak(voice)
        if self._packs:
            await in_time(self._socket.send_bytes(packed("Ready")))
        await first_to_end(self._send(), self._receive())

    async def _receive(self) -> None:
        """Text, to its end; then wait for what is said of it."""
        limiter = RateLimiter()
        while True:
            data = await _received(self._socket)
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
        elif message["type"] == "VoiceActivity":
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
        if self._size > MESSAGE:
            raise Ended("too_big", "too much text for one connection")
        self._speaking.push(text + " ")

    async def _finish(self, limiter: RateLimiter) -> None:
        assert self._speaking is not None
        if not self._words:
            raise WebSocketDisconnect(1000)
        self._speaking.finish()
        while True:  # the rest is only whether the client is still there
            await limiter.message(len(await _received(self._socket)))

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
        values = await request.json()
        text, name = values["text"], values.get("voice")
        if not isinstance(text, str) or not text.strip() or not isinstance(name, str | None):
            raise ValueError
    except (ValueError, KeyError, TypeError, AttributeError):
        return JSONResponse({"error": "the body is a JSON object with a text, and perhaps a voice"}, 400)
    voice = mouth.voice
    with contextlib.suppress(InputError):
        voice = await mouth.voice_of(name)
    try:
        speaking = await mouth.wait(PATIENCE, voice)
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


def wav_header(rate: int) -> bytes:
    """The header of a mono wav of 16 bits whose length is not known."""
    form = struct.pack("<IHHIIHH", 16, 1, 1, rate, 2 * rate, 2, 16)
    length = struct.pack("<I", LONGEST_WAV)
    return b"RIFF" + length + b"WAVEfmt " + form + b"data" + length


# What is served


def build_info() -> dict[str, str]:
    """Strings, as clients that look for a server's health read them."""
    return {
        "name": "duologue",
        "version": __version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
    }


def modules_info(ears: Ears | None, mouth: Mouth | None) -> list[dict[str, str]]:
    """One for each model; every value is a string."""
    modules = []
    for kind, path, served in (
        ("batched_asr", "/api/asr-streaming", ears),
        ("py", "/api/tts_streaming", mouth),
    ):
        if served is not None:
            modules.append(
                {
                    "type": kind,
                    "path": path,
                    "lm": served.model.name,
                    "audio_tokenizer": served.model.files.config.codec_file,
                    "used_slots": str(served.worker.used),
                    "total_slots": str(served.slots),
                }
            )
    return modules
