"""The protocol of GPT-Live, by the client that it was made for."""

import asyncio
import base64
import contextlib
import json

import numpy as np
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from duologue.serve.live import SIDEBANDS
from duologue.serve.settings import Settings
from duologue.weights import load
from tests.engine.virtual import EchoBackend, noise
from tests.serve.server import PATIENCE, Server, pcm

pytestmark = pytest.mark.usefixtures("nobody_left")

openai = pytest.importorskip("openai", reason="the openai package is not installed")

HEARD = "two and two"
FACT = "the tallest mountain is Everest"
START = {"model": "gpt-live-1"}


@pytest.fixture(scope="module")
def server():
    backend = EchoBackend(2, heard=load("tiny").tokenizer.encode(HEARD))
    server = Server(Settings(sessions=2, queue=0), backend)
    yield server
    server.close()


def client(server) -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(
        api_key="none",
        base_url=f"http://{server.address}/v1",
        websocket_base_url=f"ws://{server.address}/v1",
        max_retries=0,
    )


def sound(frames: int) -> str:
    return base64.b64encode(pcm(noise(frames))).decode()


async def until_event(link, *types: str, seen: list | None = None):
    """The next event of one of these types; every event read is of a type that the client knows."""
    async with asyncio.timeout(PATIENCE):
        while True:
            event = await link.recv()
            assert type(event).__name__ != "dict"
            if seen is not None:
                seen.append(event)
            if event.type in types:
                return event


def run(server, script, session=None):
    async def go():
        async with client(server) as ours, ours.live.connect() as link:
            await link.session.start(session=session or START)
            started = await until_event(link, "session.started")
            return await script(ours, link, started)

    return asyncio.run(go())


def test_sound_goes_both_ways_and_both_are_written_down(server):
    async def script(_, link, started):
        assert started.session.status == "active" and started.session.delegation is None
        seen: list = []
        await link.session.input_audio.append(audio=sound(6))
        await until_event(link, "session.input_transcript.delta", seen=seen)
        while sum(event.type == "session.output_audio.delta" for event in seen) < 20:
            await until_event(link, "session.output_audio.delta", seen=seen)
        return seen

    seen = run(server, script)
    voice = b"".join(base64.b64decode(e.delta) for e in seen if e.type == "session.output_audio.delta")
    echoed_S, sent_S = np.frombuffer(voice, "<i2").astype(int), np.frombuffer(pcm(noise(6)), "<i2")
    onset = int(np.argmax(np.abs(echoed_S) > 0)) // 1920 * 1920
    assert np.abs(echoed_S[onset : onset + sent_S.size] - sent_S).max() <= 1
    heard = next(event for event in seen if event.type == "session.input_transcript.delta")
    assert HEARD.startswith(heard.delta.strip()) and heard.end_ms - heard.start_ms == 80


def test_commentary_is_spoken_and_thinking_is_not(server):
    async def script(_, link, started):
        seen: list = []
        await link.session.thinking.append(content="secret", delegation_id=None, event_id="a")
        thought = await until_event(link, "session.thinking.appended", seen=seen)
        await link.session.commentary.append(content=FACT, delegation_id=None, event_id="b")
        spoken = await until_event(link, "session.commentary.appended", seen=seen)
        assert (thought.client_event_id, spoken.client_event_id) == ("a", "b")
        said = ""
        while FACT not in said:
            said += (await until_event(link, "session.output_transcript.delta", seen=seen)).delta
        assert "secret" not in said
        assert "text_not_read" in [event.code for event in seen if event.type == "info"]

    run(server, script)


def test_the_users_voice_stops_commentary(server):
    """0.5 s of it; what had been said by then stays."""

    async def script(_, link, started):
        await link.session.commentary.append(content=f"{FACT} " * 12, delegation_id=None, event_id="b")
        said = (await until_event(link, "session.output_transcript.delta")).delta
        await link.session.input_audio.append(audio=sound(12))
        for _ in range(60):  # frames, in which all of it could have been said
            event = await until_event(link, "session.output_audio.delta", "session.output_transcript.delta")
            said += event.delta if event.type == "session.output_transcript.delta" else ""
        assert 0 < len(said) < 6 * len(FACT)

    run(server, script)


def test_a_muted_user_is_silent_to_the_model(server):
    async def script(_, link, started):
        await link.session.input_audio.mute(event_id="m")
        assert (await until_event(link, "session.input_audio.muted")).client_event_id == "m"
        await link.session.input_audio.append(audio=sound(4))
        for _ in range(8):
            assert not any(base64.b64decode((await until_event(link, "session.output_audio.delta")).delta))
        await link.session.input_audio.unmute()
        await until_event(link, "session.input_audio.unmuted")
        await link.session.input_audio.append(audio=sound(4))
        while not any(base64.b64decode((await until_event(link, "session.output_audio.delta")).delta)):
            pass

    run(server, script)


