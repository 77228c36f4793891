"""A small server that speaks the protocol of the page, without a model: it answers a pause in the visitor's
sound with a made-up voice and known words, and has a scenario for everything that may go wrong."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import socket
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import soundfile
import sphn
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.staticfiles import StaticFiles
from starlette.websockets import WebSocket, WebSocketDisconnect, WebSocketState

RATE, FRAME = 24000, 1920
STATIC = Path(__file__).parents[2] / "duologue" / "serve" / "static"
QUESTION = "What is it that a tide table tells?"
ANSWER = "A tide table lists when the sea is high and when it is low."
SYLLABLE_S = 0.26
CARD = {
    "title": "Tidal",
    "topics": ["tides", "harbours"],
    "questions": [
        {"text": "When is high water?"},
        {"text": "What is a tide table?", "sound": "api/questions/1"},
    ],
}
POLICY = (
    "default-src 'self'; script-src 'self' 'wasm-unsafe-eval'; style-src 'self'; "
    "connect-src 'self' ws: wss:; img-src 'self' data:; frame-ancestors 'none'"
)


def voice(syllables: int, pitch: float, seed: int = 0) -> np.ndarray:
    """Something between a hum and speech: harmonics of `pitch`, swelling once a syllable; float32, 24 kHz."""
    rng = np.random.default_rng(seed)
    t = np.arange(int(SYLLABLE_S * RATE)) / RATE
    parts = []
    for _ in range(syllables):
        f = pitch * rng.uniform(0.9, 1.15)
        tone = sum(np.sin(2 * np.pi * f * k * t) / k for k in range(1, 9))
        parts.append(rng.uniform(0.08, 0.2) * np.sin(np.pi * t / SYLLABLE_S) ** 0.7 * tone)
    return np.concatenate(parts).astype(np.float32)


@dataclass
class Heard:
    """What one visitor sent."""

    query: dict[str, str]
    texts: list[str] = field(default_factory=list)
    played: int = 0  # frames that it says it has heard
    sound: list[np.ndarray] = field(default_factory=list)
    pings: int = 0
    frames: int = 0


class StandIn:
    """Serves the built page and `/api`. `scenario` may be changed at any time; see `chat`."""

    def __init__(self, host: str = "127.0.0.1") -> None:
        self.scenario = "talk"
        self.key: str | None = None
        self.card: dict | None = CARD
        self.recorded = self.reads = False
        self.deaf = False  # whether it hears nothing
        self.late = 0.0  # the share of frames that it says were late
        self.captions = False  # whether the visitor's words are written down
        self.policy = POLICY
        self.frame_s = FRAME / RATE
        self.visits: list[Heard] = []
        self.go = threading.Event()  # lets the first in the queue in
        with socket.socket() as probe:
            probe.bind((host, 0))
            self.port = probe.getsockname()[1]
        self.address = f"http://{host}:{self.port}/"
        routes = [
            Route("/api/status", self.status),
            Route("/api/questions/1", self.question),
            WebSocketRoute("/api/chat", self.chat),
            Mount("/", StaticFiles(directory=STATIC, html=True)),
        ]
        app = Headers(Starlette(routes=routes), self)
        config = uvicorn.Config(
            app,
            host=host,
            port=self.port,
            log_level="error",
            lifespan="off",
            ws="websockets-sansio",
            timeout_graceful_shutdown=1,
        )
        self.server = uvicorn.Server(config)
        self.thread = threading.Thread(target=self.server.run, daemon=True)

    def __enter__(self) -> StandIn:
        self.thread.start()
        while not self.server.started:
            time.sleep(0.02)
        return self

    def __exit__(self, *_: object) -> None:
        self.server.should_exit = True
        self.thread.join(10)

    async def status(self, request: Request) -> Response:
        if self.scenario == "down":
            return Response("bad gateway", 502)
        if self.key and request.headers.get("authorization") != f"Bearer {self.key}":
            return JSONResponse({"error": "a key is needed"}, 401)
        return JSONResponse(
            {
                "model": "nano", "version": "0.1.0", "ready": self.scenario != "loading", "needs_key": bool(self.key),
                "slots": 8, "free": 3, "queue": 0, "queue_size": 8, "frame_ms": 80, "sample_rate": RATE,
                "time_limit_s": 3600, "idle_limit_s": 60,
                "sampling": {"text_temperature": 0.7, "text_topk": 25, "audio_temperature": 0.8, "audio_topk": 250,
                             "pad_mult": 0.0},
                "recorded": self.recorded, "card": self.card, "voice": None, "role": None, "reads_text": self.reads,
            }
        )  # fmt: skip

    async def question(self, _: Request) -> Response:
        file = io.BytesIO()
        soundfile.write(file, voice(8, 130.0, seed=4), RATE, format="WAV", subtype="PCM_16")
        return Response(file.getvalue(), media_type="audio/wav")

    async def chat(self, ws: WebSocket) -> None:
        if self.scenario == "refuse":
            await ws.close()
            return
        if self.scenario == "slow":
            await asyncio.sleep(5)
        await ws.accept()
        with contextlib.suppress(WebSocketDisconnect, RuntimeError):
            await self.converse(ws)

    async def converse(self, ws: WebSocket) -> None:
        async def event(**content: object) -> None:
            await ws.send_bytes(b"\x04" + json.dumps(content).encode())

        async def goodbye(
            reason: str, code: int, said: str | None = None, retry_s: float | None = None
        ) -> None:
            if said:
                await ws.send_bytes(b"\x05" + said.encode())
            await event(type="end", reason=reason, retry_s=retry_s)
            await ws.close(code)

        if self.scenario == "full":
            await goodbye("full", 1013, "Every slot and every place in the queue is taken.", 40)
            return
        if self.scenario == "queue":
            self.go.clear()
            for position in (2, 1):
                await event(type="queue", position=position, length=3, wait_s=20 * position)
                while not (self.go.is_set() or self.server.should_exit):
                    await asyncio.sleep(0.05)
                self.go.clear()
        visitor = Heard(dict(ws.query_params))
        self.visits.append(visitor)
        await event(type="start", session="5f0c9d", model="nano", seed=7, sampling={}, time_limit_s=3600,
                    idle_limit_s=60)  # fmt: skip
        await ws.send_bytes(b"\x00")
        listener = asyncio.create_task(self.listen(ws, visitor))
        try:
            await self.speak(ws, visitor, event, goodbye)
        finally:
            listener.cancel()

    async def listen(self, ws: WebSocket, visitor: Heard) -> None:
        reader = sphn.OpusStreamReader(RATE)
        while ws.client_state == WebSocketState.CONNECTED:
            message = await ws.receive()
            data = message.get("bytes") or b""
            if data[:1] == b"\x02":
                visitor.texts.append(data[1:].decode())
            if data[:1] == b"\x07":
                visitor.played = int.from_bytes(data[1:5], "little")
            if data[:1] == b"\x06":
                visitor.pings += 1
                await ws.send_bytes(data)
            if data[:1] == b"\x01" and visitor.query.get("format") == "pcm16":
                visitor.sound.append(np.frombuffer(data[1:], "<i2") / np.float32(32768))
            elif data[:1] == b"\x01":
                visitor.sound.append(reader.append_bytes(data[1:]))

    async def speak(self, ws: WebSocket, visitor: Heard, event, goodbye) -> None:
        writer = sphn.OpusStreamWriter(RATE)
        begin = asyncio.get_running_loop().time()
        agent, writer_down = Agent(), WriterDown()
        taken = 0
        for frame in range(100_000):
            await asyncio.sleep(max(0.0, begin + frame * self.frame_s - asyncio.get_running_loop().time()))
            taken, level = loudness(visitor, taken)
            level = 0.0 if self.deaf else level
            sound, text = agent.step(level)
            if visitor.query.get("format") == "pcm16":
                await ws.send_bytes(b"\x01" + (sound * 32767).astype("<i2").tobytes())
            elif packed := writer.append_pcm(sound):
                await ws.send_bytes(b"\x01" + packed)
            if text:
                await ws.send_bytes(b"\x02" + text.encode())
            if (word := writer_down.step(level)) and self.captions:
                await event(type="heard", text=word)
            visitor.frames = frame + 1
            if frame % 12 == 11:
                await event(type="stats", frames=frame + 1, late=int(self.late * frame), missing=1, dropped=0,
                            step_ms=21.5, response_ms=34.0, backlog_ms=0)  # fmt: skip
            match self.scenario:
                case "drop":
                    self.scenario = "talk"
                    if ws.client_state == WebSocketState.CONNECTED:
                        await ws.close(1011)
                    return
                case "time-limit":
                    await goodbye("time_limit", 1000)
                    return
                case "warn":
                    self.scenario = "talk"
                    await event(type="warning", reason="time_limit", in_s=30)
                case "broken":
                    await goodbye("invalid", 1008, "That was no Opus.")
                    return
                case "garbage":
                    self.scenario = "talk"
                    for junk in (b"\x09??", b"\x04{", b"\x01OggS nothing", b"", b"\x04[1]"):
                        await ws.send_bytes(junk)


class Agent:
    """Answers 0.3 s after the visitor falls silent, one word a syllable, and yields when spoken over."""

    def __init__(self) -> None:
        self.sound = np.zeros(0, np.float32)
        self.words: list[str] = []
        self.heard = self.quiet = self.since_word = self.overlap = 0.0

    def step(self, level: float) -> tuple[np.ndarray, str]:
        """One frame: float32 [1920] and the text that goes with it."""
        seconds = FRAME / RATE
        if level > 0.02:
            self.heard, self.quiet = self.heard + seconds, 0.0
            self.overlap += seconds if len(self.sound) else 0.0
        else:
            self.quiet += seconds
        if self.overlap > 0.4:
            self.sound, self.words, self.overlap, self.heard = self.sound[:0], [], 0.0, 1.0
        if self.heard > 0.2 and self.quiet > 0.3 and not len(self.sound):
            self.sound, self.words = voice(len(ANSWER.split()), 220.0, seed=3), ANSWER.split()
            self.heard = self.overlap = 0.0
            self.since_word = SYLLABLE_S
        frame, self.sound = self.sound[:FRAME], self.sound[FRAME:]
        text = ""
        self.since_word += seconds
        if self.words and self.since_word >= SYLLABLE_S:
            text, self.since_word = " " + self.words.pop(0), self.since_word - SYLLABLE_S
        return np.pad(frame, (0, FRAME - len(frame))), text


class WriterDown:
    """Takes every syllable of the visitor's for the next word of a question, and writes it down two frames later."""

    def __init__(self) -> None:
        self.words: list[str] = []
        self.loud = 0.0
        self.late = [0.0, 0.0]

    def step(self, level: float) -> str:
        """The text that one frame adds."""
        self.late.append(level)
        self.loud = self.loud + FRAME / RATE if self.late.pop(0) > 0.02 else 0.0
        if self.loud < SYLLABLE_S:
            return ""
        self.loud -= SYLLABLE_S
        self.words = self.words or QUESTION.split()
        return " " + self.words.pop(0)


def loudness(visitor: Heard, taken: int) -> tuple[int, float]:
    """Root mean square of what came since piece `taken`; and how many pieces there are now."""
    new = [piece for piece in visitor.sound[taken:] if len(piece)]
    level = float(np.sqrt(np.mean(np.concatenate(new) ** 2))) if new else 0.0
    return len(visitor.sound), level


class Headers:
    """The strict headers that a real server may send along with the page."""

    def __init__(self, app, server: StandIn) -> None:
        self.app, self.server = app, server

    async def __call__(self, scope, receive, send) -> None:
        async def with_policy(message) -> None:
            if message["type"] == "http.response.start":
                message["headers"].append((b"content-security-policy", self.server.policy.encode()))
            await send(message)

        await self.app(scope, receive, with_policy)
