"""A client of WebRTC with a microphone, on aiortc."""

import asyncio
import contextlib
import fractions
import http.client
import json

import numpy as np
import pytest

aiortc = pytest.importorskip("aiortc", reason="the extra webrtc is not installed")
av = pytest.importorskip("av")

from aiortc.mediastreams import MediaStreamError, MediaStreamTrack  # noqa: E402

from tests.serve.server import PATIENCE  # noqa: E402

RATE = 48_000


class Hum(MediaStreamTrack):
    """A microphone: half a second of a hum, a second of nothing."""

    kind = "audio"

    def __init__(self):
        super().__init__()
        self.pieces = 0

    async def recv(self):
        if self.readyState != "live":
            raise MediaStreamError
        await asyncio.sleep(0.02)
        at = (np.arange(RATE // 50) + self.pieces * RATE // 50) / RATE
        loud = self.pieces % 75 < 25
        samples = (8000 * loud * np.sin(2 * np.pi * 440 * at)).astype(np.int16)
        frame = av.AudioFrame.from_ndarray(samples[None], format="s16", layout="mono")
        frame.sample_rate, frame.pts = RATE, self.pieces * RATE // 50
        frame.time_base = fractions.Fraction(1, RATE)
        self.pieces += 1
        return frame


class Client:
    """A client with a microphone, a speaker and the channel of events."""

    def __init__(self):
        self.peer = aiortc.RTCPeerConnection(aiortc.RTCConfiguration([]))
        self.channel = self.peer.createDataChannel("oai-events")
        self.events: list[dict] = []
        self.news = asyncio.Event()
        self.sound: list[np.ndarray] = []
        self.channel.on("message", self._on_message)
        self.peer.on("track", self._on_track)
        self.peer.addTrack(Hum())
        self.tasks: list[asyncio.Task] = []

    def _on_message(self, message):
        self.events.append(json.loads(message))
        self.news.set()

    def _on_track(self, track):
        async def listen():
            with contextlib.suppress(MediaStreamError):
                while True:
                    self.sound.append((await track.recv()).to_ndarray().ravel())

        self.tasks.append(asyncio.create_task(listen()))

    async def offer(self) -> str:
        await self.peer.setLocalDescription(await self.peer.createOffer())
        return self.peer.localDescription.sdp

    async def call(self, server) -> str:
        status, headers, answer = await asyncio.to_thread(post, server, await self.offer())
        assert status == 201, answer
        assert headers["content-type"].startswith("application/sdp")
        await self.peer.setRemoteDescription(aiortc.RTCSessionDescription(answer, "answer"))
        return headers["location"]

    def send(self, type: str, **fields) -> None:
        self.channel.send(json.dumps({"type": type, **fields}))

    async def until(self, *types: str) -> dict:
        """The first event of one of these types."""
        async with asyncio.timeout(PATIENCE):
            while not any(event["type"] in types for event in self.events):
                self.news.clear()
                await self.news.wait()
        return next(event for event in self.events if event["type"] in types)

    async def close(self):
        await self.peer.close()
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)


def post(server, body: str, path: str = "", method: str = "POST", **headers):
    link = http.client.HTTPConnection(server.address, timeout=PATIENCE)
    headers = {"Content-Type": "application/sdp"} | {k.replace("_", "-"): v for k, v in headers.items()}
    link.request(method, f"/v1/realtime/calls{path}", body, headers)
    response = link.getresponse()
    text = response.read().decode()
    link.close()
    return response.status, {k.lower(): v for k, v in response.getheaders()}, text


def run(server, script):
    async def go():
        client = Client()
        try:
            return await script(client)
        finally:
            await client.close()

    return asyncio.run(go())