def test_what_a_session_cannot_do_is_refused_by_name(server):
    too_long = "word " * 600

    async def script(_, link, started):
        async def refused(event) -> tuple[str, str | None, str]:
            await link.send_raw(json.dumps({"event_id": "x", **event}))
            error = (await until_event(link, "error")).error
            assert error.client_event_id == "x"
            return error.code, error.param, error.message

        assert (await refused({"type": "session.close", "now": 1}))[:2] == ("unknown_parameter", "now")
        code, _, text = await refused({"type": "input_audio_buffer.commit"})
        assert code == "unknown_event" and "session.commentary.append" in text
        update = {"type": "session.update", "session": {"instructions": "be brief"}}
        assert (await refused(update))[:2] == ("unknown_parameter", "session.instructions")
        update["session"] = {"delegation": {"type": "decisions", "decisions": {}}}
        assert (await refused(update))[:2] == ("unsupported_value", "session.delegation.type")
        append = {"type": "session.commentary.append", "content": too_long, "delegation_id": None}
        assert (await refused(append))[0] == "string_above_max_length"
        assert (await refused(append | {"content": "x", "delegation_id": "none"}))[
            0
        ] == "invalid_delegation_id"
        assert (await refused({"type": "session.start", "session": START}))[0] == "session_already_started"
        await link.session.update(session={"delegation": {"type": "client", "acknowledgement_delay_ms": 700}})
        updated = await until_event(link, "session.updated")
        assert updated.session.delegation.acknowledgement_delay_ms == 700

    run(server, script, START | {"delegation": {"type": "client"}})


def test_the_first_event_starts_the_session(server):
    async def go():
        async with client(server) as ours, ours.live.connect() as link:
            await link.session.input_audio.append(audio=sound(1))
            assert (await until_event(link, "error")).error.code == "session_not_started"
            await link.session.start(session=START | {"voice": "marin"})
            assert (await until_event(link, "error")).error.param == "session.voice"
            await link.session.start(
                session={"model": "m", "audio": {"format": {"type": "audio/pcm", "rate": 9}}}
            )
            assert (await until_event(link, "error")).error.param == "session.audio.format.rate"
            await link.session.start(session=START | {"instructions": "be brief"})
            started = await until_event(link, "session.started")
            assert started.session.instructions is None  # which the model does not read
            assert (await until_event(link, "info")).code == "text_not_read"

    asyncio.run(go())


@pytest.mark.parametrize(
    ("form", "rate", "size"),
    [("audio/pcm", 16_000, 2560), ("audio/pcmu", 8_000, 640), ("audio/pcma", 8_000, 640)],
)
def test_other_formats_are_spoken_and_heard(server, form, rate, size):
    hum_S = 0.3 * np.sin(2 * np.pi * 300 * np.arange(rate) / rate)

    async def script(_, link, started):
        assert started.session.audio.format.rate == rate
        if form == "audio/pcm":
            data = pcm(hum_S)
        else:
            from duologue.audio.g711 import G711

            up_S = 0.3 * np.sin(2 * np.pi * 300 * np.arange(24_000) / 24_000)
            data = G711("ulaw" if form == "audio/pcmu" else "alaw").write(up_S)
        await link.session.input_audio.append(audio=base64.b64encode(data).decode())
        return [
            base64.b64decode((await until_event(link, "session.output_audio.delta")).delta) for _ in range(16)
        ]

    parts = run(server, script, START | {"audio": {"format": {"type": form, "rate": rate}}})
    assert sum(map(len, parts)) == pytest.approx(16 * size, rel=0.05)
    if form == "audio/pcm":
        got_S = np.frombuffer(b"".join(parts), "<i2").astype(float)
        spectrum = np.abs(np.fft.rfft(got_S * np.hanning(got_S.size)))
        assert np.argmax(spectrum) * rate / got_S.size == pytest.approx(300, abs=15)


def test_a_question_is_the_clients_work():
    backend = EchoBackend(1, heard=load("tiny").tokenizer.encode("what is the tallest mountain"))
    server = Server(Settings(sessions=1), backend)

    async def script(_, link, started):
        assert started.session.delegation.type == "client"
        await link.session.input_audio.append(audio=sound(4))
        created = await until_event(link, "session.delegation.created")
        assert (created.delegation.type, created.delegation.target) == ("delegation", "client")
        assert created.offset_ms > 0
        said = ""
        while "let me see" not in said:
            said += (await until_event(link, "session.output_transcript.delta")).delta
        await link.session.commentary.append(content=FACT, delegation_id=created.delegation.id)
        await until_event(link, "session.commentary.appended")
        while FACT not in said:
            said += (await until_event(link, "session.output_transcript.delta")).delta

    try:
        run(server, script, START | {"delegation": {"type": "client"}})
    finally:
        server.close()


