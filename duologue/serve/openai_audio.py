"""OpenAI's audio routes: `POST /v1/audio/transcriptions`, `POST /v1/audio/speech`, `GET /v1/models`."""

import base64
import contextlib
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import Any

from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse

from duologue.engine.batcher import Busy
from duologue.engine.subtitles import as_json, segments, srt, vtt
from duologue.errors import InputError
from duologue.serve.audio_files import LARGEST, MEDIA, NEEDS_PYAV, Encoder, TooBig, limited
from duologue.serve.link import first_to_end, gone, read_body
from duologue.serve.moshi_messages import wav_header
from duologue.serve.settings import MESSAGE
from duologue.serve.speech import Ears, Failed, Listening, Mouth, Speaking
from duologue.types import Word

WAIT_SECONDS = 30.0  # seconds that a request waits for a slot
LONGEST_TEXT = 4096  # characters, as at OpenAI
FORMATS = "json", "text", "srt", "verbose_json", "vtt"
SPEEDS = 0.25, 4.0


class Refused(Exception):
    """A request that cannot be served: HTTP status and message."""

    def __init__(self, text: str, param: str | None = None, status: int = 400, code: str | None = None):
        super().__init__(text)
        kind = "invalid_request_error" if status < 500 else "server_error"
        self.status = status
        self.body = {"error": {"message": text, "type": kind, "param": param, "code": code}}

    def response(self) -> Response:
        return JSONResponse(self.body, self.status, {"Retry-After": "5"} if self.status == 503 else None)


def models(names: list[str]) -> Response:
    """The served models."""
    rows = [{"id": name, "object": "model", "created": 0, "owned_by": "duologue"} for name in names]
    return JSONResponse({"object": "list", "data": rows})


# Transcriptions


@dataclass
class _Asked:
    """The parameters of a transcription request."""

    form: str
    stream: bool
    granularities: list[str]
    language: str  # as the client names it: models do not tell


@dataclass
class _Heard:
    text: str = ""
    words: list[Word] = field(default_factory=list)


async def transcriptions(request: Request, ears: Ears) -> Response:
    """The transcript of a recording, whole or streamed."""
    try:
        request = Request(request.scope, limited(request.receive))
        async with request.form(max_files=1, max_fields=20, max_part_size=1 << 16) as form:
            asked = _asked(form)
            sound = form.get("file")
            if not isinstance(sound, UploadFile):
                raise Refused("the form has no file", "file")
            recording = await ears.receive(_chunks(sound))
        listening = await ears.hear(recording, WAIT_SECONDS)
    except Refused as refused:
        return refused.response()
    except TooBig as error:
        return Refused(str(error), "file", 413).response()
    except InputError as error:
        return Refused(str(error), "file").response()
    except Busy:
        return Refused("all places are taken: try again in a moment", status=503).response()
    except HTTPException as error:  # malformed form
        return Refused(error.detail, status=400).response()
    seconds = recording.seconds
    if asked.stream:
        return StreamingResponse(_events(listening, seconds), media_type="text/event-stream")
    heard = _Heard()

    async def listen() -> None:
        async for one in listening:
            heard.text += one.text
            heard.words += one.words

    try:
        await first_to_end(listen(), gone(request))
    except Failed as error:
        return Refused(str(error), status=500).response()
    finally:
        listening.close()
    return _whole(heard, asked, seconds)


def _asked(form: Any) -> _Asked:
    shape = str(form.get("response_format") or "json")
    if shape not in FORMATS:
        raise Refused(f"response_format is one of {', '.join(FORMATS)}, not {shape!r}", "response_format")
    stream = str(form.get("stream") or "false").lower() in ("true", "1")
    if stream and shape not in ("json", "text"):
        raise Refused(f"response_format {shape} cannot be streamed", "stream")
    granularities = [str(value) for value in form.getlist("timestamp_granularities[]")]
    if unknown := set(granularities) - {"word", "segment"}:
        raise Refused(f"{sorted(unknown)[0]!r} is not a granularity", "timestamp_granularities[]")
    return _Asked(shape, stream, granularities, str(form.get("language") or "english"))


async def _chunks(file: UploadFile) -> AsyncIterator[bytes]:
    while chunk := await file.read(min(1 << 20, LARGEST)):
        yield chunk


def _whole(heard: _Heard, asked: _Asked, seconds: float) -> Response:
    text = heard.text.strip()
    if asked.form == "text":
        return PlainTextResponse(text + "\n")
    if asked.form in ("srt", "vtt"):
        return PlainTextResponse((srt if asked.form == "srt" else vtt)(heard.words))
    usage = {"type": "duration", "seconds": round(seconds)}
    if asked.form == "json":
        return JSONResponse({"text": text, "usage": usage})
    report: dict[str, Any] = {
        "task": "transcribe", "language": asked.language, "duration": round(seconds, 2), "text": text, "usage": usage,
    }  # fmt: skip
    if "word" in asked.granularities:
        report["words"] = as_json(heard.words)
    if "segment" in asked.granularities or not asked.granularities:
        report["segments"] = [
            _segment(i, s.start, s.end, s.text) for i, s in enumerate(segments(heard.words))
        ]
    return JSONResponse(report)


