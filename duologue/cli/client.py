"""A client of our own servers, for the verb `call`: a recording in and the answer out, or microphone and speaker."""

import asyncio
import contextlib
import json
import struct
import time
from collections import deque
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any, Protocol
from urllib.parse import urlsplit

import numpy as np
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import InvalidHandshake, InvalidURI, WebSocketException

from duologue.audio.device import Devices, NoDevice
from duologue.audio.framing import FRAME_SECONDS, FRAME_SIZE, Framer, pad_to_frames
from duologue.audio.opus import OpusReader, OpusWriter
from duologue.cli.screen import Screen
from duologue.errors import InputError
from duologue.serve.kyutai import Kind

WAITING_FRAMES = 12  # frames of the microphone that may wait to be sent: 1 s
AGAIN = 500  # messages that are kept to be sent again
UNANSWERED_FRAMES = 12  # frames without an answer after which the user's sound waits: the line may be dead
AWAY_SECONDS = 30.0  # how long a lost connection is tried again
PING_SECONDS, PONG_SECONDS = 1.0, 3.0  # between pings, and until a line without an answer is taken for lost
BETWEEN_SECONDS = 0.5  # between two tries
OVER = 1000, 1001, 1008, 1009, 1011, 1012, 1013  # close codes of a server whose conversation has ended
HOLD_SAMPLES = FRAME_SIZE // 2  # samples that the speaker keeps for the network's unevenness


class Listener(Protocol):
    """Whoever is called back. `waiting`: seconds of sound that have come and are still to be heard."""

    @property
    def waiting(self) -> float: ...

    def sound(self, wav_S: np.ndarray) -> None: ...

    def text(self, text: str) -> None: ...

    def event(self, event: dict[str, Any]) -> None:
        """The events of our own server (docs/serving.md), and `round_trip`."""
        ...


@dataclass
class Answer:
    """What the server's agent said: its sound at 24 kHz. The words of both are shown as they come."""

    screen: Screen
    parts: list[np.ndarray] = field(default_factory=list)
    waiting: float = 0.0

    @property
    def wav_S(self) -> np.ndarray:
        return np.concatenate(self.parts) if self.parts else np.zeros(1, np.float32)

    def sound(self, wav_S: np.ndarray) -> None:
        self.parts.append(wav_S)
        self.screen.say("agent", "")

    def text(self, text: str) -> None:
        self.screen.say("agent", text)

    def event(self, event: dict[str, Any]) -> None:
        if event["type"] == "heard":
            self.screen.say("you", event["text"])


def chat_url(url: str) -> str:
    """The address of the conversation at `url`: with or without a scheme and a path."""
    parts = urlsplit(url if "://" in url else f"ws://{url}")
    schemes = {"http": "ws", "https": "wss", "ws": "ws", "wss": "wss"}
    if parts.scheme not in schemes or not parts.hostname:
        raise InputError(f"{url} is not the address of a server, such as http://localhost:8998")
    path = parts.path if parts.path.endswith("/api/chat") else parts.path.rstrip("/") + "/api/chat"
    query = "&".join(part for part in (parts.query, "events=1") if part)
    return f"{schemes[parts.scheme]}://{parts.netloc}{path}?{query}"


async def call(
    url: str, frames: AsyncIterator[np.ndarray], key: str, listener: Listener, starts_over: bool = False
) -> None:
    """Say frames (float32 `[1920]` at 24 kHz) as they come, to their end, and listen meanwhile. They are asked for
    once the server listens. A connection that is lost is made again, and the conversation goes on where it was; if the
    server has lost it, a new one begins with `starts_over`. Raises InputError if the server cannot be reached or turns
    us away."""
    line = _Line(url, key, listener, starts_over)
    try:
        listening = asyncio.create_task(line.listen())
        opened = asyncio.create_task(line.started.wait())
        await asyncio.wait({opened, listening}, return_when=asyncio.FIRST_COMPLETED)
        opened.cancel()
        if line.started.is_set():
            speaking = asyncio.create_task(line.speak(frames))
            await asyncio.wait({speaking, listening}, return_when=asyncio.FIRST_COMPLETED)
            speaking.cancel()
        await line.close()
        await listening
    except (InvalidHandshake, InvalidURI, OSError, TimeoutError) as error:
        raise InputError(f"cannot talk to {url}: {error}") from None
    if line.error:
        raise InputError(f"{url}: {line.error}")


