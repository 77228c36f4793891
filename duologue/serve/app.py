"""The server's addresses, as a Starlette application that can be mounted in another."""

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

from starlette.applications import Starlette
from starlette.requests import HTTPConnection, Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import BaseRoute, Mount, Route, WebSocketRoute
from starlette.staticfiles import StaticFiles
from starlette.websockets import WebSocket

from .. import __version__
from ..engine.backend import Backend
from ..engine.batcher import Batcher
from ..engine.recorder import Recorder
from ..lm.sampling import Sampling
from ..tokenizer import Tokenizer
from .access import Access
from .kyutai import chat, published
from .metrics import Metrics
from .openai_realtime import realtime
from .pool import Pool
from .settings import Settings

STATIC = Path(__file__).parent / "static"
HEADERS = {"X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer", "X-Frame-Options": "DENY"}


class Service:
    """A model being served: the engine, who may come in, and what is measured."""

    def __init__(
        self,
        backend: Backend,
        tokenizer: Tokenizer,
        sampling: Sampling,
        name: str,
        settings: Settings,
        record: Path | None = None,
    ):
        self.settings, self.sampling, self.name = settings, sampling, name
        self.metrics = Metrics()
        self.engine = Batcher(backend, tokenizer, observe=self.metrics.observe_step)
        self.recorder = Recorder(record, tokenizer, backend.sample_rate) if record else None
        self.pool = Pool(self.engine, settings, self.metrics, self.recorder, name)
        self.access = Access(settings)

    def status(self) -> dict:
        free = self.engine.backend.slots - self.engine.used
        return {
            "model": self.name,
            "version": __version__,
            "ready": self.engine.ready and self.pool.draining is None,
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
        }

    def close(self) -> None:
        self.engine.close()
        if self.recorder is not None:
            self.recorder.close()


def create_app(service: Service) -> Starlette:
    """The application: the page, both protocols, and what a load balancer and Prometheus ask for."""

    async def status(request: Request) -> Response:
        return _refused(service, request) or JSONResponse(service.status())

    async def healthz(_: Request) -> Response:
        ready = service.engine.ready and service.pool.draining is None
        return PlainTextResponse("ok\n" if ready else "not ready\n", 200 if ready else 503)

    async def metrics(_: Request) -> Response:
        text = service.metrics.render(service.engine, service.pool.waiting)
        return Response(text, media_type="text/plain; version=0.0.4; charset=utf-8")

    async def kyutai(websocket: WebSocket) -> None:
        if await _let_in(service, websocket):
            await chat(websocket, service.pool, service.sampling)

    async def openai(websocket: WebSocket) -> None:
        if await _let_in(service, websocket):
            await realtime(websocket, service.pool, service.sampling)

    @contextlib.asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        service.engine.start()
        yield
        service.close()

    routes: list[BaseRoute] = [
        Route("/api/status", status),
        Route("/healthz", healthz),
        Route("/metrics", metrics),
        WebSocketRoute("/api/chat", kyutai),
        WebSocketRoute("/v1/realtime", openai),
    ]
    if (STATIC / "index.html").exists():
        routes.append(Mount("/", _Static(directory=STATIC, html=True)))
    return Starlette(routes=routes, lifespan=lifespan)


class _Static(StaticFiles):
    def file_response(self, *args, **kwargs) -> Response:
        response = super().file_response(*args, **kwargs)
        response.headers.update(HEADERS)
        return response


def _refused(service: Service, connection: HTTPConnection) -> Response | None:
    refusal = service.access.refusal(connection)
    if refusal is None:
        return None
    status, text = refusal
    return JSONResponse({"error": text}, status, {"Retry-After": "60"} if status == 429 else None)


async def _let_in(service: Service, websocket: WebSocket) -> bool:
    """Whether a client may connect; if not it is told before the upgrade, with an HTTP status."""
    response = _refused(service, websocket)
    if response is None and service.pool.draining is not None:
        response = JSONResponse({"error": "the server is being restarted"}, 503, {"Retry-After": "5"})
    if response is not None:
        await websocket.send_denial_response(response)
    return response is None
