"""Messages of moshi-server's protocol: MessagePack maps with the key `type`.

What clients such as unmute rely on is in docs/serving.md.
"""

import asyncio
import contextlib
import struct
from typing import Any, cast

import msgpack
from starlette.websockets import WebSocket, WebSocketDisconnect

from duologue.serve.link import in_time
from duologue.serve.pool import Ended
from duologue.serve.settings import IDLE_SECONDS

WAIT_SECONDS = 100.0  # how long a plain HTTP request waits for a free slot
NO_CHANNEL = "no free channels"
UNKNOWN_WAV_LENGTH = 0xFFFFFFFF


def packed(kind: str, **values: Any) -> bytes:
    """A message. Floats have single precision, as in moshi-server."""
    return cast(bytes, msgpack.packb({"type": kind, **values}, use_single_float=True))


def unpacked(data: bytes) -> dict[str, Any]:
    """Raises Ended for anything that is not a message."""
    try:
        message = msgpack.unpackb(data, raw=False)
        if isinstance(message, dict) and isinstance(message.get("type"), str):
            return message
    except (ValueError, msgpack.UnpackException, RecursionError):
        pass
    raise Ended("invalid", "a message is a MessagePack map with a type")


async def received(websocket: WebSocket) -> bytes | str:
    """The next message. Raises Ended after `IDLE_SECONDS` without one, WebSocketDisconnect when the client has
    disconnected."""
    try:
        async with asyncio.timeout(IDLE_SECONDS):
            message = await websocket.receive()
    except TimeoutError:
        raise Ended("idle", "no message has come for two minutes") from None
    if message["type"] == "websocket.disconnect":
        raise WebSocketDisconnect(message.get("code", 1006))
    return message.get("bytes") or message.get("text") or b""


async def goodbye(websocket: WebSocket, error: str | None) -> None:
    with contextlib.suppress(Ended, WebSocketDisconnect, RuntimeError):
        if error is not None:
            await in_time(websocket.send_bytes(packed("Error", message=error)))
        await in_time(websocket.close())


def wav_header(rate: int) -> bytes:
    """The header of a mono 16-bit wav of unknown length."""
    form = struct.pack("<IHHIIHH", 16, 1, 1, rate, 2 * rate, 2, 16)
    length = struct.pack("<I", UNKNOWN_WAV_LENGTH)
    return b"RIFF" + length + b"WAVEfmt " + form + b"data" + length
