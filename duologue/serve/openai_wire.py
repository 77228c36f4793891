"""Transports of the OpenAI Realtime protocol: its events, and in WebRTC its sound."""

from typing import Protocol

import numpy as np
from starlette.websockets import WebSocket, WebSocketDisconnect


class Wire(Protocol):
    """A transport of events, and possibly of sound."""

    has_track: bool
    """Whether a media track carries the sound, not the events."""

    async def send(self, event: str, /) -> None: ...

    async def receive(self) -> str | bytes:
        """The next event. Raises WebSocketDisconnect at the end."""
        ...

    def play(self, wav_S: np.ndarray, /) -> None:
        """Send the agent's next frame; only with a track."""
        ...

    async def close(self, code: int, reason: str) -> None: ...


class SocketWire:
    """Events and sound over one WebSocket."""

    has_track = False

    def __init__(self, websocket: WebSocket):
        self._socket = websocket

    async def send(self, event: str) -> None:
        await self._socket.send_text(event)

    async def receive(self) -> str | bytes:
        message = await self._socket.receive()
        if message["type"] == "websocket.disconnect":
            raise WebSocketDisconnect(message.get("code", 1006))
        return message.get("text") or message.get("bytes") or b""

    def play(self, wav_S: np.ndarray) -> None:
        raise NotImplementedError

    async def close(self, code: int, reason: str) -> None:
        await self._socket.close(code, reason)
