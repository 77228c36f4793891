"""WebRTC, by aiortc as the client."""

import asyncio
import gc
import json
import re
import sys
import time

import numpy as np
import psutil
import pytest

aiortc = pytest.importorskip("aiortc", reason="the extra webrtc is not installed")
av = pytest.importorskip("av")


from duologue.serve import webrtc  # noqa: E402
from duologue.serve.openai_exchange import MISTAKES  # noqa: E402
from duologue.serve.settings import Settings  # noqa: E402
from duologue.serve.webrtc import CHANNELS, EVENTS, PIECE, SLACK, AgentTrack, ice_server  # noqa: E402
from tests.serve.server import PATIENCE, Server, until  # noqa: E402
from tests.serve.webrtc_client import RATE, Client, post, run  # noqa: E402

pytestmark = pytest.mark.usefixtures("nobody_left")


@pytest.fixture(scope="module")
def server():
    server = Server(Settings(sessions=1, queue=0, origins=("https://talk.example.com",)))
    yield server
    server.close()


def test_a_call_is_heard_and_answered(server):
    async def script(client):
        place = await client.call(server)
        await client.until("session.created")
        assert server.service.engine.used == 1
        client.send("session.update", session={"type": "realtime", "instructions": "be brief"})
        assert (await client.until("session.updated"))["session"]["instructions"] == ""  # it takes none
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


@pytest.fixture(scope="module")
def strict():
    """A server that ends calls by itself."""
    server = Server(Settings(sessions=2, time_limit=3.0, idle_limit=1.0))
    yield server
    server.close()


def left_behind(server) -> tuple[int, int]:
    """UDP sockets, and tasks of the server, once nobody is there."""
    until(lambda: server.service.engine.used == 0 and not server.uvicorn.server_state.connections)
    gc.collect()
    return len(psutil.Process().net_connections("udp")), len(server.tasks())


async def to_the_end(client) -> None:
    async with asyncio.timeout(PATIENCE):
        while client.channel.readyState == "open":
            await asyncio.sleep(0.05)


async def until_the_limit(server, client):
    await client.call(server)
    await client.until("session.created")
    await to_the_end(client)


async def hung_up_on(server, client):
    place = await client.call(server)
    await client.until("session.created")
    await asyncio.to_thread(post, server, "", "/" + place.rsplit("/", 1)[1], "DELETE")
    await to_the_end(client)


async def hung_up_on_twice(server, client):
    place = await client.call(server)
    for _ in range(2):
        await asyncio.to_thread(post, server, "", "/" + place.rsplit("/", 1)[1], "DELETE")


async def too_many_mistakes(server, client):
    await client.call(server)
    await client.until("session.created")
    for _ in range(30):
        client.channel.send("no event")
    await to_the_end(client)


async def no_one_there(server, client):
    """An offer whose only address is dead."""
    offer = re.sub(r"(a=candidate:\S+ \d \S+ \d+) \S+ \d+ ", r"\1 127.0.0.1 9 ", await client.offer())
    status, _, answer = await asyncio.to_thread(post, server, offer)
    assert status == 201, answer


async def not_understood(server, client):
    offer = (await client.offer()).replace("a=setup:actpass", "a=setup:nonsense")
    assert (await asyncio.to_thread(post, server, offer))[0] == 400


@pytest.mark.parametrize(
    "end",
    [until_the_limit, hung_up_on, hung_up_on_twice, too_many_mistakes, no_one_there, not_understood],
)
def test_a_call_that_the_server_ends_leaves_nothing(strict, end, monkeypatch):
    monkeypatch.setattr("duologue.serve.webrtc.FIRST_SOUND_SECONDS", 1.0)
    before = left_behind(strict)
    for _ in range(2):
        run(strict, lambda client: end(strict, client))
    until(lambda: left_behind(strict) == before, 15)


@pytest.fixture
def peers(monkeypatch):
    """The server's ends of the calls that are made in a test."""
    made = []

    class Known(webrtc.Peer):
        def __init__(self, *args):
            super().__init__(*args)
            made.append(self)

    monkeypatch.setattr(webrtc, "Peer", Known)
    return made


def form(sdp: str, session: str) -> tuple[str, str]:
    """As OpenAI's clients send an offer: the body, and its type."""
    parts = [("sdp", "application/sdp", sdp), ("session", "application/json", session)]
    body = "".join(
        f'--xyz\r\nContent-Disposition: form-data; name="{name}"\r\nContent-Type: {kind}\r\n\r\n{value}\r\n'
        for name, kind, value in parts
    )
    return f"{body}--xyz--\r\n", "multipart/form-data; boundary=xyz"


