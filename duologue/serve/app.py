"""The server's routes, as a Starlette application that can be mounted in another."""

import contextlib
from collections.abc import AsyncGenerator, Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.middleware.httpsredirect import HTTPSRedirectMiddleware
from starlette.requests import HTTPConnection, Request
from starlette.responses import FileResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import BaseRoute, Mount, Route, WebSocketRoute
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.websockets import WebSocket, WebSocketClose

from duologue import __version__
from duologue.engine.batcher import Batcher
from duologue.engine.recorder import Recorder
from duologue.interfaces import Backend
from duologue.lm.sampling import Sampling
from duologue.lm.tokenizer import Tokenizer
from duologue.serve.access import Access, shown_key
from duologue.serve.card import NOBODY, About
from duologue.serve.client_secrets import create
from duologue.serve.delegation import NO_HELP, Help
from duologue.serve.kyutai import chat, published
from duologue.serve.line import Lines
from duologue.serve.live_routes import LiveSessions, live_routes
from duologue.serve.metrics import Metrics
from duologue.serve.openai_realtime import realtime
from duologue.serve.openai_transcription import transcription
from duologue.serve.pool import Pool
from duologue.serve.settings import Settings
from duologue.serve.speech_routes import Speech
from duologue.serve.speech_routes import routes as speech_routes
from duologue.serve.traces import Trace
from duologue.serve.twilio import twilio

if TYPE_CHECKING:
    from opentelemetry.trace import Tracer

    from duologue.serve.webrtc import Calls

STATIC = Path(__file__).parent / "static"
POLICY = (  # only what the page needs: see docs/web.md
    "default-src 'self'; script-src 'self' 'wasm-unsafe-eval'; connect-src 'self' ws: wss:; object-src 'none'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "X-Frame-Options": "DENY",
}


Refusal = Callable[[HTTPConnection], tuple[int, str] | None]


class Service:
    """A served model: the engine, admission control and metrics."""

    def __init__(
        self,
        backend: Backend,
        tokenizer: Tokenizer,
        sampling: Sampling,
        name: str,
        settings: Settings,
        record: Path | None = None,
        speech: Speech | None = None,
        about: About = NOBODY,
        help: Help = NO_HELP,
        tracer: "Tracer | None" = None,
    ):
        self.about = about
        self.speech = speech or Speech()
        self.settings, self.sampling, self.name = settings, sampling, name
        self.metrics = Metrics()
        self.engine = Batcher(
            backend,
            tokenizer,
            observe=self.metrics.observe_step,
            observe_answer=self.metrics.response.observe,
        )
        self.recorder = Recorder(record, tokenizer, backend.sample_rate) if record else None
        traced = None if tracer is None else partial(Trace, tracer, name, settings.replica)
        self.pool = Pool(self.engine, settings, self.metrics, self.recorder, name, help, traced)
        self.access = Access(settings)
        self.lines = Lines(settings.replica)

    @property
    def ready(self) -> bool:
        """Whether all its engines run, and it is not shutting down."""
        return self.engine.ready and self.speech.ready and self.pool.draining is None

    @property
    def gave_up(self) -> bool:
        """Whether one of its engines has stopped for good."""
        return self.engine.gave_up or self.speech.gave_up

    def status(self) -> dict:
        free = self.engine.backend.slots - self.engine.used
        return {
            "model": self.name,
            "version": __version__,
            "ready": self.ready,
            "needs_key": self.access.needs_key,
            "slots": self.engine.backend.slots,
            "free": free,
            "queue": self.pool.waiting,
            "queue_size": self.settings.queue,
            "frame_ms": 80,
            "sample_rate": self.engine.backend.sample_rate,
            "time_limit_s": self.settings.time_limit,
            "idle_limit_s": self.settings.idle_limit,
            "sampling": published(self.sampling),
            "recorded": self.recorder is not None,
            **self.about.told(),
        }

    def close(self) -> None:
        self.engine.close()
        self.speech.close()
        if self.recorder is not None:
            self.recorder.close()


