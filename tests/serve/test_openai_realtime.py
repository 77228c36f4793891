"""The OpenAI Realtime protocol, message by message."""

import asyncio
import base64
import json
from dataclasses import replace

import numpy as np
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from duologue.audio.g711 import G711
from duologue.serve.settings import Settings
from tests.engine.virtual import EchoBackend, noise
from tests.serve.realtime_client import SILENCE, Client, run, speech
from tests.serve.server import Server, pcm

pytestmark = pytest.mark.usefixtures("nobody_left")


def test_an_utterance_is_a_response_from_created_to_done(server):
    async def script(client):
        await client.send("input_audio_buffer.append", audio=speech(6))
        await client.until("response.done")

    client = run(server, script)
    types = [t for t in client.types if t.startswith(("response", "conversation"))]
    types = [t for i, t in enumerate(types) if i == 0 or t != types[i - 1]]
    start = types.index("response.created")
    assert types[start : start + 5] == [
        "response.created",
        "response.output_item.added",
        "conversation.item.added",
        "response.content_part.added",
        "response.output_audio.delta",
    ]
    assert types[-1] == "response.done"
    assert "response.output_audio.done" in types
    done = client.events[-1]["response"]
    assert done["usage"]["output_token_details"]["audio_tokens"] >= 6
    assert {"id", "object", "status", "status_details", "output"} <= set(done)
    sound = b"".join(
        base64.b64decode(e["delta"]) for e in client.events if e["type"] == "response.output_audio.delta"
    )
    assert len(sound) % 3840 == 0
    echoed_S, sent_S = np.frombuffer(sound, "<i2"), np.frombuffer(pcm(noise(6)), "<i2")
    assert np.abs(echoed_S[: 6 * 1920].astype(int) - sent_S).max() <= 1
    assert len({event["event_id"] for event in client.events}) == len(client.events)


def test_the_users_turn_is_told_and_committed(server):
    async def script(client):
        await client.send("input_audio_buffer.append", audio=speech(6))
        await client.send("input_audio_buffer.append", audio=SILENCE)
        await client.until("input_audio_buffer.committed")

    types = run(server, script).types
    assert "input_audio_buffer.speech_stopped" in types


def test_response_create_echoes_its_metadata_and_cancel_ends_it(server):
    async def script(client):
        await client.send("response.create", response={"metadata": {"client_event_id": "x"}})
        created = await client.until("response.created")
        assert created["response"]["metadata"] == {"client_event_id": "x"}
        await client.send("response.create")
        assert (await client.until("error"))["error"]["code"] == "conversation_already_has_active_response"
        await client.send("response.cancel")
        assert (await client.until("response.done"))["response"]["status"] == "cancelled"
        await client.send("response.cancel")
        assert (await client.until("error"))["error"]["code"] == "response_cancel_not_active"

    run(server, script)


def test_a_session_tells_what_it_does_and_not_what_was_asked_for(server):
    async def script(client):
        tools = [{"type": "function", "name": f"tool{i}", "description": "d" * 400} for i in range(200)]
        asked = {"instructions": "be brief", "tools": tools, "tool_choice": "auto", "temperature": 0.1}
        audio = {
            "input": {"noise_reduction": {"type": "near_field"}},
            "output": {"voice": "marin", "speed": 1.5},
        }
        await client.send("session.update", session=asked | {"audio": audio, "output_modalities": ["text"]})
        session = (await client.until("session.updated"))["session"]
        created = client.events[0]["session"]
        assert session == created
        assert (session["instructions"], session["tools"], session["output_modalities"]) == (
            "",
            [],
            ["audio"],
        )
        assert session["audio"]["output"]["voice"] == "default"

    run(server, script)


