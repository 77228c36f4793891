"""A client of our own servers, for the verb `call`: a recording in and the answer out, or microphone and speaker."""

import asyncio
import contextlib
import json
import struct
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any, Protocol
from urllib.parse import urlsplit

import numpy as np
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidHandshake, InvalidURI, WebSocketException

from duologue.audio.device import Devices, NoDevice
from duologue.audio.framing import FRAME_SIZE, Framer, pad_to_frames
from duologue.audio.opus import OpusReader, OpusWriter
from duologue.cli.screen import Screen
from duologue.errors import InputError
from duologue.serve.kyutai import Kind

FRAME = 0.08
WAITING_FRAMES = 12  # frames of the microphone that may wait to be sent: 1 s
HOLD_SAMPLES = FRAME_SIZE // 2  # samples that the speaker keeps for the network's unevenness


class Listener(Protocol):
    """The callbacks."""

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


async def call(url: str, frames: AsyncIterator[np.ndarray], key: str, listener: Listener) -> None:
    """Say frames (float32 `[1920]` at 24 kHz) as they come, to their end, and listen meanwhile. They are requested when
    the server is ready. Raises InputError if the server cannot be reached or refuses."""
    headers = {"Authorization": f"Bearer {key}"} if key else None
    line = _Line(listener)
    try:
        async with connect(
            chat_url(url), additional_headers=headers, compression=None, max_size=None
        ) as link:
            listening = asyncio.create_task(line.listen(link))
            opened = asyncio.create_task(line.started.wait())
            await asyncio.wait({opened, listening}, return_when=asyncio.FIRST_COMPLETED)
            opened.cancel()
            if line.started.is_set():
                speaking = asyncio.create_task(line.speak(link, frames))
                await asyncio.wait({speaking, listening}, return_when=asyncio.FIRST_COMPLETED)
                speaking.cancel()
            await link.close()
            await asyncio.gather(listening, return_exceptions=True)
    except (InvalidHandshake, InvalidURI, OSError, TimeoutError) as error:
        raise InputError(f"cannot talk to {url}: {error}") from None
    if line.error:
        raise InputError(f"{url}: {line.error}")


class _Line:
    """One connection: what goes out, and what comes in."""

    def __init__(self, listener: Listener):
        self._listener = listener
        self.started = asyncio.Event()
        self.error = ""
        self._ours = False  # whether the server knows more than the handshake, sound and text

    async def speak(self, link, frames: AsyncIterator[np.ndarray]) -> None:
        writer, said = OpusWriter(), 0
        with contextlib.suppress(WebSocketException):
            async for frame_S in frames:
                await link.send(bytes([Kind.AUDIO]) + writer.push(frame_S))
                said += 1
                if self._ours and said % 12 == 0:
                    await link.send(bytes([Kind.PING]) + struct.pack("<d", time.monotonic()))

    async def listen(self, link) -> None:
        reader, listener = OpusReader(), self._listener
        with contextlib.suppress(WebSocketException):
            async for message in link:
                kind, payload = message[0], message[1:]
                if kind == Kind.HANDSHAKE:
                    self.started.set()
                elif kind == Kind.AUDIO:
                    listener.sound(reader.push(payload))
                elif kind == Kind.TEXT:
                    listener.text(payload.decode(errors="replace"))
                elif kind == Kind.EVENT:
                    event = json.loads(payload)
                    self._ours |= event.get("type") == "start"
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
    for frame in range(len(user_TS) + round(tail / FRAME)):
        await asyncio.sleep(max(0.0, began + frame * FRAME - time.monotonic()))
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
            await call(url, spoken(), key, _Live(devices, screen))
    except NoDevice as error:
        raise NoDevice(f"{error}; open {url} in a browser instead") from None


class _Live:
    """Plays and shows what comes."""

    def __init__(self, devices: Devices, screen: Screen):
        self._devices, self._screen = devices, screen
        self._trip = 0.0

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
        elif event["type"] == "round_trip":
            self._trip = event["ms"]
        elif event["type"] == "stats":
            answer, own = event["response_ms"], 1000 * (self._devices.waiting + self._devices.latency)
            self._screen.figures(
                f"answer {answer:.0f} ms after a frame, heard after {answer + self._trip + own:.0f} ms; round trip "
                f"{self._trip:.0f} ms; late {event['late']}, missing {event['missing']}, dropped {event['dropped']} "
                f"of {event['frames']} frames"
            )
