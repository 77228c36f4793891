"""What carries the events of the OpenAI Realtime protocol, and perhaps its sound."""

from typing import Protocol

import numpy as np
from starlette.websockets import WebSocket, WebSocketDisconnect


class Wire(Protocol):
    """What carries the events, and perhaps the sound."""

    has_track: bool
    """Whether sound travels beside the events, not in them."""

    async def send(self, event: str) -> None: ...

    async def receive(self) -> str | bytes:
        """The next event. Raises WebSocketDisconnect once there will be none."""
        ...

    def play(self, wav_S: np.ndarray) -> None:
        """The agent's next frame; with a track only."""
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