def test_a_session_says_how_it_ended(server):
    async def script(_, link, started):
        await link.session.close()
        closed = await until_event(link, "session.closed")
        with pytest.raises(ConnectionClosed) as over:
            await link.recv()
        return closed, over.value.rcvd.code

    closed, code = run(server, script)
    assert (closed.reason, code) == ("close_requested", 1000) and closed.usage.seconds >= 0


def test_a_sideband_watches_and_commands(server):
    async def script(ours, link, started):
        async with ours.live.sideband.connect(session_id=started.session.id) as beside:
            assert (await until_event(beside, "session.started")).session.id == started.session.id
            await link.session.input_audio.append(audio=sound(6))
            reflected = await until_event(beside, "session.input_audio.append")
            assert base64.b64decode(reflected.audio) == base64.b64decode(sound(6))
            said = await until_event(beside, "session.output_audio.delta")
            assert said.end_ms - said.start_ms == 80
            await beside.session.commentary.append(content=FACT, delegation_id=None, event_id="c")
            assert (await until_event(link, "session.commentary.appended")).client_event_id == "c"
            assert (await until_event(beside, "session.commentary.appended")).client_event_id == "c"
            await beside.send_raw(json.dumps({"type": "session.input_audio.append", "audio": ""}))
            assert (await until_event(beside, "error")).error.code == "unknown_event"
            await link.session.close()
            assert (await until_event(beside, "session.closed")).reason == "close_requested"
        with pytest.raises(InvalidStatus) as refused:
            async with connect(f"ws://{server.address}/v1/live/sessions/{started.session.id}/attach"):
                pass
        assert refused.value.response.status_code == 404

    run(server, script)


def test_sidebands_are_limited(server):
    async def script(ours, link, started):
        url = f"ws://{server.address}/v1/live/sessions/{started.session.id}/attach"
        async with contextlib.AsyncExitStack() as stack:
            for _ in range(SIDEBANDS):
                await (await stack.enter_async_context(connect(url))).recv()
            with pytest.raises(InvalidStatus) as refused:
                await stack.enter_async_context(connect(url))
        assert refused.value.response.status_code == 429

    run(server, script)


def test_a_session_is_hung_up_by_its_id(server):
    async def script(ours, link, started):
        await ours.live.sessions.hangup(started.session.id)
        assert (await until_event(link, "session.closed")).reason == "close_requested"
        with pytest.raises(openai.NotFoundError):
            await ours.live.sessions.hangup("live_none")
        with pytest.raises(openai.InternalServerError) as refused:
            await ours.live.sessions.reject("live_none", status_code=486)
        assert "no telephone" in str(refused.value)

    run(server, script)


def test_a_full_server_says_so(server):
    async def script(ours, link, started):
        async with ours.live.connect() as second:
            await second.session.start(session=START)
            await until_event(second, "session.started")
            async with ours.live.connect() as third:
                await third.session.start(session=START)
                assert (await until_event(third, "error")).error.code == "full"

    run(server, script)


def test_a_session_over_webrtc(server):
    pytest.importorskip("aiortc", reason="the extra webrtc is not installed")
    from tests.serve.webrtc_client import Client, aiortc

    async def go():
        page = Client()
        channel = {"allowed_client_events": [], "allowed_server_events": [{"type": "session.started"}]}
        session = START | {"client": {"data_channel": channel}}
        try:
            async with client(server) as ours:
                offer = {"type": "webrtc", "sdp": await page.offer()}
                created = await ours.live.create(session=session, transport=offer)
                answer = aiortc.RTCSessionDescription(created.transport.sdp, "answer")
                await page.peer.setRemoteDescription(answer)
                assert (await page.until("session.started"))["session"]["id"] == created.session.id
                page.send("session.close")
                async with ours.live.sideband.connect(session_id=created.session.id) as beside:
                    said = await until_event(beside, "session.output_audio.delta")
                    while not any(base64.b64decode(said.delta)):
                        said = await until_event(beside, "session.output_audio.delta")
                    async with asyncio.timeout(PATIENCE):
                        while not page.sound or np.abs(np.concatenate(page.sound)).max() < 1000:
                            await asyncio.sleep(0.05)
                    await beside.session.close()
                    await until_event(beside, "session.closed")
        finally:
            await page.close()
        return {event["type"] for event in page.events}

    types = asyncio.run(go())
    assert types == {"session.started", "error"}  # what is not allowed is refused, and not told
