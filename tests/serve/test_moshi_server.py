"""moshi-server's protocol, by clients of our own that do what unmute's and the published scripts do."""

import asyncio
import contextlib
import io
import json
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any, cast

import msgpack
import numpy as np
import pytest
import soundfile
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from duologue.audio.opus import OpusReader, OpusWriter
from duologue.engine.recognise import Recogniser
from duologue.errors import InputError
from duologue.serve.moshi_tts import MOST_TEXT
from duologue.serve.settings import MESSAGE, MESSAGES_BURST, Settings
from tests.engine.speech_models import SPEECH
from tests.serve.server import PATIENCE, Server, until
from tests.serve.speech_server import FRAME_SIZE, RATE, speech_server


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    server = speech_server()
    yield server
    server.close()


def dial(server: Server, path: str, **options: Any) -> connect:
    return connect(f"ws://{server.address}{path}", max_size=None, compression=None, **options)


def sound(seconds: float, seed: int = 0) -> np.ndarray:
    return (0.2 * np.random.default_rng(seed).standard_normal(int(seconds * RATE))).astype(np.float32)


async def say(link: ClientConnection, kind: str, **values: Any) -> None:
    message: Any = msgpack.packb({"type": kind, **values}, use_single_float=True)
    await link.send(message)


async def read(link: ClientConnection, until_kind: str | None = None) -> list[dict[str, Any]]:
    """Messages up to one of a kind, or to the end."""
    messages: list[dict[str, Any]] = []
    try:
        async with asyncio.timeout(PATIENCE):
            while not messages or messages[-1]["type"] != until_kind:
                messages.append(msgpack.unpackb(await link.recv()))
    except ConnectionClosed:
        pass
    return messages


def post(server: Server, path: str, body: bytes, **headers: str) -> tuple[int, bytes]:
    request = urllib.request.Request(f"http://{server.address}{path}", body, dict(headers))
    try:
        with urllib.request.urlopen(request, timeout=PATIENCE) as response:
            return response.status, response.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


def get(server: Server, path: str) -> Any:
    with urllib.request.urlopen(f"http://{server.address}{path}", timeout=PATIENCE) as response:
        return json.load(response)


def wav_file(wav_S: np.ndarray, rate: int = RATE) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, wav_S, rate, format="WAV")
    return file.getvalue()


async def transcribe(
    link: ClientConnection, wav_S: np.ndarray, chunk: int = FRAME_SIZE
) -> list[dict[str, Any]]:
    """As the published script: the sound, a marker, silence until it comes back."""
    for at in range(0, len(wav_S), chunk):
        await say(link, "Audio", pcm=wav_S[at : at + chunk].tolist())
    await say(link, "Marker", id=7)
    for _ in range(25):
        await say(link, "Audio", pcm=[0.0] * FRAME_SIZE)
    return await read(link, "Marker")


