"""The routes of recognition and synthesis."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from starlette.requests import HTTPConnection, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route, WebSocketRoute
from starlette.websockets import WebSocket

from duologue.serve import moshi_asr, moshi_server, moshi_tts, openai_audio
from duologue.serve.speech import Ears, Mouth

Refused = Callable[[HTTPConnection], Response | None]
LetIn = Callable[[WebSocket], Awaitable[bool]]


@dataclass(frozen=True)
class Speech:
    """The recognition and synthesis models that are served besides the conversational one; either may be missing."""

    ears: Ears | None = None
    mouth: Mouth | None = None

    def start(self) -> None:
        for served in (self.ears, self.mouth):
            if served is not None:
                served.worker.start()

    def close(self) -> None:
        for served in (self.ears, self.mouth):
            if served is not None:
                served.worker.close()

    @property
    def ready(self) -> bool:
        return all(served.worker.ready for served in (self.ears, self.mouth) if served is not None)

    @property
    def gave_up(self) -> bool:
        return any(served.worker.gave_up for served in (self.ears, self.mouth) if served is not None)

    @property
    def names(self) -> list[str]:
        return [served.model.name for served in (self.ears, self.mouth) if served is not None]


def routes(speech: Speech, model: str, refused: Refused, let_in: LetIn) -> list[BaseRoute]:
    """`refused` and `let_in` are the access control."""
    ears, mouth = speech.ears, speech.mouth

    def missing(what: str) -> Response:
        text = f"this server has no model of {what}: start it with --{'stt' if what == 'recognition' else 'tts'} MODEL"
        return JSONResponse({"error": {"message": text, "type": "invalid_request_error"}}, 501)

    async def asr(websocket: WebSocket) -> None:
        if ears is None:
            await websocket.send_denial_response(missing("recognition"))
        elif await let_in(websocket):
            await moshi_asr.Asr(websocket, ears).hold()

    async def tts(websocket: WebSocket) -> None:
        if mouth is None:
            await websocket.send_denial_response(missing("synthesis"))
        elif await let_in(websocket):
            await moshi_tts.Tts(websocket, mouth).hold()

    async def heard(request: Request) -> Response:
        if response := refused(request):
            return response
        if ears is None:
            return missing("recognition")
        serve = openai_audio.transcriptions if request.url.path.startswith("/v1/") else moshi_asr.transcribe
        return await serve(request, ears)

    async def said(request: Request) -> Response:
        if response := refused(request):
            return response
        if mouth is None:
            return missing("synthesis")
        serve = openai_audio.speech if request.url.path.startswith("/v1/") else moshi_tts.speak
        return await serve(request, mouth)

    async def voice(request: Request) -> Response:
        text = "this server cannot make a voice of a recording: it has no voice encoder"
        return refused(request) or JSONResponse({"error": text}, 501)

    async def models(request: Request) -> Response:
        names = list(dict.fromkeys([model, *speech.names]))
        return refused(request) or openai_audio.models(names)

    async def build_info(request: Request) -> Response:
        return refused(request) or JSONResponse(moshi_server.build_info())

    async def modules_info(request: Request) -> Response:
        return refused(request) or JSONResponse(moshi_server.modules_info(ears, mouth))

    return [
        WebSocketRoute("/api/asr-streaming", asr),
        WebSocketRoute("/api/tts_streaming", tts),
        Route("/api/asr-streaming", heard, methods=["POST"]),
        Route("/api/tts_streaming", said, methods=["POST"]),
        Route("/api/voice", voice, methods=["POST"]),
        Route("/api/build_info", build_info),
        Route("/api/modules_info", modules_info),
        Route("/v1/audio/transcriptions", heard, methods=["POST"]),
        Route("/v1/audio/speech", said, methods=["POST"]),
        Route("/v1/models", models),
    ]
