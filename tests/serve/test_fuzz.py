"""Messages that were good until something happened to them, in every protocol."""

import asyncio
import base64
import contextlib
import gc
import json

import msgpack
import numpy as np
import psutil
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from duologue.audio.g711 import G711
from duologue.audio.opus import OpusWriter
from duologue.serve.settings import Settings
from tests.engine.virtual import noise
from tests.serve.server import Server, pcm, until
from tests.serve.speech_server import speech_server

MANY = pytest.mark.parametrize("count", [600, pytest.param(100_000, marks=pytest.mark.slow)])
AT_ONCE = 4


@pytest.fixture(scope="module")
def server():
    server = Server(Settings(sessions=AT_ONCE, queue=AT_ONCE))
    yield server
    server.close()


@pytest.fixture(scope="module")
def speaking():
    server = speech_server(slots=AT_ONCE)
    yield server
    server.close()


def kyutai() -> list[bytes]:
    writer = OpusWriter()
    sound = [b"\x01" + writer.push(frame_S) for frame_S in noise(6)]
    return [
        *sound,
        b"\x03\x02",
        b"\x03\x00",
        b"\x03\x03",
        b"\x06ping",
        b"\x02text",
        b'\x04{"type": "x"}',
        b"\x00",
    ]


def openai() -> list[bytes]:
    speech = base64.b64encode(pcm(noise(1))).decode()
    item = {"id": "a", "type": "message", "role": "user", "content": [{"type": "input_text", "text": "hi"}]}
    audio = {
        "input": {"format": {"type": "audio/pcm", "rate": 24_000}, "turn_detection": {"type": "server_vad"}}
    }
    events = [
        {"type": "session.update", "session": {"type": "realtime", "instructions": "x", "audio": audio}},
        {"type": "session.update", "session": {"audio": {"output": {"format": {"type": "audio/pcmu"}}}}},
        {"type": "input_audio_buffer.append", "audio": speech},
        {"type": "input_audio_buffer.commit"},
        {"type": "input_audio_buffer.clear"},
        {"type": "response.create", "response": {"metadata": {"a": "b"}}},
        {"type": "response.cancel"},
        {"type": "conversation.item.create", "item": item, "previous_item_id": None},
        {"type": "conversation.item.retrieve", "item_id": "a"},
        {"type": "conversation.item.truncate", "item_id": "a", "content_index": 0, "audio_end_ms": 1},
        {"type": "conversation.item.delete", "item_id": "a"},
    ]
    return [json.dumps(event).encode() for event in events]


def twilio() -> list[bytes]:
    sound = base64.b64encode(G711("ulaw").write(noise(1).ravel()[:480])).decode()
    form = {"encoding": "audio/x-mulaw", "sampleRate": 8000, "channels": 1}
    events = [
        {"event": "connected", "protocol": "Call", "version": "1.0.0"},
        {"event": "start", "streamSid": "M", "start": {"streamSid": "M", "mediaFormat": form}},
        *[{"event": "media", "streamSid": "M", "media": {"track": "inbound", "payload": sound}}] * 4,
        {"event": "dtmf", "streamSid": "M", "dtmf": {"digit": "1"}},
        {"event": "mark", "streamSid": "M", "mark": {"name": "x"}},
        {"event": "stop", "streamSid": "M", "stop": {}},
    ]
    return [json.dumps(event).encode() for event in events]


def live() -> list[bytes]:
    speech = base64.b64encode(pcm(noise(1))).decode()
    form = {"type": "audio/pcm", "rate": 24_000}
    session = {
        "model": "any",
        "audio": {"format": form},
        "delegation": {"type": "client"},
        "instructions": "x",
    }
    events = [
        {"type": "session.start", "session": session, "event_id": "a"},
        *[{"type": "session.input_audio.append", "audio": speech}] * 3,
        {
            "type": "session.update",
            "session": {"delegation": {"type": "client", "acknowledgement_delay_ms": 80}},
        },
        {"type": "session.input_audio.mute"},
        {"type": "session.input_audio.unmute"},
        {"type": "session.commentary.append", "content": "hello", "delegation_id": None},
        {"type": "session.thinking.append", "content": "hello"},
        {"type": "session.close"},
    ]
    return [json.dumps(event).encode() for event in events]


def recognition() -> list[bytes]:
    """To moshi-server's protocol."""
    messages = [
        {"type": "Audio", "pcm": noise(1)[0].tolist()},
        {"type": "Audio", "pcm": noise(2).ravel()[:700].tolist()},
        {"type": "OggOpus", "data": OpusWriter().push(noise(4).ravel())},
        {"type": "Marker", "id": 7},
        {"type": "Init"},
    ]
    return [msgpack.packb(message, use_single_float=True) for message in messages]