class TestRecognition:
    def test_a_recording_with_a_marker(self, server: Server) -> None:
        async def run() -> list[dict[str, Any]]:
            async with dial(server, "/api/asr-streaming") as link:
                return await transcribe(link, sound(1.6))

        first, *messages = asyncio.run(run())
        assert first == {"type": "Ready"}
        steps = [m for m in messages if m["type"] == "Step"]
        assert [m["step_idx"] for m in steps] == list(range(1, len(steps) + 1))
        assert all(len(m["prs"]) == 4 and 0 <= min(m["prs"]) <= max(m["prs"]) <= 1 for m in steps)
        assert all(isinstance(m["buffered_pcm"], int) for m in steps)
        assert messages[-1] == {"type": "Marker", "id": 7}
        # 20 frames, the doubled first one, and a delay of 6
        assert len(steps) >= 27
        words = [m for m in messages if m["type"] == "Word"]
        assert words
        assert all(m["text"] and m["start_time"] >= 0 for m in words)

    def test_the_same_words_in_pieces_of_any_size_and_after_a_restart(self, server: Server) -> None:
        async def run() -> list[list[dict[str, Any]]]:
            async with dial(server, "/api/asr-streaming") as link:
                runs = [await transcribe(link, sound(1.6))]
                for chunk in (777, 5000):
                    await say(link, "Init")
                    await read(link, "Ready")
                    runs.append(await transcribe(link, sound(1.6), chunk))
            return runs

        words = [[m for m in run if m["type"] in ("Word", "EndWord")] for run in asyncio.run(run())]
        assert words[0]
        assert words[0] == words[1] == words[2]

    def test_opus(self, server: Server) -> None:
        async def run() -> list[dict[str, Any]]:
            writer = OpusWriter()
            async with dial(server, "/api/asr-streaming") as link:
                await read(link, "Ready")
                for frame_S in sound(1.2).reshape(-1, FRAME_SIZE):
                    await say(link, "OggOpus", data=writer.push(frame_S))
                await say(link, "Marker", id=1)
                for _ in range(20):
                    await say(link, "Audio", pcm=[0.0] * FRAME_SIZE)
                return await read(link, "Marker")

        assert any(m["type"] == "Step" for m in asyncio.run(run()))

    def test_a_full_server_says_so(self, server: Server) -> None:
        async def run() -> list[dict[str, Any]]:
            async with dial(server, "/api/asr-streaming") as a, dial(server, "/api/asr-streaming") as b:
                await read(a, "Ready")
                await read(b, "Ready")
                async with dial(server, "/api/asr-streaming") as c:
                    refused = await read(c)
            return refused

        until(lambda: get(server, "/api/modules_info")[0]["used_slots"] == "0")
        assert asyncio.run(run()) == [{"type": "Error", "message": "no free channels"}]
        until(lambda: get(server, "/api/modules_info")[0]["used_slots"] == "0")

    @pytest.mark.parametrize(
        "message", [b"\xc1", b"[]", msgpack.packb({"type": "Audio"}), msgpack.packb({"type": "Audio", "pcm": "x"}),
                    msgpack.packb({"type": "Other"}), msgpack.packb({"type": "OggOpus", "data": b"no opus" * 200})],
    )  # fmt: skip
    def test_what_is_no_message_ends_the_connection(self, server: Server, message: bytes) -> None:
        async def run() -> list[dict[str, Any]]:
            async with dial(server, "/api/asr-streaming") as link:
                await read(link, "Ready")
                await link.send("text is ignored")
                await link.send(message)
                return await read(link)

        assert asyncio.run(run())[-1]["type"] == "Error"
        until(lambda: get(server, "/api/modules_info")[0]["used_slots"] == "0")

    def test_a_recording_in_one_request(self, server: Server) -> None:
        wav_S = sound(1.6)
        status, body = post(server, "/api/asr-streaming", wav_file(wav_S))
        messages = json.loads(body)
        assert status == 200
        kinds = [m["type"] for m in messages]
        assert kinds[:2] == ["Word", "EndWord"]
        assert post(server, "/api/asr-streaming", b"no sound")[0] == 400
        assert post(server, "/api/asr-streaming", b"")[0] == 400

    @pytest.mark.parametrize(
        ("ids", "why"), [(["x" * 1000], "is a number"), ([1, 2, 3], "more than 2 markers")]
    )
    def test_what_waits_for_sound_is_bounded(self, server: Server, monkeypatch, ids: list, why: str) -> None:
        monkeypatch.setattr("duologue.serve.moshi_asr.MOST_MARKERS", 2)

        async def run() -> list[dict[str, Any]]:
            async with dial(server, "/api/asr-streaming") as link:
                for id in ids:
                    await say(link, "Marker", id=id)
                return await read(link)

        assert why in asyncio.run(run())[-1]["message"]