def _segment(number: int, start: float, end: float, text: str) -> dict[str, Any]:
    """Fields that only Whisper has get placeholder values, because clients read them all."""
    return {
        "id": number, "seek": 0, "start": round(start, 2), "end": round(end, 2), "text": f" {text}", "tokens": [],
        "temperature": 0.0, "avg_logprob": 0.0, "compression_ratio": 1.0, "no_speech_prob": 0.0,
    }  # fmt: skip


async def _events(listening: Listening, seconds: float) -> AsyncIterator[str]:
    text = ""
    try:
        async for heard in listening:
            if heard.text:
                delta = heard.text if text else heard.text.lstrip()
                text += delta
                yield _event({"type": "transcript.text.delta", "delta": delta})
        usage = {"type": "duration", "seconds": round(seconds)}
        yield _event({"type": "transcript.text.done", "text": text.strip(), "usage": usage})
    except Failed as error:
        yield _event({"type": "error", "error": Refused(str(error), status=500).body["error"]})
    finally:
        listening.close()


def _event(values: dict[str, Any]) -> str:
    return f"data: {json.dumps(values)}\n\n"


# Speech


@dataclass(frozen=True)
class _Wanted:
    """The parameters of a speech request."""

    text: str
    form: str
    events: bool
    voice: str | None
    speed: float


async def speech(request: Request, mouth: Mouth) -> Response:
    """Speak a text; the response is streamed."""
    try:
        wanted = _wanted(await read_body(request))
        voice = mouth.voice
        with contextlib.suppress(InputError):  # OpenAI's voice names fall back to the model's default voice
            voice = await mouth.voice_of(wanted.voice)
        speaking = await mouth.wait(WAIT_SECONDS, voice, min(2.0, max(0.5, wanted.speed)))
    except Refused as refused:
        return refused.response()
    except Busy:
        return Refused("all places are taken: try again in a moment", status=503).response()
    speaking.push(wanted.text)
    speaking.finish()
    if wanted.events:
        return StreamingResponse(_speech_events(speaking, wanted.form, mouth), media_type="text/event-stream")
    return StreamingResponse(_speech_bytes(speaking, wanted.form, mouth), media_type=MEDIA[wanted.form])


def _wanted(body: bytes) -> _Wanted:
    if len(body) > MESSAGE:
        raise Refused("the body is too long", "input", 413)
    try:
        values = json.loads(body)
        text, speed = values["input"], values.get("speed", 1.0)
        form, events = values.get("response_format") or "mp3", values.get("stream_format") == "sse"
        voice = values.get("voice")
        voice = voice.get("id") if isinstance(voice, dict) else voice
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise Refused("the body is a JSON object with model, input and voice", "input") from None
    if not isinstance(text, str) or not text.strip():
        raise Refused("input is the text to say", "input")
    if len(text) > LONGEST_TEXT:
        raise Refused(f"input is at most {LONGEST_TEXT} characters long", "input")
    if form not in MEDIA:
        raise Refused(f"response_format is one of {', '.join(MEDIA)}, not {form!r}", "response_format")
    if form in NEEDS_PYAV and find_spec("av") is None:
        raise Refused(
            f"response_format {form} needs PyAV in the server: pip install 'duologue[formats]'; without it there are "
            f"{', '.join(name for name in MEDIA if name not in NEEDS_PYAV)}",
            "response_format",
        )
    if isinstance(speed, bool) or not isinstance(speed, int | float) or not SPEEDS[0] <= speed <= SPEEDS[1]:
        raise Refused(f"speed is a number from {SPEEDS[0]} to {SPEEDS[1]:g}", "speed")
    return _Wanted(text, form, events, voice if isinstance(voice, str) else None, float(speed))


async def _speech_bytes(speaking: Speaking, form: str, mouth: Mouth) -> AsyncIterator[bytes]:
    try:
        encoder = Encoder(form, mouth.rate)
        if form == "wav":
            yield wav_header(mouth.rate)
        async for spoken in speaking:
            if data := encoder.push(spoken.wav_S):
                yield data
        if data := encoder.finish():
            yield data
    finally:
        speaking.close()


async def _speech_events(speaking: Speaking, form: str, mouth: Mouth) -> AsyncIterator[str]:
    frames = 0
    async for data in _speech_bytes(speaking, form, mouth):
        frames += 1
        yield _event({"type": "speech.audio.delta", "audio": base64.b64encode(data).decode()})
    usage = {"input_tokens": 0, "output_tokens": frames, "total_tokens": frames}
    yield _event({"type": "speech.audio.done", "usage": usage})
