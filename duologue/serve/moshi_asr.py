"""Streaming recognition in moshi-server's protocol: `/api/asr-streaming`, as WebSocket and as `POST`."""

import asyncio
from collections import deque
from typing import Any

import numpy as np
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.websockets import WebSocket, WebSocketDisconnect

from duologue.audio.activity import LOUD_USER
from duologue.audio.files import clean
from duologue.audio.opus import OpusReader
from duologue.engine.batcher import Busy
from duologue.engine.recognise import Heard
from duologue.errors import InputError
from duologue.serve.audio_files import TooBig
from duologue.serve.link import RateLimiter, VoiceActivity, first_to_end, gone, in_time
from duologue.serve.moshi_messages import NO_CHANNEL, WAIT_SECONDS, goodbye, packed, received, unpacked
from duologue.serve.pool import Ended
from duologue.serve.speech import Ears, Failed, Listening

MOST_MARKERS = 10_000  # that wait for the sound before them
SHORTEST_SECONDS = 0.01  # seconds of sound in a message; one with less is counted, as one without
PAUSE_SECONDS = 0.5, 1.0, 2.0, 3.0  # length of the pauses of the four probabilities


class Asr:
    """A connection to `/api/asr-streaming`."""

    def __init__(self, websocket: WebSocket, ears: Ears):
        self._socket, self._ears = websocket, ears
        self._listening: Listening | None = None
        self._opus = OpusReader(ears.rate)
        self._markers: deque[tuple[int, int]] = deque()  # (the step after which it is due, its id)
        self._marked = 0  # how many wait, those that the worker has not taken yet among them
        self._restarted = asyncio.Event()
        self._user = VoiceActivity(LOUD_USER)

    async def hold(self) -> None:
        """Serve it until it ends."""
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
        await goodbye(self._socket, error)

    async def _receive(self) -> None:
        self._limiter = RateLimiter()
        while True:
            data = await received(self._socket)
            if not isinstance(data, bytes):  # text frames are not part of the protocol
                await self._limiter.message(len(data))
                continue
            message = unpacked(data)
            if message["type"] not in ("Audio", "OggOpus"):  # backpressure limits sound
                await self._limiter.message(len(data))
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
        if wav_S.size < SHORTEST_SECONDS * self._ears.rate:
            await self._limiter.message(0)
        self._user.push(wav_S)
        await self._listening.push(wav_S)

    async def _restart(self) -> None:
        """Start a new recording in a new slot."""
        old, self._listening = self._listening, None
        if old is not None:
            old.close()
        self._markers, self._marked = deque(), 0
        self._listening = await self._ears.wait(1.0)
        self._restarted.set()

    def _mark(self, marker: Any) -> None:
        """Answer it after all sound before it was transcribed."""
        if type(marker) is not int:
            raise Ended("invalid", "a marker's id is a number")
        if self._marked >= MOST_MARKERS:
            raise Ended("invalid", f"more than {MOST_MARKERS} markers wait for sound")
        listening, config, frame_size = self._listening, self._ears.config, self._ears.frame_size
        markers = self._markers
        assert listening is not None
        self._marked += 1
        delay = config.delay_frames if config.made_for_it else round(config.delay * 12.5)

        def due() -> None:
            hearing = listening.item
            heard = hearing.steps or int(config.made_for_it)  # the first frame takes two steps
            markers.append((heard + hearing.waiting // frame_size + delay, marker))

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
        """Send the step, its word, that word's end and the markers that are due, in the order that clients expect."""
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
            self._marked -= 1
            await self._tell("Marker", id=self._markers.popleft()[1])

    def _pauses(self, heard: Heard) -> list[float]:
        """The probabilities of the pause heads; without such heads, estimates from the time without voice, because
        clients wait for pauses."""
        if heard.pauses:
            return list(heard.pauses)
        return [min(1.0, 0.08 * self._user.quiet / seconds) for seconds in PAUSE_SECONDS]

    async def _tell(self, kind: str, **values: Any) -> None:
        await in_time(self._socket.send_bytes(packed(kind, **values)))


async def transcribe(request: Request, ears: Ears) -> Response:
    """`POST /api/asr-streaming`: a recording in, its words out, as an array of the same messages."""
    try:
        recording = await ears.receive(request.stream())
        listening = await ears.hear(recording, WAIT_SECONDS)
    except TooBig as error:
        return JSONResponse({"error": str(error)}, 413)
    except InputError as error:
        return JSONResponse({"error": str(error)}, 400)
    except Busy:
        return JSONResponse({"error": NO_CHANNEL}, 503, {"Retry-After": "5"})
    messages: list[dict[str, Any]] = []

    async def listen() -> None:
        async for heard in listening:
            for word in heard.words:
                messages.append({"type": "Word", "text": word.text, "start_time": round(word.start, 2)})
                messages.append({"type": "EndWord", "stop_time": round(word.end, 2)})

    try:
        await first_to_end(listen(), gone(request))
    except Failed as error:
        return JSONResponse({"error": str(error)}, 500)
    finally:
        listening.close()
    return JSONResponse(messages)