class TestSynthesis:
    async def speak(self, server: Server, form: str, texts: list[str], end: Any = b"\0") -> list[Any]:
        voice = "&voice=nobody&cfg_alpha=1.5"  # an unknown voice, and a key that is not known
        async with dial(server, f"/api/tts_streaming?format={form}{voice}") as link:
            for text in texts:
                await link.send(text)
            await link.send(end)
            messages = []
            with pytest.raises(ConnectionClosed):
                async with asyncio.timeout(PATIENCE):
                    while True:
                        messages.append(await link.recv())
        return messages

    def test_messages(self, server: Server) -> None:
        raw = asyncio.run(self.speak(server, "PcmMessagePack", ["It will", "be fine."]))
        messages = [msgpack.unpackb(m) for m in raw]
        assert messages[0] == {"type": "Ready"}
        texts = [m for m in messages if m["type"] == "Text"]
        assert [m["text"] for m in texts] == ["It", "will", "be", "fine."]
        assert all(m["start_s"] < m["stop_s"] for m in texts)
        audio = [m for m in messages if m["type"] == "Audio"]
        assert len(audio) + len(texts) + 1 == len(messages)
        assert {len(m["pcm"]) for m in audio} == {FRAME_SIZE}
        packed_end = msgpack.packb({"type": "Eos"})
        again = asyncio.run(
            self.speak(server, "PcmMessagePack", [msgpack.packb({"type": "Text", "text": "It will be fine."})],  # pyright: ignore[reportArgumentType]
                       packed_end)
        )  # fmt: skip
        assert [m["text"] for m in map(msgpack.unpackb, again) if m["type"] == "Text"] == [
            m["text"] for m in texts
        ]

    def test_plain_samples_and_opus(self, server: Server) -> None:
        raw = asyncio.run(self.speak(server, "Pcm", ["Hello there."]))
        assert {len(m) for m in raw} == {4 * FRAME_SIZE}
        pages = asyncio.run(self.speak(server, "OggOpus", ["Hello there."]))
        assert pages[0].startswith(b"OggS")
        reader = OpusReader()
        assert sum(reader.push(page).size for page in pages) > RATE / 4
        packed = [msgpack.unpackb(m) for m in asyncio.run(self.speak(server, "OggOpusMessagePack", ["Hi."]))]
        assert packed[0] == {"type": "Ready"}
        assert packed[1]["type"] == "OggOpus"
        assert packed[1]["data"].startswith(b"OggS")

    def test_a_voice_that_is_sent(self, server: Server) -> None:
        from safetensors.numpy import load_file

        voice = load_file(SPEECH / "voice1.safetensors")["speaker_wavs"].astype(np.float32)

        async def run(shape: list[int]) -> list[dict[str, Any]]:
            async with dial(server, "/api/tts_streaming?format=PcmMessagePack") as link:
                await say(link, "Voice", embeddings=voice.ravel().tolist(), shape=shape)
                await link.send("It will be fine.")
                await say(link, "Eos")
                return await read(link)

        assert [m["type"] for m in asyncio.run(run(list(voice.shape)))].count("Text") == 4
        assert asyncio.run(run([3, 3]))[-1]["type"] == "Error"

    def test_nothing_to_say_closes(self, server: Server) -> None:
        assert [msgpack.unpackb(m) for m in asyncio.run(self.speak(server, "PcmMessagePack", []))] == [
            {"type": "Ready"}
        ]
        until(lambda: get(server, "/api/modules_info")[1]["used_slots"] == "0")

    def test_in_one_request_it_is_a_wav(self, server: Server) -> None:
        status, body = post(server, "/api/tts_streaming", json.dumps({"text": "Hello there."}).encode())
        assert status == 200
        assert body[:4] == b"RIFF"
        assert body[4:8] == b"\xff" * 4
        samples = np.frombuffer(body[44:], "<i2")
        assert samples.size % FRAME_SIZE == 0
        assert samples.size > 0
        for wrong in (b"{}", b"[]", b'{"text": " "}', b"no json", b'{"text": "a", "voice": 3}'):
            assert post(server, "/api/tts_streaming", wrong)[0] == 400


def test_what_is_served(server: Server) -> None:
    ears, mouth = get(server, "/api/modules_info")
    assert (ears["type"], ears["path"], ears["total_slots"]) == ("batched_asr", "/api/asr-streaming", "2")
    assert (mouth["type"], mouth["path"], mouth["lm"]) == ("py", "/api/tts_streaming", "lm_cond")
    assert all(isinstance(value, str) for value in get(server, "/api/build_info").values())
    assert post(server, "/api/voice", b"sound")[0] == 501
    assert [m["id"] for m in get(server, "/v1/models")["data"]] == ["echo", "lm_heads", "lm_cond"]


