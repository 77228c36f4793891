"""The protocol of Moshi's own clients, and of our page: `GET /api/chat`. See docs/serving.md."""

import asyncio
import json
import secrets
from dataclasses import asdict, dataclass, replace
from enum import IntEnum
from typing import Any

from starlette.datastructures import QueryParams
from starlette.websockets import WebSocket, WebSocketDisconnect

from duologue.audio.opus import OpusReader, OpusWriter
from duologue.errors import InputError
from duologue.lm.sampling import Sampling
from duologue.serve.line import Line, Lines, comes_back, wants_to_stay
from duologue.serve.link import Budget, Pcm16, RateLimiter, first_to_end, in_time
from duologue.serve.pool import Call, Ended, Pool
from duologue.serve.settings import (
    CHAT_MESSAGE,
    FIRST_SOUND_SECONDS,
    FLOOD,
    MESSAGE_SOUND_SECONDS,
    RESTARTS_BURST,
    RESTARTS_PER_SECOND,
)


class Kind(IntEnum):
    """The first byte of a message."""

    HANDSHAKE, AUDIO, TEXT, CONTROL, EVENT, ERROR, PING, PLAYED = range(8)


class Control(IntEnum):
    GO_ON, END_TURN, PAUSE, RESTART = range(4)


CLOSE = {
    "full": 1013,
    "shutdown": 1012,
    "error": 1011,
    "slow": 1008,
    "invalid": 1008,
    "too_big": 1009,
    FLOOD: 1008,
}
PING_BYTES = 16
LIMITS = {  # of the query: setting, minimum, maximum
    "text_temperature": ("text_temperature", 0, 5),
    "text_topk": ("text_top_k", 0, 1_000_000),
    "audio_temperature": ("temperature", 0, 5),
    "audio_topk": ("top_k", 0, 1_000_000),
    "pad_mult": ("pad_bias", -10, 10),
}


@dataclass(frozen=True)
class Wishes:
    """The settings in a client's query."""

    sampling: Sampling
    seeded: bool
    events: bool
    opus: bool


def wishes(query: QueryParams, default: Sampling) -> Wishes:
    """Reads the query. Raises InputError for an invalid value."""
    values: dict[str, Any] = {}
    for name, (field, least, most) in LIMITS.items():
        if name in query:
            values[field] = _number(name, query[name], least, most, type(getattr(default, field)))
    seed = next((query[name] for name in ("text_seed", "audio_seed") if query.get(name)), None)
    if seed is not None:
        values["seed"] = _number("seed", seed, -(1 << 63), (1 << 64) - 1, int) & 0x7FFF_FFFF_FFFF_FFFF
    if (form := query.get("format", "opus")) not in ("opus", "pcm16"):
        raise InputError(f"format is opus or pcm16, not {form[:20]!r}")
    return Wishes(replace(default, **values), seed is not None, query.get("events") == "1", form == "opus")


def _number(name: str, text: str, least: int, most: int, kind: type) -> Any:
    try:
        value = kind(text)
    except ValueError:
        value = None
    if value is None or not least <= value <= most:
        raise InputError(f"{name} is a number from {least} to {most}, not {text[:20]!r}")
    return value


def published(sampling: Sampling) -> dict[str, Any]:
    """Settings by their names in the protocol."""
    return {name: getattr(sampling, field) for name, (field, _, _) in LIMITS.items()}


async def chat(websocket: WebSocket, pool: Pool, lines: Lines, default: Sampling) -> None:
    """Hold a conversation over an admitted connection, to its end; or go on with one whose connection was lost."""
    await websocket.accept()
    query = websocket.query_params
    if comes_back(query):
        if not await lines.resume(websocket, query):
            text = "That conversation is over: please start a new one."
            await websocket.send_bytes(bytes([Kind.ERROR]) + text.encode())
            await websocket.close(1008, "over")
        return
    name = lines.new_name("chat") if wants_to_stay(query) else None
    await lines.hold(websocket, name, lambda line: _converse(line, pool, name, query, default))


async def _converse(line: Line, pool: Pool, name: str | None, query: QueryParams, default: Sampling) -> None:
    chat = _Chat(line, pool, name)
    try:
        try:
            await chat.run(wishes(query, default))
        except InputError as error:
            raise Ended("invalid", f"{error}.") from None
    except Ended as ended:
        await chat.goodbye(ended)
    except (WebSocketDisconnect, RuntimeError):  # RuntimeError: a message after the peer has closed
        pass