@pytest.mark.parametrize(
    ("law", "form", "encoding"),
    [("g711_ulaw", "audio/pcmu", "ulaw"), ("g711_alaw", "audio/pcma", "alaw"), ("pcm16", "audio/pcm", "")],
)
def test_the_keys_of_the_beta_are_obeyed(server, law, form, encoding):
    async def script(client):
        asked = {
            "input_audio_format": law,
            "output_audio_format": law,
            "turn_detection": None,
            "modalities": ["audio"],
        }
        asked |= {"input_audio_transcription": {"model": "whisper-1"}}
        await client.send("session.update", session=asked)
        session = (await client.until("session.updated"))["session"]
        sides = session["audio"]
        assert sides["input"]["format"]["type"] == sides["output"]["format"]["type"] == form
        assert sides["input"]["turn_detection"] is None
        assert sides["input"]["transcription"]["model"] == "whisper-1"
        assert not set(asked) & set(session)
        await client.send("session.update", session={"audio": {"output": {"format": {"type": "audio/pcm"}}}})
        sides = (await client.until("session.updated"))["session"]["audio"]
        assert sides["output"]["format"] == {"type": "audio/pcm", "rate": 24_000}  # with no key of another
        if encoding:
            writer = G711(encoding)
            sound = base64.b64encode(b"".join(writer.write(frame_S) for frame_S in noise(6))).decode()
            await client.send("response.create")
            await client.send("input_audio_buffer.append", audio=sound)
            await client.until("response.output_audio.delta")

    run(server, script)


@pytest.mark.parametrize(
    "session",
    [{"input_audio_format": "opus"}, {"audio": {"input": {"turn_detection": {"type": "magic"}}}},
     {"audio": {"input": {"turn_detection": {"create_response": "yes"}}}}, {"turn_detection": "server_vad"},
     {"audio": {"input": {"format": {"type": "audio/pcm", "rate": 16_000}}}}, {"audio": [1]}],
)  # fmt: skip
def test_a_setting_that_cannot_be_changes_nothing(server, session):
    async def script(client):
        await client.send("session.update", session=session)
        assert (await client.until("error"))["error"]["code"] == "invalid_value"
        await client.send("session.update", session={})
        assert (await client.until("session.updated"))["session"] == client.events[0]["session"]

    run(server, script)


@pytest.mark.parametrize("detection", [None, {"type": "server_vad", "create_response": False}])
def test_without_automatic_responses_the_agent_is_heard_when_asked_for(server, detection):
    async def script(client):
        await client.send("session.update", session={"audio": {"input": {"turn_detection": detection}}})
        await client.until("session.updated")
        await client.send("input_audio_buffer.append", audio=speech(6))
        await client.send("input_audio_buffer.append", audio=SILENCE)
        await asyncio.sleep(1.6)
        if detection is None:
            await client.send("input_audio_buffer.commit")
        await client.until("input_audio_buffer.committed")
        assert not any(t.startswith("response") for t in client.types)
        assert (detection is None) != any("speech" in t for t in client.types)
        await client.send("response.create")
        await client.send("input_audio_buffer.append", audio=speech(6))
        await client.send("input_audio_buffer.append", audio=SILENCE)
        assert (await client.until("response.done"))["response"]["output"]
        before = len(client.events)
        await client.send("input_audio_buffer.append", audio=speech(6))
        await asyncio.sleep(1.0)
        await client.send("input_audio_buffer.clear")
        await client.until("input_audio_buffer.cleared")
        assert not any(t.startswith("response") for t in client.types[before:])

    run(server, script)


class Yielding(EchoBackend):
    """Falls silent after 8 frames, whoever speaks on: the agent yields."""

    def step(self, wav_BS, exec_B, rewrite=None):
        frames = super().step(wav_BS, exec_B, rewrite)
        return replace(frames, wav_BS=frames.wav_BS * (self.since_B <= 8)[:, None])


@pytest.fixture(scope="module")
def yielding():
    server = Server(Settings(sessions=1, queue=0), Yielding(1))
    yield server
    server.close()