def test_keys() -> None:
    server = speech_server(Settings(keys=("public_token",)), mouth=False)

    async def knock(path: str, **options: Any) -> str:
        async with dial(server, path, **options) as link:
            return (await read(link, "Ready"))[0]["type"]

    try:
        shown = {"additional_headers": {"kyutai-api-key": "public_token"}}
        assert asyncio.run(knock("/api/asr-streaming", **shown)) == "Ready"
        assert asyncio.run(knock("/api/asr-streaming?auth_id=public_token")) == "Ready"
        for path in ("/api/asr-streaming", "/api/asr-streaming?auth_id=wrong"):
            with pytest.raises(InvalidStatus) as refused:
                asyncio.run(knock(path))
            assert refused.value.response.status_code == 401
        with pytest.raises(InvalidStatus) as missing:
            asyncio.run(knock("/api/tts_streaming?auth_id=public_token"))
        assert missing.value.response.status_code == 501
        assert post(server, "/api/asr-streaming", b"x")[0] == 401
    finally:
        server.close()


def test_a_model_that_cannot_is_refused_before_the_server_starts() -> None:
    from duologue.engine.options import DEFAULT
    from duologue.serve.run import _speech

    with pytest.raises(InputError, match="tiny does not transcribe speech"):
        _speech("tiny", None, None, "cpu", 1, DEFAULT)
    speech = _speech("nano", "nano", None, "cpu", 1, DEFAULT)
    assert speech.names == ["nano", "nano"]


@pytest.mark.parametrize(
    ("path", "message"),
    [("/api/asr-streaming", "a text"), ("/api/asr-streaming", msgpack.packb({"type": "Marker", "id": 1})),
     ("/api/asr-streaming", msgpack.packb({"type": "Audio", "pcm": []})),
     ("/api/tts_streaming?format=PcmMessagePack", b"")],
    ids=["text", "markers", "no samples", "empty"],
)  # fmt: skip
def test_messages_that_are_no_sound_are_counted(server: Server, path: str, message: Any) -> None:
    async def talk() -> bytes:
        heard = b""
        async with dial(server, path) as link:
            with contextlib.suppress(ConnectionClosed):
                for _ in range(int(1.2 * MESSAGES_BURST)):
                    await link.send(message)
                while True:
                    heard += cast(bytes, await link.recv())
        return heard

    assert b"Too many" in asyncio.run(asyncio.wait_for(talk(), 60))


def test_a_client_that_is_ahead_of_a_slow_model_is_not_taken_for_gone(monkeypatch) -> None:
    """What it sent waits, and among it its answers to pings: the published script sends 40 s of silence at once."""
    monkeypatch.setattr("duologue.serve.speech.AHEAD_SECONDS", 0.1)
    quick = Recogniser.tick

    def slow(self: Recogniser) -> Any:
        time.sleep(0.1)
        return quick(self)

    monkeypatch.setattr(Recogniser, "tick", slow)
    server = speech_server(mouth=False, ping=0.5)

    async def run() -> list[dict[str, Any]]:
        async with dial(server, "/api/asr-streaming") as link:
            for _ in range(2):
                await say(link, "Audio", pcm=[0.0] * (20 * FRAME_SIZE))
            await say(link, "Marker", id=3)
            await say(link, "Audio", pcm=[0.0] * (10 * FRAME_SIZE))
            return await read(link, "Marker")

    try:
        assert asyncio.run(run())[-1] == {"type": "Marker", "id": 3}
    finally:
        server.close()


def test_a_text_is_bounded(server: Server) -> None:
    long = "a " * MOST_TEXT

    async def run() -> list[dict[str, Any]]:
        async with dial(server, "/api/tts_streaming?format=PcmMessagePack") as link:
            await link.send(long)
            return await read(link)

    assert "too much text" in asyncio.run(run())[-1]["message"]
    assert post(server, "/api/tts_streaming", json.dumps({"text": long}).encode())[0] == 413


def test_a_body_that_is_too_long_is_not_read(server: Server) -> None:
    body = json.dumps({"text": "x", "input": "x"}).encode().ljust(MESSAGE + 1)
    assert post(server, "/api/tts_streaming", body)[0] == 413
    assert post(server, "/v1/audio/speech", body)[0] == 413
