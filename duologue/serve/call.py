"""A client of our own servers, for the verb `call`: a recording in, the answer out."""

import asyncio
import time
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import numpy as np
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidHandshake, InvalidURI, WebSocketException

from ..audio.framing import pad_to_frames
from ..audio.opus import OpusReader, OpusWriter
from ..errors import InputError
from .kyutai import Kind

FRAME, FRAME_SIZE = 0.08, 1920


@dataclass
class Answer:
    """What the server's agent said: its sound at 24 kHz, its text, and when each frame came, in seconds."""

    parts: list[np.ndarray] = field(default_factory=list)
    text: str = ""
    times: list[float] = field(default_factory=list)
    error: str = ""

    @property
    def wav_S(self) -> np.ndarray:
        return np.concatenate(self.parts) if self.parts else np.zeros(1, np.float32)


def chat_url(url: str) -> str:
    """The address of the conversation at `url`: with or without a scheme and a path."""
    parts = urlsplit(url if "://" in url else f"ws://{url}")
    schemes = {"http": "ws", "https": "wss", "ws": "ws", "wss": "wss"}
    if parts.scheme not in schemes or not parts.hostname:
        raise InputError(f"{url} is no address of a server, such as http://localhost:8998")
    path = parts.path if parts.path.endswith("/api/chat") else parts.path.rstrip("/") + "/api/chat"
    return f"{schemes[parts.scheme]}://{parts.netloc}{path}" + (f"?{parts.query}" if parts.query else "")


async def call(url: str, user_S: np.ndarray, tail: float, key: str, on_text=lambda text: None) -> Answer:
    """Say a recording (float32 `[S]` at 24 kHz) at the rate it was spoken, then silence for `tail` seconds; returns
    what was heard meanwhile. Raises InputError if the server cannot be reached or turns us away."""
    headers = {"Authorization": f"Bearer {key}"} if key else None
    answer = Answer()
    try:
        async with connect(
            chat_url(url), additional_headers=headers, compression=None, max_size=None
        ) as link:
            listening = asyncio.create_task(_listen(link, answer, started := asyncio.Event(), on_text))
            opened = asyncio.create_task(started.wait())
            await asyncio.wait({opened, listening}, return_when=asyncio.FIRST_COMPLETED)
            opened.cancel()
            if started.is_set():
                speaking = asyncio.create_task(_speak(link, user_S, tail))
                await asyncio.wait({speaking, listening}, return_when=asyncio.FIRST_COMPLETED)
                speaking.cancel()
            await link.close()
            await asyncio.gather(listening, return_exceptions=True)
    except (InvalidHandshake, InvalidURI, OSError, TimeoutError) as error:
        raise InputError(f"cannot talk to {url}: {error}") from None
    if answer.error:
        raise InputError(f"{url}: {answer.error}")
    return answer


async def _speak(link, user_S: np.ndarray, tail: float) -> None:
    user_TS = pad_to_frames(user_S).reshape(-1, FRAME_SIZE)
    writer, silence_S, began = OpusWriter(), np.zeros(FRAME_SIZE, np.float32), time.monotonic()
    for frame in range(len(user_TS) + round(tail / FRAME)):
        await asyncio.sleep(max(0.0, began + frame * FRAME - time.monotonic()))
        sound = writer.push(user_TS[frame] if frame < len(user_TS) else silence_S)
        await link.send(bytes([Kind.AUDIO]) + sound)


async def _listen(link, answer: Answer, started: asyncio.Event, on_text) -> None:
    reader = OpusReader()
    try:
        async for message in link:
            kind, payload = message[0], message[1:]
            if kind == Kind.HANDSHAKE:
                started.set()
            elif kind == Kind.AUDIO:
                answer.parts.append(reader.push(payload))
                answer.times.append(time.monotonic())
            elif kind == Kind.TEXT:
                answer.text += payload.decode()
                on_text(payload.decode())
            elif kind == Kind.ERROR:
                answer.error = payload.decode()
    except WebSocketException:
        pass