@pytest.mark.parametrize(
    ("interrupts", "ends"), [(True, ("cancelled", "turn_detected")), (False, ("completed", None))]
)
def test_the_users_voice_cancels_a_response_if_it_may(yielding, interrupts, ends):
    detection = {"type": "semantic_vad", "interrupt_response": interrupts}

    async def script(client):
        await client.send("session.update", session={"audio": {"input": {"turn_detection": detection}}})
        session = (await client.until("session.updated"))["session"]
        assert session["audio"]["input"]["turn_detection"]["interrupt_response"] is interrupts
        await client.send("input_audio_buffer.append", audio=speech(24))
        response = (await client.until("response.done"))["response"]
        assert response["output"]  # it was heard
        assert (response["status"], (response["status_details"] or {}).get("reason")) == ends
        assert "input_audio_buffer.speech_stopped" not in client.types  # the user speaks on

    run(yielding, script)


def test_settings_may_have_a_mebibyte_in_bytes_as_they_are_sent(server):
    """Not as they would be escaped: "é" is two bytes."""
    text = {"type": "object", "properties": {"question": {"type": "string"}}}

    def update(size: int) -> str:
        tool = {"type": "function", "name": "ask", "description": "", "parameters": text}
        empty = json.dumps({"type": "session.update", "session": {"tools": [tool]}}, ensure_ascii=False)
        letters = "é" * ((size - len(empty)) // 2) + "e" * ((size - len(empty)) % 2)
        message = empty.replace('"description": ""', f'"description": "{letters}"')
        assert len(message.encode()) == size
        return message

    async def script(client):
        await client.link.send(update(1 << 20))
        session = (await client.until("session.updated"))["session"]
        assert session["tools"][0]["description"].count("é") > 500_000
        await client.link.send(update((1 << 20) + 1))
        with pytest.raises(ConnectionClosed):
            await client.until("session.updated")
        assert client.link.close_code == 1009  # message too big

    run(server, script)


def test_an_empty_commit_is_an_error(server):
    async def script(client):
        await client.send("input_audio_buffer.commit", event_id="e1")
        error = (await client.until("error"))["error"]
        assert (error["code"], error["event_id"]) == ("input_audio_buffer_commit_empty", "e1")
        await client.send("input_audio_buffer.append", audio=speech(2))
        await client.send("input_audio_buffer.commit")
        await client.until("input_audio_buffer.committed")
        await client.send("input_audio_buffer.append", audio=speech(2))
        await client.send("input_audio_buffer.clear")
        await client.send("input_audio_buffer.commit")
        await client.until("error")

    run(server, script)


def test_a_text_is_answered_with_a_reason_and_not_with_silence(server):
    async def script(client):
        item = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "hello"}]}
        await client.send("conversation.item.create", item=item)
        await client.send("response.create", response={"metadata": {"a": "b"}})
        response = (await client.until("response.done"))["response"]
        assert response["status"] == "incomplete"
        assert response["status_details"]["reason"] == "text_not_supported"
        assert response["metadata"] == {"a": "b"}
        assert "error" not in client.types  # on which some clients end

    run(server, script)


def test_sound_that_comes_at_once_is_heard_in_full(server):
    """Six seconds of a voice without a pause, as fast as the line takes them."""
    sent_S = np.frombuffer(pcm(noise(75)), "<i2")

    async def script(client):
        for at in range(0, 75, 15):
            piece = base64.b64encode(sent_S[at * 1920 : (at + 15) * 1920].tobytes()).decode()
            await client.send("input_audio_buffer.append", audio=piece)
        await client.until("response.done")

    client = run(server, script)
    sound = b"".join(
        base64.b64decode(e["delta"]) for e in client.events if e["type"] == "response.output_audio.delta"
    )
    heard_S = np.frombuffer(sound, "<i2")[: sent_S.size]
    assert heard_S.size == sent_S.size
    assert np.abs(heard_S.astype(int) - sent_S).max() <= 1