class Endpoints:
    """The handlers of a service's routes. All but the health check and the metrics check the client's access first."""

    def __init__(self, service: Service):
        self._service = service
        self.calls = _webrtc(service)

    def refused(self, connection: HTTPConnection, refusal_of: Refusal | None = None) -> Response | None:
        """The response to a client without access; None if it has access."""
        refusal = (refusal_of or self._service.access.refusal)(connection)
        if refusal is None:
            return None
        status, text = refusal
        return JSONResponse({"error": text}, status, {"Retry-After": "60"} if status == 429 else None)

    async def let_in(self, websocket: WebSocket, refusal_of: Refusal | None = None) -> bool:
        """Whether a client may connect; if not, it gets an HTTP status before the upgrade."""
        response = self.refused(websocket, refusal_of)
        if response is None and self._service.pool.draining is not None:
            response = JSONResponse({"error": "the server is being restarted"}, 503, {"Retry-After": "5"})
        if response is not None:
            await websocket.send_denial_response(response)
        return response is None

    async def status(self, request: Request) -> Response:
        return self.refused(request) or JSONResponse(self._service.status())

    async def question(self, request: Request) -> Response:
        """The recording of one of the model's example questions."""
        if response := self.refused(request):
            return response
        card, number = self._service.about.card, request.path_params["number"]
        if card is None or number >= len(card.questions) or (sound := card.questions[number].sound) is None:
            return PlainTextResponse("not found\n", 404)
        return FileResponse(sound, headers=HEADERS)

    async def healthz(self, _: Request) -> Response:
        ready = self._service.ready
        return PlainTextResponse("ok\n" if ready else "not ready\n", 200 if ready else 503)

    async def metrics(self, _: Request) -> Response:
        text = self._service.metrics.render(self._service.engine, self._service.pool.waiting)
        return Response(text, media_type="text/plain; version=0.0.4; charset=utf-8")

    async def kyutai(self, websocket: WebSocket) -> None:
        service = self._service
        if await self.let_in(websocket):
            await chat(websocket, service.pool, service.lines, service.sampling)

    async def openai(self, websocket: WebSocket) -> None:
        service = self._service
        if not await self.let_in(websocket):
            return
        ears = service.speech.ears
        if websocket.query_params.get("intent") != "transcription":
            settings = service.access.secrets.settings(shown_key(websocket))
            await realtime(websocket, service.pool, service.lines, service.sampling, settings)
        elif ears is not None:
            await transcription(websocket, ears, service.settings.time_limit)
        else:
            text = "this server has no model of recognition: start it with --stt MODEL"
            await websocket.send_denial_response(JSONResponse({"error": text}, 501))

    async def client_secrets(self, request: Request) -> Response:
        service = self._service
        return self.refused(request) or await create(
            request, service.access.secrets, service.name, service.settings.time_limit
        )

    async def telephone(self, websocket: WebSocket) -> None:
        service = self._service
        if await self.let_in(websocket, service.access.twilio_refusal):
            await twilio(websocket, service.pool, service.sampling)

    async def webrtc(self, request: Request) -> Response:
        if response := self.refused(request):
            return response
        if self.calls is None:
            text = "this server cannot do WebRTC: pip install 'duologue[webrtc]'"
            return JSONResponse({"error": text}, 501)
        if "id" in request.path_params:
            return await self.calls.hang_up(request)
        settings = self._service.access.secrets.settings(shown_key(request))
        return await self.calls.offer(request, settings)


def create_app(service: Service, secure: bool = False) -> Starlette:
    """The application: the page, all protocols, health checks and metrics. `secure`: requests by http are redirected to
    https."""
    endpoints = Endpoints(service)

    @contextlib.asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncGenerator[None]:
        service.engine.start()
        service.speech.start()
        yield
        if endpoints.calls is not None:
            await endpoints.calls.close()
        service.close()

    # Pages of other sites can open WebSockets without CORS, but need it to post a WebRTC offer.
    cors = Middleware(
        CORSMiddleware,
        allow_origins=service.settings.origins,
        allow_methods=["POST", "DELETE"],
        allow_headers=["Authorization", "Content-Type"],
        expose_headers=["Location"],
    )
    redirect = [Middleware(HTTPSRedirectMiddleware)] if secure else []
    middleware = [Middleware(_OwnName, service), *redirect, cors]
    return Starlette(routes=_routes(service, endpoints), lifespan=lifespan, middleware=middleware)


def _routes(service: Service, endpoints: Endpoints) -> list[BaseRoute]:
    live = LiveSessions(service.pool, service.lines, service.sampling, endpoints.calls)
    routes: list[BaseRoute] = [
        Route("/api/status", endpoints.status),
        Route("/api/questions/{number:int}", endpoints.question),
        Route("/healthz", endpoints.healthz),
        Route("/metrics", endpoints.metrics),
        WebSocketRoute("/api/chat", endpoints.kyutai),
        WebSocketRoute("/v1/realtime", endpoints.openai),
        Route("/v1/realtime/client_secrets", endpoints.client_secrets, methods=["POST"]),
        Route("/v1/realtime/calls", endpoints.webrtc, methods=["POST"]),
        Route("/v1/realtime/calls/{id}", endpoints.webrtc, methods=["DELETE"]),
        Route("/v1/realtime/calls/{id}/hangup", endpoints.webrtc, methods=["POST"]),
        WebSocketRoute("/v1/twilio", endpoints.telephone),
        *live_routes(live, endpoints.refused, endpoints.let_in),
        *speech_routes(service.speech, service.name, endpoints.refused, endpoints.let_in),
    ]
    if (STATIC / "index.html").exists():
        routes.append(Mount("/", _Static(directory=STATIC, html=True)))
    return routes


def _webrtc(service: Service) -> "Calls | None":
    """Calls over WebRTC, if its extra is installed."""
    try:
        from duologue.serve.webrtc import Calls
    except ImportError:
        return None
    return Calls(service.pool, service.sampling)


class _OwnName:
    """Refuses requests for another Host (DNS rebinding), except for health checks."""

    def __init__(self, app: ASGIApp, service: Service):
        self._app, self._service = app, service

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and not scope["path"].endswith("/healthz"):
            refusal = self._service.access.host_refusal(Request(scope))
            if refusal is not None:
                await JSONResponse({"error": refusal[1]}, refusal[0])(scope, receive, send)
                return
        await self._app(scope, receive, send)


class _Static(StaticFiles):
    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":  # unknown route
            await WebSocketClose()(scope, receive, send)
        else:
            await super().__call__(scope, receive, send)

    def file_response(self, *args, **kwargs) -> Response:
        response = super().file_response(*args, **kwargs)
        response.headers.update(HEADERS)
        return response