class _Line:
    """What goes out and what comes in, over one connection after another."""

    def __init__(self, url: str, key: str, listener: Listener, starts_over: bool):
        self._url, self._starts_over = chat_url(url), starts_over
        self._headers = {"Authorization": f"Bearer {key}"} if key else None
        self._listener, self._reader, self._writer = listener, OpusReader(), OpusWriter()
        self.started = asyncio.Event()
        self.error = ""
        self._link: ClientConnection | None = None
        self._closed = False
        self._ours = False  # whether the server knows more than the handshake, sound and text
        self._token = ""  # with which one may come back
        self._sent: deque[bytes] = deque(maxlen=AGAIN)  # the newest messages
        self._sent_all = self._received = 0  # how many messages
        self._said = self._heard = 0  # frames
        self._answered = asyncio.Event()

    # Out

    async def speak(self, frames: AsyncIterator[np.ndarray]) -> None:
        async for frame_S in frames:
            await self._send(bytes([Kind.AUDIO]) + self._writer.push(frame_S))
            self._said += 1
            if self._ours and self._said % 12 == 0:
                played = max(0, self._heard - round(self._listener.waiting / FRAME_SECONDS))
                await self._send(bytes([Kind.PLAYED]) + struct.pack("<I", played))
                await self._send(bytes([Kind.PING]) + struct.pack("<d", time.monotonic()))
            while self._token and self._said - self._heard > UNANSWERED_FRAMES:
                self._answered.clear()
                await self._answered.wait()

    async def _send(self, message: bytes) -> None:
        self._sent.append(message)
        self._sent_all += 1
        if self._link is not None:
            with contextlib.suppress(WebSocketException):
                await self._link.send(message)

    async def close(self) -> None:
        """Say that this was all."""
        self._closed = True
        if self._link is not None:
            await self._link.close()

    # In

    async def listen(self) -> None:
        """Take what comes until the conversation is over."""
        url = first = self._url + ("" if "resume=" in self._url else "&resume=1")
        lost = 0.0
        while not self._closed:
            try:
                async with connect(
                    url,
                    additional_headers=self._headers,
                    compression=None,
                    max_size=None,
                    open_timeout=PONG_SECONDS,
                    ping_interval=PING_SECONDS,
                    ping_timeout=PONG_SECONDS,
                ) as link:
                    goes_on = await self._converse(link)
                if goes_on and (link.close_code in OVER or not self._token):
                    return
            except (InvalidHandshake, OSError, TimeoutError):
                if not self.started.is_set() or time.monotonic() > lost + AWAY_SECONDS:
                    raise
            lost = time.monotonic() if self._link is not None else lost
            self._link = None
            await asyncio.sleep(BETWEEN_SECONDS)
            url = f"{self._url}&resume={self._token}&received={self._received}" if self._token else first

    async def _converse(self, link: ClientConnection) -> bool:
        """Everything that comes over one connection. Returns whether it was the conversation that we wanted."""
        with contextlib.suppress(WebSocketException):
            if not await self._go_on(link):
                return not self._starts_over
            self._link = link
            async for message in link:
                assert isinstance(message, bytes)
                self._received += message[0] != Kind.PING
                self._take(message[0], message[1:])
        return True

    async def _go_on(self, link: ClientConnection) -> bool:
        """Send again what has not arrived. Returns whether the server still has our conversation."""
        arrived = 0
        if self._token:
            first = await link.recv()
            assert isinstance(first, bytes)
            if first[0] != Kind.EVENT:
                self._over(first[1:].decode(errors="replace"))
                return False
            arrived = json.loads(first[1:])["received"]
        while arrived < self._sent_all:
            await link.send(self._sent[arrived - self._sent_all])
            arrived += 1
        return True

    def _over(self, text: str) -> None:
        """The server does not have our conversation any more."""
        if not self._starts_over:
            self.error, self._closed = text, True
            return
        self._listener.event({"type": "over", "text": text})
        self._token, self._reader, self._writer = "", OpusReader(), OpusWriter()
        self._sent.clear()
        self._sent_all = self._received = self._said = self._heard = 0
        self._answered.set()

    def _take(self, kind: int, payload: bytes) -> None:
        listener = self._listener
        if kind == Kind.HANDSHAKE:
            self.started.set()
        elif kind == Kind.AUDIO:
            wav_S = self._reader.push(payload)
            self._heard += 1
            self._answered.set()
            listener.sound(wav_S)
        elif kind == Kind.TEXT:
            listener.text(payload.decode(errors="replace"))
        elif kind == Kind.EVENT:
            event = json.loads(payload)
            if event.get("type") == "start":
                self._ours, self._token = True, event.get("resume") or ""
            listener.event(event)
        elif kind == Kind.ERROR:
            self.error = payload.decode(errors="replace")
        elif kind == Kind.PING and len(payload) == 8:
            seconds = time.monotonic() - struct.unpack("<d", payload)[0]
            listener.event({"type": "round_trip", "ms": 1000 * seconds})


