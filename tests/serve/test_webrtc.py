"""WebRTC, by aiortc as the client."""

import asyncio
import contextlib
import fractions
import http.client
import json
import sys
import time

import numpy as np
import pytest

aiortc = pytest.importorskip("aiortc", reason="the extra webrtc is not installed")
av = pytest.importorskip("av")

from aiortc.mediastreams import MediaStreamError, MediaStreamTrack  # noqa: E402

from duologue.serve.settings import Settings  # noqa: E402
from duologue.serve.webrtc import PIECE, SLACK, AgentTrack, ice_server  # noqa: E402
from tests.serve.server import PATIENCE, Server, until  # noqa: E402

RATE = 48_000


@pytest.fixture(scope="module")
def server():
    server = Server(Settings(sessions=1, queue=0, origins=("https://talk.example.com",)))
    yield server
    server.close()


@pytest.fixture(autouse=True)
def nobody_left(server):
    yield
    until(lambda: server.service.engine.used == 0 and not server.service.pool._calls)


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


def test_a_call_is_heard_and_answered(server):
    async def script(client):
        place = await client.call(server)
        await client.until("session.created")
        assert server.service.engine.used == 1
        client.send("session.update", session={"type": "realtime", "instructions": "be brief"})
        assert (await client.until("session.updated"))["session"]["instructions"] == "be brief"
        done = await client.until("response.done")
        await client.until("output_audio_buffer.stopped", "output_audio_buffer.cleared")
        status, _, _ = await asyncio.to_thread(post, server, "", "/" + place.rsplit("/", 1)[1], "DELETE")
        assert status == 200
        return done, client

    done, client = run(server, script)
    types = [event["type"] for event in client.events]
    begun = types.index("response.output_item.added")
    assert types.index("output_audio_buffer.started") > begun
    assert "response.output_audio.delta" not in types  # sound has its own way
    assert done["response"]["usage"]["output_token_details"]["audio_tokens"] >= 5
    heard_S = np.concatenate(client.sound).astype(float)
    spectrum = np.abs(np.fft.rfft(heard_S * np.hanning(heard_S.size)))
    seconds = heard_S.size / (2 * RATE)  # stereo
    assert np.argmax(spectrum) / seconds == pytest.approx(440, rel=0.05)


def test_a_client_may_cancel_what_is_being_said(server):
    async def script(client):
        await client.call(server)
        await client.until("output_audio_buffer.started")
        client.send("output_audio_buffer.clear")
        assert (await client.until("response.done"))["response"]["status"] == "cancelled"
        await client.until("output_audio_buffer.cleared")

    run(server, script)


def test_one_who_vanishes_frees_the_slot(server):
    async def script(client):
        await client.call(server)
        await client.until("session.created")

    run(server, script)
    until(lambda: server.service.engine.used == 0, 30)


def test_a_full_server_refuses_with_a_hint(server):
    async def script(client):
        await client.call(server)
        await client.until("session.created")
        other = Client()
        status, headers, text = await asyncio.to_thread(post, server, await other.offer())
        await other.close()
        return status, headers, text

    status, headers, text = run(server, script)
    assert status == 503
    assert int(headers["retry-after"]) >= 5
    assert "try again" in text


@pytest.mark.parametrize(
    ("body", "headers", "status"),
    [
        ("v=0", {}, 400),
        ("no offer at all", {}, 400),
        ("x" * 100_000, {}, 413),
        ("{}", {"Content_Type": "application/json"}, 415),
        ("v=0", {"Origin": "https://evil.example.com"}, 403),
        ("v=0", {"Host": "rebound.example.com"}, 403),
    ],
)
def test_what_is_no_offer_is_refused(server, body, headers, status):
    assert post(server, body, **headers)[0] == status
    assert server.service.engine.used == 0


def test_an_unknown_call_cannot_be_ended(server):
    assert post(server, "", "/nothing", "DELETE")[0] == 404


def test_pages_that_are_allowed_may_read_the_answer(server):
    asked = {"Origin": "https://talk.example.com", "Access_Control_Request_Method": "POST"}
    status, headers, _ = post(server, "", method="OPTIONS", **asked)
    assert status == 200
    assert headers["access-control-allow-origin"] == "https://talk.example.com"


def test_without_the_extra_it_is_said_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "duologue.serve.webrtc", None)
    server = Server(Settings(sessions=1))
    try:
        status, _, text = post(server, "v=0")
    finally:
        server.close()
    assert status == 501
    assert "duologue[webrtc]" in text


def test_the_agents_track_skips_silence_when_it_is_behind():
    async def hear():
        track = AgentTrack()
        for _ in range(4):
            track.push(np.zeros(4 * PIECE, np.float32))
        track.push(np.full(4 * PIECE, 0.5, np.float32))
        return [np.abs((await track.recv()).to_ndarray()).max() for _ in range(SLACK + 4)]

    loud = asyncio.run(hear())
    assert [level > 1000 for level in loud] == [False] * (SLACK - 4) + [True] * 4 + [False] * 4


def test_after_a_stall_the_agents_track_goes_on_at_its_pace():
    async def pieces(seconds: float) -> int:
        track, loop = AgentTrack(), asyncio.get_running_loop()
        await track.recv()
        time.sleep(1.0)  # everything stands still
        count, end = 0, loop.time() + seconds
        while loop.time() < end:
            await track.recv()
            count += 1
        return count

    assert asyncio.run(pieces(0.4)) <= 0.4 / 0.02 + 2


def test_servers_that_help_across_routers():
    assert ice_server("stun:stun.example.com:3478").urls == "stun:stun.example.com:3478"
    turn = ice_server("turn:me:secret@turn.example.com:3478?transport=udp")
    assert (turn.urls, turn.username, turn.credential) == (
        "turn:turn.example.com:3478?transport=udp", "me", "secret",
    )  # fmt: skip
