"""The routes of the GPT-Live protocol."""

import json
import secrets
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from starlette.requests import HTTPConnection, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route, WebSocketRoute
from starlette.websockets import WebSocket

from duologue.lm.sampling import Sampling
from duologue.serve.line import Line, Lines, comes_back, wants_to_stay
from duologue.serve.link import read_body
from duologue.serve.live import LiveSession, Sideband
from duologue.serve.live_schema import CREATION, check
from duologue.serve.live_session import LiveSettings, Resource, started
from duologue.serve.openai_exchange import Refused
from duologue.serve.openai_wire import SocketWire, Wire
from duologue.serve.pool import Call, Pool
from duologue.serve.settings import MESSAGE

if TYPE_CHECKING:
    from duologue.serve.webrtc import Calls, Peer


class LiveSessions:
    """The running sessions by id, over WebSocket and over WebRTC."""

    def __init__(self, pool: Pool, lines: Lines, default: Sampling, calls: "Calls | None"):
        self._pool, self._lines, self._default, self._calls = pool, lines, default, calls
        self._held: dict[str, LiveSession] = {}

    async def socket(self, websocket: WebSocket) -> None:
        """Run a session over a WebSocket that has access, to its end."""
        await websocket.accept()
        query = websocket.query_params
        if comes_back(query):
            if not await self._lines.resume(websocket, query):
                await websocket.close(1008, "over")
            return
        stays, resource = wants_to_stay(query), self._resource()

        async def waiting(*_) -> None:
            """The protocol has no event for a place in the queue."""

        def admit() -> Awaitable[Call]:
            sampling = replace(self._default, seed=secrets.randbits(31))
            return self._pool.admit(sampling, "live", waiting, stays)

        async def converse(line: Line) -> None:
            try:
                await self._opened(line, resource).hold(admit)
            finally:
                del self._held[resource.id]

        await self._lines.hold(websocket, resource.id if stays else None, converse)

    def _resource(self) -> Resource:
        return Resource(self._lines.new_name("live"), self._pool.model, self._pool.settings.time_limit)

    def _opened(self, wire: Wire, resource: Resource, settings: LiveSettings | None = None) -> LiveSession:
        session = LiveSession(wire, self._pool, resource, settings)
        self._held[session.resource.id] = session
        return session

    async def attach(self, websocket: WebSocket) -> None:
        """Serve a sideband: a second connection to a running session."""
        session = self._held.get(websocket.path_params["id"])
        if session is None or not session.begun:
            await websocket.send_denial_response(_no_session())
            return
        if session.crowded:
            text = "this session has as many sidebands as it may have"
            await websocket.send_denial_response(_error(429, "too_many_sidebands", text))
            return
        await websocket.accept()
        await Sideband(session, SocketWire(websocket)).run()

    async def create(self, request: Request) -> Response:
        """Start a session over WebRTC and return the answer to its offer. The session outlives the request."""
        if self._calls is None:
            text = "this server cannot do WebRTC: pip install 'duologue[webrtc]'"
            return _error(501, "not_supported", text)
        from duologue.serve.webrtc import NoCall

        body = await read_body(request)
        try:
            wanted = json.loads(body) if len(body) <= MESSAGE else {}
            check(wanted, CREATION)
            settings = started(wanted["session"], media=True)
        except Refused as refused:
            return _error(400, refused.code, str(refused), refused.param)
        except (ValueError, RecursionError):
            return _error(400, "invalid_json", "the body is a JSON object")
        resource = self._resource()

        def converse(peer: "Peer") -> LiveSession:
            return self._opened(peer, resource, settings)

        try:
            call, answer = await self._calls.answer(wanted["transport"]["sdp"].encode(), len(body), converse)
        except NoCall as refusal:
            return _error(refusal.status, "no_call", str(refusal), headers=refusal.headers)
        self._calls.when_over(call, lambda: self._held.pop(resource.id))
        reply = {"session": {"id": resource.id}, "transport": {"type": "webrtc", "sdp": answer}}
        return JSONResponse(reply, 201)

    async def hang_up(self, request: Request) -> Response:
        """End a session by its id."""
        session = self._held.get(request.path_params["id"])
        if session is None:
            return _no_session()
        session.hang_up("close_requested")
        return Response(status_code=200)

    async def unsupported(self, request: Request) -> Response:
        """Refuse actions that need a telephone or stored sessions."""
        what = request.path_params["what"]
        return _error(
            501, "not_supported", f"this server cannot {what} a session: it keeps none, and has no telephone"
        )


def live_routes(
    sessions: LiveSessions,
    refused: Callable[[HTTPConnection], Response | None],
    let_in: Callable[[WebSocket], Awaitable[bool]],
) -> list[BaseRoute]:
    """The routes. `refused` and `let_in` are the access control."""

    def door(handle: Callable[[Request], Awaitable[Response]]) -> Callable[[Request], Awaitable[Response]]:
        async def handled(request: Request) -> Response:
            return refused(request) or await handle(request)

        return handled

    def socket_door(handle: Callable[[WebSocket], Awaitable[None]]) -> Callable[[WebSocket], Awaitable[None]]:
        async def handled(websocket: WebSocket) -> None:
            if await let_in(websocket):
                await handle(websocket)

        return handled

    path = "/v1/live/sessions"
    return [
        WebSocketRoute(path, socket_door(sessions.socket)),
        WebSocketRoute(f"{path}/{{id}}/attach", socket_door(sessions.attach)),
        Route(path, door(sessions.create), methods=["POST"]),
        Route(f"{path}/{{id}}/hangup", door(sessions.hang_up), methods=["POST"]),
        Route(f"{path}/{{id}}/{{what:str}}", door(sessions.unsupported), methods=["GET", "POST"]),
    ]


def _no_session() -> Response:
    return _error(404, "session_not_found", "there is no such session")


def _error(
    status: int, code: str, text: str, param: str | None = None, headers: dict[str, str] | None = None
) -> Response:
    error = {"message": text, "type": "invalid_request_error", "code": code, "param": param}
    return JSONResponse({"error": error}, status, headers)