async def recording(user_S: np.ndarray, tail: float) -> AsyncIterator[np.ndarray]:
    """The frames of a recording at the rate it was spoken, then of silence for `tail` seconds."""
    user_TS = pad_to_frames(user_S).reshape(-1, FRAME_SIZE)
    silence_S, began = np.zeros(FRAME_SIZE, np.float32), time.monotonic()
    for frame in range(len(user_TS) + round(tail / FRAME_SECONDS)):
        await asyncio.sleep(max(0.0, began + frame * FRAME_SECONDS - time.monotonic()))
        yield user_TS[frame] if frame < len(user_TS) else silence_S


async def call_live(url: str, key: str) -> None:
    """Talk to a server with the microphone until one side ends it. Raises NoDevice if there is none."""
    loop, framer = asyncio.get_running_loop(), Framer()
    waiting: asyncio.Queue[np.ndarray] = asyncio.Queue()

    def put(wav_S: np.ndarray) -> None:
        for frame_S in framer.push(wav_S):
            waiting.put_nowait(frame_S)
        while waiting.qsize() > WAITING_FRAMES:
            waiting.get_nowait()

    async def spoken() -> AsyncIterator[np.ndarray]:
        while True:
            yield await waiting.get()

    try:
        with (
            Devices(lambda wav_S: loop.call_soon_threadsafe(put, wav_S), HOLD_SAMPLES) as devices,
            Screen() as screen,
        ):
            await call(url, spoken(), key, _Live(devices, screen), starts_over=True)
    except NoDevice as error:
        raise NoDevice(f"{error}; open {url} in a browser instead") from None


class _Live:
    """Plays and shows what comes."""

    def __init__(self, devices: Devices, screen: Screen):
        self._devices, self._screen = devices, screen
        self._trip = 0.0

    @property
    def waiting(self) -> float:
        return self._devices.waiting

    def sound(self, wav_S: np.ndarray) -> None:
        self._devices.play(wav_S)
        self._screen.say("agent", "")

    def text(self, text: str) -> None:
        self._screen.say("agent", text)

    def event(self, event: dict[str, Any]) -> None:
        if event["type"] == "heard":
            self._screen.say("you", event["text"])
        elif event["type"] == "queue":
            self._screen.note(f"All places are taken: you are number {event['position']} in line.")
        elif event["type"] == "warning":
            self._screen.note(
                f"The server ends the conversation in {event['in_s']:.0f} s ({event['reason']})."
            )
        elif event["type"] == "over":
            self._screen.note(f"{event['text']} A new one begins.")
        elif event["type"] == "round_trip":
            self._trip = event["ms"]
        elif event["type"] == "stats":
            answer, own = event["response_ms"], 1000 * (self._devices.waiting + self._devices.latency)
            self._screen.figures(
                f"answer {answer:.0f} ms after a frame, heard after {answer + self._trip + own:.0f} ms; round trip "
                f"{self._trip:.0f} ms; late {event['late']}, missing {event['missing']}, dropped {event['dropped']} "
                f"of {event['frames']} frames"
            )