def synthesis() -> list[bytes]:
    """To moshi-server's protocol."""
    voice = {"type": "Voice", "embeddings": [0.1] * 8, "shape": [1, 2, 4]}
    messages = [{"type": "Text", "text": "go on"}, voice, {"type": "Text", "text": "2.5 km"}, {"type": "Eos"}]
    return [msgpack.packb(message) for message in messages]


def transcription() -> list[bytes]:
    speech = base64.b64encode(pcm(noise(1))).decode()
    audio = {"input": {"format": {"type": "audio/pcm", "rate": 24_000}, "transcription": {"model": "any"}}}
    events = [
        {"type": "session.update", "session": {"type": "transcription", "audio": audio}},
        *[{"type": "input_audio_buffer.append", "audio": speech}] * 3,
        {"type": "input_audio_buffer.commit"},
        {"type": "input_audio_buffer.clear"},
    ]
    return [json.dumps(event).encode() for event in events]


TALKING = [
    ("/api/chat?events=1", kyutai, False),
    ("/v1/realtime", openai, True),
    ("/v1/twilio", twilio, True),
    ("/v1/live/sessions", live, True),
]
SPEECH = [
    ("/api/asr-streaming", recognition, False),
    ("/api/tts_streaming?format=PcmMessagePack", synthesis, False),
    ("/v1/realtime?intent=transcription", transcription, True),
]


def mutated(message: bytes, rng: np.random.Generator) -> bytes:
    """Bytes changed, dropped, doubled or put in; a value of JSON replaced by another kind of value."""
    data = bytearray(message)
    for _ in range(int(rng.integers(0, 4))):
        at = int(rng.integers(len(data) + 1))
        kind = rng.integers(5)
        if kind == 0 and data:
            data[at % len(data)] = int(rng.integers(256))
        elif kind == 1:
            del data[at : at + int(rng.integers(1, 20))]
        elif kind == 2:
            data[at:at] = data[at : at + int(rng.integers(1, 50))]
        elif kind == 3:
            data[at:at] = rng.bytes(int(rng.integers(1, 20)))
        else:
            old, new = (
                rng.choice([b'"', b"{", b"1", b":", b"a"]),
                rng.choice([b"null", b"[]", b"1e999", b"{}", b"-0", b'"']),
            )
            data = data.replace(bytes(old), bytes(new), 1)
    return bytes(data)


def leave_nothing(server: Server, path: str, messages, as_text: bool, count: int) -> None:
    """Send mutated messages over many connections: afterwards the server is as it was."""
    good = messages()

    async def visit(rng: np.random.Generator, count: int) -> None:
        sent = 0
        while sent < count:
            with contextlib.suppress(ConnectionClosed):
                async with connect(f"ws://{server.address}{path}", compression=None, max_queue=None) as link:
                    for at in range(50):
                        sent += 1
                        data = (
                            good[at % len(good)]
                            if at < 2
                            else mutated(good[int(rng.integers(len(good)))], rng)
                        )
                        await link.send(data.decode(errors="replace") if as_text else data)
                        await asyncio.sleep(0)

    async def crowd(count: int) -> None:
        await asyncio.gather(*[visit(np.random.default_rng(i), count // AT_ONCE) for i in range(AT_ONCE)])

    def size() -> int:
        until(lambda: server.service.engine.used == 0 and not server.uvicorn.server_state.connections)
        gc.collect()
        return psutil.Process().memory_info().rss

    asyncio.run(crowd(200))
    before = size()
    asyncio.run(crowd(count))
    assert size() - before < 20e6
    assert server.service.engine.ready
    assert server.service.engine.restarts == 0
    assert not server.service.pool._calls


@MANY
@pytest.mark.parametrize(("path", "messages", "as_text"), TALKING)
def test_mutated_messages_leave_nothing(server, path, messages, as_text, count):
    leave_nothing(server, path, messages, as_text, count)


@MANY
@pytest.mark.parametrize(("path", "messages", "as_text"), SPEECH)
def test_mutated_messages_to_recognition_and_synthesis_leave_nothing(
    speaking, path, messages, as_text, count
):
    leave_nothing(speaking, path, messages, as_text, count)
    speech = speaking.service.speech
    workers = [speech.ears.worker, speech.mouth.worker]
    until(lambda: not any(worker.used for worker in workers))
    assert all(worker.ready and worker._failures == 0 for worker in workers)
