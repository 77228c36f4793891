"""OpenAI's audio routes and transcription sessions, by the openai package, unmodified."""

import asyncio
import base64
import io
import json
import socket
import tempfile
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import openai
import pytest
import soundfile
from websockets.asyncio.client import connect

from duologue.audio.files import read_mono
from duologue.audio.opus import OpusReader
from duologue.engine.recognise import Hearing
from duologue.serve import openai_audio, speech
from tests.serve.server import PATIENCE, Server, pcm, until
from tests.serve.speech_server import FRAME_SIZE, RATE, speech_server
from tests.serve.test_moshi_server import post, sound, wav_file


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    server = speech_server()
    yield server
    server.close()


@pytest.fixture
def client(server: Server) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(
        base_url=f"http://{server.address}/v1", api_key="none", max_retries=0, timeout=PATIENCE
    ) as client:
        yield client


QUESTION = ("question.wav", wav_file(sound(1.6)))


class TestTranscriptions:
    def test_each_format(self, client: openai.OpenAI) -> None:
        create = client.audio.transcriptions.create
        plain = create(file=QUESTION, model="lm_heads")
        assert plain.text
        assert create(file=QUESTION, model="x", response_format="text").strip() == plain.text
        assert " --> " in create(file=QUESTION, model="x", response_format="srt")
        assert create(file=QUESTION, model="x", response_format="vtt").startswith("WEBVTT")
        full = create(
            file=QUESTION,
            model="x",
            response_format="verbose_json",
            language="fr",
            timestamp_granularities=["word", "segment"],
        )
        assert full.text == plain.text
        assert full.duration == pytest.approx(1.6)
        assert full.language == "fr"
        assert full.words
        assert full.segments
        assert " ".join(word.word for word in full.words).split() == plain.text.split()
        assert all(word.start <= word.end for word in full.words)

    def test_streamed(self, client: openai.OpenAI) -> None:
        events = list(client.audio.transcriptions.create(file=QUESTION, model="x", stream=True))
        done = events[-1]
        assert done.type == "transcript.text.done"
        deltas = [event.delta for event in events if event.type == "transcript.text.delta"]
        assert len(deltas) > 1
        assert "".join(deltas).strip() == done.text

    def test_of_a_long_recording_little_is_in_memory(
        self, client: openai.OpenAI, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
        monkeypatch.setattr(speech, "AHEAD_SECONDS", 1.0)
        waiting: list[int] = []

        def push(hearing: Hearing, wav_S: np.ndarray, push: Callable[..., None] = Hearing.push) -> None:
            waiting.append(hearing.waiting)
            push(hearing, wav_S)

        monkeypatch.setattr(Hearing, "push", push)
        answer = client.audio.transcriptions.create(
            file=("long.wav", wav_file(sound(16))), model="x", response_format="verbose_json"
        )
        assert answer.duration == pytest.approx(16)
        assert len(waiting) > 5
        assert max(waiting) < 5 * RATE  # a block of up to 2.7 s comes once less than a second waits
        until(lambda: not list(tmp_path.iterdir()))

    @pytest.mark.parametrize("stream", [False, True])
    def test_one_who_goes_leaves_nothing(
        self, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stream: bool
    ) -> None:
        monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
        monkeypatch.setattr(speech, "AHEAD_SECONDS", 1.0)
        ears = server.service.speech.ears
        assert ears is not None
        parts = {'file"; filename="long.wav': wav_file(sound(120)), "stream": f"{stream}".encode()}
        body = b"".join(
            f'--x\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n'.encode() + value + b"\r\n"
            for name, value in parts.items()
        )
        body += b"--x--\r\n"
        head = f"POST /v1/audio/transcriptions HTTP/1.1\r\nHost: {server.address}\r\n"
        head += f"Content-Length: {len(body)}\r\nContent-Type: multipart/form-data; boundary=x\r\n\r\n"
        host, port = server.address.split(":")
        with socket.create_connection((host, int(port))) as link:
            link.sendall(head.encode() + body)
            until(lambda: ears.worker.used == 1)
        assert list(tmp_path.iterdir())
        until(lambda: not ears.worker.used and not list(tmp_path.iterdir()))

    def test_what_cannot_be_heard_is_refused(self, client: openai.OpenAI, server: Server) -> None:
        for file, more in (
            (("a.wav", b"no sound"), {}),
            (("a.wav", b""), {}),
            (QUESTION, {"response_format": "diarized_json"}),
            (QUESTION, {"response_format": "srt", "stream": True}),
        ):
            with pytest.raises(openai.BadRequestError):
                client.audio.transcriptions.create(file=file, model="x", **more)  # pyright: ignore
        assert post(server, "/v1/audio/transcriptions", b"{}")[0] == 400


class TestSpeech:
    @pytest.mark.parametrize("form", ["wav", "flac", "mp3", "opus", "pcm", "aac"])
    def test_each_format(self, client: openai.OpenAI, form: Any, tmp_path: Path) -> None:
        with client.audio.speech.with_streaming_response.create(
            model="lm_cond", voice="alloy", input="It will be fine.", response_format=form
        ) as response:
            data = response.read()
        if form == "pcm":
            samples = np.frombuffer(data, "<i2").size
        elif form == "opus":
            samples = OpusReader().push(data).size
        elif form == "wav":
            assert data[:4] == b"RIFF"
            samples = np.frombuffer(data[44:], "<i2").size
        elif form == "aac":
            (tmp_path / "a.aac").write_bytes(data)
            wav_S = read_mono(tmp_path / "a.aac")
            assert np.abs(wav_S).max() > 0.001
            samples = wav_S.size
        else:
            wav_S, rate = soundfile.read(io.BytesIO(data))
            assert rate == RATE
            samples = len(wav_S)
        assert 20 * FRAME_SIZE < samples < 80 * FRAME_SIZE

    def test_as_events(self, client: openai.OpenAI, server: Server) -> None:
        body = {
            "model": "x",
            "input": "Hello.",
            "voice": "v",
            "response_format": "pcm",
            "stream_format": "sse",
        }
        _, data = post(server, "/v1/audio/speech", json.dumps(body).encode())
        events = [json.loads(line[6:]) for line in data.decode().splitlines() if line.startswith("data: ")]
        assert events[-1]["type"] == "speech.audio.done"
        sound_bytes = b"".join(base64.b64decode(event["audio"]) for event in events[:-1])
        assert len(sound_bytes) % (2 * FRAME_SIZE) == 0

    def test_what_cannot_be_said_is_refused(self, client: openai.OpenAI) -> None:
        for wrong in ({"input": " "}, {"input": "a" * 5000}, {"response_format": "wma"}, {"speed": 9}):
            values: Any = {"model": "x", "voice": "alloy", "input": "Hello.", **wrong}
            with pytest.raises(openai.BadRequestError):
                client.audio.speech.create(**values)

    def test_aac_without_pyav(self, client: openai.OpenAI, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(openai_audio, "find_spec", lambda name: None)
        with pytest.raises(openai.BadRequestError, match="needs PyAV .* there are mp3, opus, flac, wav, pcm"):
            client.audio.speech.create(model="x", voice="alloy", input="Hello.", response_format="aac")


def test_models(client: openai.OpenAI) -> None:
    assert [model.id for model in client.models.list()] == ["echo", "lm_heads", "lm_cond"]


def test_a_transcription_session(server: Server) -> None:
    """Two turns found by their pauses, one committed; each with its words."""

    async def run() -> list[Any]:
        client = openai.AsyncOpenAI(base_url=f"http://{server.address}/v1", api_key="none")
        events: list[Any] = []
        async with client.realtime.connect(extra_query={"intent": "transcription"}) as link:
            detection = {"type": "server_vad", "silence_duration_ms": 400}
            session: Any = {"type": "transcription", "audio": {"input": {"turn_detection": detection}}}
            await link.session.update(session=session)
            silence = np.zeros(RATE, np.float32)
            for part in (silence, sound(1.6), silence, sound(1.6, 3), silence):
                for at in range(0, len(part), 2400):
                    audio = base64.b64encode(pcm(part[at : at + 2400])).decode()
                    await link.input_audio_buffer.append(audio=audio)
            async with asyncio.timeout(PATIENCE):
                while sum(e.type.endswith("input_audio_transcription.completed") for e in events) < 2:
                    events.append(await link.recv())
            await link.input_audio_buffer.commit()
            events.append(await link.recv())
        return events

    events = asyncio.run(run())
    kinds = [event.type for event in events]
    assert kinds[0] == "session.created"
    assert events[0].session.type == "transcription"
    assert "session.updated" in kinds
    for kind in ("speech_started", "speech_stopped", "committed"):
        assert kinds.count(f"input_audio_buffer.{kind}") == 2
    done = [event for event in events if event.type.endswith("input_audio_transcription.completed")]
    committed = [event.item_id for event in events if event.type == "input_audio_buffer.committed"]
    assert [event.item_id for event in done] == committed
    for event in done:
        deltas = [
            e.delta for e in events if e.type.endswith("transcription.delta") and e.item_id == event.item_id
        ]
        assert "".join(deltas).strip() == event.transcript
    assert events[-1].type == "error"
    assert events[-1].error.code == "input_audio_buffer_commit_empty"


def test_settings_of_a_transcription_are_bounded_and_checked(server: Server) -> None:
    """All updates together; what is refused changes nothing."""
    detection = {"type": "server_vad", "silence_duration_ms": "soon"}
    updates = [
        {"a": "x" * 40_000},
        {"b": "x" * 40_000},
        {"audio": {"input": {"turn_detection": detection}}},
        {},
    ]

    async def run() -> list[dict[str, Any]]:
        async with connect(f"ws://{server.address}/v1/realtime?intent=transcription") as link:
            for session in updates:
                await link.send(json.dumps({"type": "session.update", "session": session}))
            return [json.loads(await link.recv()) for _ in range(1 + len(updates))]

    _, first, second, third, last = asyncio.run(run())
    assert [event["type"] for event in (first, second, third)] == ["session.updated", "error", "error"]
    assert "b" not in last["session"] and last["session"]["audio"] == first["session"]["audio"]


def test_a_server_whose_recognition_is_down_is_not_ready(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    ears = server.service.speech.ears
    assert ears is not None
    with urllib.request.urlopen(f"http://{server.address}/healthz", timeout=PATIENCE) as response:
        assert response.status == 200
    monkeypatch.setattr(ears.worker, "_broken", True)
    with pytest.raises(urllib.error.HTTPError, match="503"):
        urllib.request.urlopen(f"http://{server.address}/healthz", timeout=PATIENCE)