def test_an_offer_may_come_in_a_form_with_its_session(server):
    async def script(client):
        session = {
            "type": "realtime",
            "audio": {"input": {"turn_detection": None, "transcription": {"model": "x"}}},
        }
        body, kind = form(await client.offer(), json.dumps(session | {"instructions": "é" * 50_000}))
        status, _, answer = await asyncio.to_thread(post, server, body, Content_Type=kind)
        assert status == 201, answer
        await client.peer.setRemoteDescription(aiortc.RTCSessionDescription(answer, "answer"))
        return (await client.until("session.created"))["session"]

    session = run(server, script)
    assert session["audio"]["input"]["turn_detection"] is None
    assert session["audio"]["input"]["transcription"]["model"] == "x"


def test_the_openai_client_can_make_a_call(server):
    openai = pytest.importorskip("openai")

    async def script(client):
        link = openai.AsyncOpenAI(api_key="none", base_url=f"http://{server.address}/v1")
        answer = await link.realtime.calls.create(
            sdp=await client.offer(), session={"type": "realtime", "model": "any"}
        )
        await client.peer.setRemoteDescription(aiortc.RTCSessionDescription(answer.text, "answer"))
        await client.until("session.created")
        await link.close()

    run(server, script)


@pytest.mark.parametrize(
    ("sdp", "session", "status"),
    [("v=0", "{", 400), ("v=0", "[1]", 400), ("v=0", '{"audio": {"input": {"format": "x"}}}', 400),
     ("x" * 100_000, "{}", 413), ("v=0", "x" * 2_000_000, 400), ("v=0", "[" * 100_000, 400)],
)  # fmt: skip
def test_what_is_no_form_of_an_offer_is_refused(server, sdp, session, status):
    body, kind = form(sdp, session)
    assert post(server, body, Content_Type=kind)[0] == status
    assert post(server, body, Content_Type="multipart/form-data")[0] == 400
    assert server.service.engine.used == 0


def test_offered_video_is_not_looked_at(server, peers):
    class Picture(aiortc.VideoStreamTrack):
        pass

    async def script(client):
        client.peer.addTrack(Picture())
        client.peer.addTransceiver("audio")
        await client.call(server)
        await client.until("session.created")
        await client.until("response.done")
        return [(t.kind, t.currentDirection) for t in peers[0]._peer.getTransceivers()], [
            (t.kind, t.currentDirection) for t in client.peer.getTransceivers()
        ]

    here, there = run(server, script)
    assert here == [("audio", "sendrecv")]
    assert there == [("audio", "sendrecv"), ("video", "inactive"), ("audio", "inactive")]


def test_the_first_channel_of_that_name_carries_the_events(server):
    async def script(client):
        other, late, told = client.peer.createDataChannel("telemetry"), None, []
        other.on("message", told.append)
        await client.call(server)
        await client.until("session.created")
        late = client.peer.createDataChannel("oai-events")
        late.on("message", told.append)
        while "connecting" in (other.readyState, late.readyState):
            await asyncio.sleep(0.01)
        other.send("hello there")
        await asyncio.sleep(0.3)
        other.close()
        late.close()
        await asyncio.sleep(0.5)
        client.send("session.update", session={"type": "realtime"})
        await client.until("session.updated")
        return told, client.channel.readyState, client.events

    told, state, events = run(server, script)
    assert (told, state) == ([], "open")
    assert not any(event["type"] == "error" for event in events)


def test_one_who_opens_many_channels_is_ended(server):
    async def script(client):
        await client.call(server)
        await client.until("session.created")
        for i in range(CHANNELS):
            client.peer.createDataChannel(str(i))
        await to_the_end(client)

    run(server, script)


def test_one_who_sends_more_events_than_can_wait_is_ended(server, peers):
    async def script(client):
        await client.call(server)
        await client.until("session.created")
        for _ in range(EVENTS + 1):
            peers[0]._on_message("{}")
        await to_the_end(client)
        return [event["type"] for event in client.events].count("error")

    assert run(server, script) < MISTAKES


def test_a_muted_track_is_silence_and_no_dead_peer(strict):
    """It sends nothing at all, for longer than the idle limit."""

    async def script(client):
        await client.call(strict)
        await client.until("input_audio_buffer.speech_started")
        (sender,) = client.peer.getSenders()
        sender.replaceTrack(None)  # in the middle of a turn: half a second of it is over at most
        await client.until("input_audio_buffer.speech_stopped")
        await to_the_end(client)

    def ends() -> dict[str, float]:
        counters = strict.service.metrics.ended
        return {reason: counters.labels(reason)._value.get() for reason in ("idle", "time_limit", "gone")}

    before = ends()
    run(strict, script)
    until(lambda: ends() != before)
    assert ends() == before | {"time_limit": before["time_limit"] + 1}


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