def test_what_cannot_be_honoured_is_acknowledged(server):
    async def script(client):
        await client.send(
            "session.update",
            session={"instructions": "be brief", "audio": {"input": {"turn_detection": None}}},
        )
        session = (await client.until("session.updated"))["session"]
        assert session["instructions"] == ""
        assert session["audio"]["input"]["turn_detection"] is None
        assert session["audio"]["input"]["format"] == {"type": "audio/pcm", "rate": 24_000}
        item = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "hello"}]}
        await client.send("conversation.item.create", item=item)
        added = await client.until("conversation.item.done")
        await client.send("conversation.item.retrieve", item_id=added["item"]["id"])
        assert (await client.until("conversation.item.retrieved"))["item"]["content"] == item["content"]
        await client.send("conversation.item.delete", item_id=added["item"]["id"])
        await client.until("conversation.item.deleted")
        await client.send("conversation.item.truncate", item_id="a", content_index=0, audio_end_ms=5)
        await client.until("conversation.item.truncated")
        await client.send("input_audio_buffer.clear")
        await client.until("input_audio_buffer.cleared")

    assert "error" not in run(server, script).types


@pytest.mark.parametrize(
    ("message", "code"),
    [
        ("no json", "invalid_json"),
        ("[1]", "invalid_json"),
        ('{"type": 3}', "unknown_event"),
        ("[" * 100_000, "invalid_json"),
        ('{"type": "session.destroy"}', "unknown_event"),
        ('{"type": "input_audio_buffer.append", "audio": "!!"}', "invalid_value"),
        ('{"type": "input_audio_buffer.append"}', "invalid_value"),
        ('{"type": "session.update", "session": {"audio": {"output": {"format": "x"}}}}', "invalid_value"),
        ('{"type": "conversation.item.create", "item": 3}', "invalid_value"),
    ],
)
def test_a_mistake_is_told_and_the_conversation_goes_on(server, message, code):
    async def script(client):
        await client.link.send(message)
        assert (await client.until("error"))["error"]["code"] == code
        await client.send("input_audio_buffer.clear")
        await client.until("input_audio_buffer.cleared")

    run(server, script)


@pytest.mark.parametrize(("form", "law"), [("audio/pcmu", "ulaw"), ("audio/pcma", "alaw")])
def test_a_telephones_formats_are_spoken(server, form, law):
    sides = {side: {"format": {"type": form}} for side in ("input", "output")}
    hum_S = 0.3 * np.sin(2 * np.pi * 300 * np.arange(12 * 1920) / 24_000)

    async def script(client):
        await client.send("session.update", session={"type": "realtime", "audio": sides})
        assert (await client.until("session.updated"))["session"]["audio"]["output"]["format"]["type"] == form
        sound = G711(law).write(hum_S)
        await client.send("input_audio_buffer.append", audio=base64.b64encode(sound).decode())
        await client.until("response.done")

    client = run(server, script)
    deltas = [e["delta"] for e in client.events if e["type"] == "response.output_audio.delta"]
    assert {len(base64.b64decode(delta)) for delta in deltas} == {640}
    got_S = G711(law).read(b"".join(base64.b64decode(delta) for delta in deltas))[: hum_S.size]
    spectrum = np.abs(np.fft.rfft(got_S * np.hanning(got_S.size)))
    assert np.argmax(spectrum) * 24_000 / got_S.size == pytest.approx(300, abs=15)


def test_small_pieces_of_a_voice_are_a_turn(server):
    """Clients send 20 ms at a time, and a voice is not loud in each of them."""
    voice = pcm(noise(8)).hex()
    gappy = bytearray.fromhex(voice)
    for start in range(0, len(gappy), 3840):
        gappy[start : start + 960] = bytes(960)

    async def script(client):
        for start in range(0, len(gappy), 960):
            piece = base64.b64encode(bytes(gappy[start : start + 960])).decode()
            await client.send("input_audio_buffer.append", audio=piece)
        await client.send("input_audio_buffer.append", audio=SILENCE)
        await client.until("input_audio_buffer.committed")

    run(server, script)


def test_a_full_server_says_so(server):
    async def script(_):
        async with connect(f"ws://{server.address}/v1/realtime", compression=None) as link:
            client = Client(link)
            assert "try again" in (await client.until("error"))["error"]["message"]

    run(server, script)