class _Chat:
    def __init__(self, line: Line, pool: Pool, name: str | None):
        self._line, self._pool, self._name = line, pool, name
        self._call: Call | None = None
        self._events = False

    async def run(self, wished: Wishes) -> None:
        self._events, self._sampling = wished.events, wished.sampling
        if not wished.seeded:
            self._sampling = replace(self._sampling, seed=secrets.randbits(31))
        self._samples = Pcm16()
        self._reader = OpusReader() if wished.opus else None
        self._writer = OpusWriter() if wished.opus else None
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
        patient = self._name is not None
        call = self._call = await self._pool.admit(self._sampling, "kyutai", self._queue, patient)
        call.first_sound = FIRST_SOUND_SECONDS
        await self._announce(call)
        self._line.announce = self._resumed
        await self._send(Kind.HANDSHAKE, b"")
        told = asyncio.get_running_loop().time()
        while True:
            for said in await call.said():
                sound = self._writer.push(said.wav_S) if self._writer else Pcm16.write(said.wav_S)
                await self._send(Kind.AUDIO, sound)
                if said.text:
                    await self._send(Kind.TEXT, said.text.encode())
                if said.user_text:
                    await self._event(type="heard", text=said.user_text)
            if warning := call.warning():
                await self._event(type="warning", reason=warning[0], in_s=warning[1])
            if (now := asyncio.get_running_loop().time()) - told >= 1:
                told = now
                await self._stats(call)

    async def _announce(self, call: Call) -> None:
        settings = self._pool.settings
        await self._event(
            type="start",
            session=call.id,
            model=self._pool.model,
            seed=self._sampling.seed,
            sampling=published(self._sampling),
            time_limit_s=settings.time_limit,
            idle_limit_s=settings.idle_limit,
            resume=self._name,
        )

    def _resumed(self, received: int) -> bytes:
        """The first message after a reconnection; `received`: how many of the client's messages had arrived."""
        if self._call is not None:
            self._call.resumed()
        return bytes([Kind.EVENT]) + json.dumps({"type": "resumed", "received": received}).encode()

    async def _stats(self, call: Call) -> None:
        counts = call.counts()
        if self._events:
            figures = asdict(counts)
            waiting, response = figures.pop("waiting"), figures.pop("response")
            await self._event(
                type="stats",
                **figures,
                step_ms=round(1000 * self._pool.engine.step_seconds, 1),
                response_ms=round(1000 * response, 1),
                backlog_ms=80 * waiting,
            )

    async def _queue(self, position: int, length: int, wait_s: float | None) -> None:
        event = {"type": "queue", "position": position, "length": length, "wait_s": wait_s}
        await self._send(Kind.EVENT, json.dumps(event).encode())

    async def _event(self, **event: Any) -> None:
        if self._events:
            await self._send(Kind.EVENT, json.dumps(event).encode())

    async def _send(self, kind: Kind, payload: bytes) -> None:
        await in_time(self._line.send(bytes([kind]) + payload, counts=kind != Kind.PING))

    async def goodbye(self, ended: Ended) -> None:
        """Send the last message; skipped if the peer does not read it."""
        code = CLOSE.get(ended.reason, 1000)
        try:
            await self._event(type="end", reason=ended.reason, retry_s=ended.retry)
            if code != 1000:
                hint = f" (in {ended.retry:.0f} s)" if ended.retry else ""
                await self._send(Kind.ERROR, f"{ended.text}{hint}".encode())
            await in_time(self._line.close(code, ended.reason))
        except (Ended, WebSocketDisconnect, RuntimeError):
            pass

    # In

    async def _receive(self) -> None:
        limiter, self._restarts = RateLimiter(), Budget(RESTARTS_PER_SECOND, RESTARTS_BURST)
        while True:
            data = await self._line.receive()
            await limiter.message(len(data))
            if not data or isinstance(data, str):
                continue
            if len(data) > CHAT_MESSAGE:
                raise Ended("too_big")
            if data[0] == Kind.AUDIO:
                wav_S = (
                    self._reader.push(data[1:], MESSAGE_SOUND_SECONDS)
                    if self._reader
                    else self._samples.read(data[1:])
                )
                limiter.take(wav_S.size)
                if self._call is not None:
                    self._call.push(wav_S)
            elif self._events and data[0] == Kind.CONTROL and self._call is not None:
                await self._control(self._call, data[1:2])
            elif self._events and data[0] == Kind.PING:
                await self._send(Kind.PING, data[1 : 1 + PING_BYTES])
            elif self._events and data[0] == Kind.TEXT and self._call is not None:
                self._call.tell(data[1:].decode(errors="replace"))
            elif self._events and data[0] == Kind.PLAYED and self._call is not None:
                self._call.played(int.from_bytes(data[1:5], "little"))

    async def _control(self, call: Call, action: bytes) -> None:
        if action == bytes([Control.PAUSE]):
            call.session.pause()
        elif action == bytes([Control.GO_ON]):
            call.session.resume()
        elif action == bytes([Control.RESTART]):
            if not self._restarts.take():
                raise Ended(FLOOD, "The conversation was started over too often.")
            self._sampling = replace(self._sampling, seed=self._sampling.seed + 1)
            call.restart(self._sampling)
            await self._announce(call)
