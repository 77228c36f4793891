"""Short-lived keys for browsers, of OpenAI's protocol: `POST /v1/realtime/client_secrets`.

A server that holds a key gets one, with the settings of the sessions that are opened with it, and hands it to a page.
"""

import hashlib
import json
import secrets
import time
from collections import OrderedDict
from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from duologue.serve.link import read_body
from duologue.serve.openai_session import DEFAULT, SessionSettings, described, session_object
from duologue.serve.settings import MESSAGE

PREFIX = "ek_"
SECONDS = 10, 600, 7200  # that a key may be used: least, by default, most
KEPT = 1000  # keys


@dataclass(frozen=True)
class Secret:
    until: float
    settings: SessionSettings


class ClientSecrets:
    """The short-lived keys that were given out; their digests are kept."""

    def __init__(self, now=time.time):
        self._now = now
        self._secrets: OrderedDict[bytes, Secret] = OrderedDict()

    def issue(self, seconds: int, settings: SessionSettings) -> tuple[str, int]:
        """A new key, and when it expires (seconds since the epoch)."""
        value, until = PREFIX + secrets.token_urlsafe(24), self._now() + seconds
        self._secrets[digest(value)] = Secret(until, settings)
        while len(self._secrets) > KEPT:
            self._secrets.popitem(last=False)
        return value, int(until)

    def opens(self, shown: str) -> bool:
        """Whether a key was given out and has not expired."""
        return self._secret(shown) is not None

    def settings(self, shown: str) -> SessionSettings:
        """The settings of a session that is opened with a key."""
        secret = self._secret(shown)
        return DEFAULT if secret is None else secret.settings

    def _secret(self, shown: str) -> Secret | None:
        if not shown.startswith(PREFIX):
            return None
        secret = self._secrets.get(digest(shown))
        return secret if secret is not None and secret.until > self._now() else None


def digest(value: str) -> bytes:
    """What is kept of a key."""
    return hashlib.sha256(value.encode()).digest()


async def create(request: Request, issued: ClientSecrets, model: str, time_limit: float) -> Response:
    """The answer to a request for a key."""
    try:
        body = await read_body(request)
        if len(body) > MESSAGE:
            raise ValueError
        wanted = json.loads(body or b"{}")
        seconds = int((wanted.get("expires_after") or {}).get("seconds", SECONDS[1]))
        session = wanted.get("session") or {}
        settings = DEFAULT.updated(session)
        if not SECONDS[0] <= seconds <= SECONDS[2] or session.get("type", "realtime") != "realtime":
            raise ValueError
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        text = f"`session` is a Realtime session, `expires_after.seconds` from {SECONDS[0]} to {SECONDS[2]}"
        error = {"message": text, "type": "invalid_request_error", "code": "invalid_value", "param": None}
        return JSONResponse({"error": error}, 400)
    value, expires_at = issued.issue(seconds, settings)
    shown = described(session_object(str(session.get("model") or model)[:100], time_limit), settings)
    return JSONResponse({"value": value, "expires_at": expires_at, "session": shown})
