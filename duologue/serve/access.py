"""Access control by keys, origins and hosts, before a connection is upgraded."""

import base64
import hmac
import ipaddress
import socket
import time
from collections import OrderedDict
from urllib.parse import urlsplit

from starlette.requests import HTTPConnection

from duologue.serve.client_secrets import ClientSecrets, digest
from duologue.serve.settings import BAD_KEYS_PER_MINUTE, Settings

SECRET_PATHS = "/v1/realtime", "/v1/realtime/calls"  # which a short-lived key opens
ADDRESSES = 1000  # whose wrong keys are remembered


class Access:
    """Decides by headers and query only."""

    def __init__(self, settings: Settings, now=time.monotonic):
        self._origins = {origin.rstrip("/").lower() for origin in settings.origins}
        self._hosts = {"localhost", socket.gethostname().lower()}
        self._hosts |= {_host(origin) for origin in self._origins} - {""}
        self._keys = [digest(key) for key in settings.keys]
        self._twilio_token = settings.twilio_token
        self.secrets = ClientSecrets()
        self._now = now
        self._bad: OrderedDict[str, list[float]] = OrderedDict()

    @property
    def needs_key(self) -> bool:
        return bool(self._keys)

    def host_refusal(self, connection: HTTPConnection) -> tuple[int, str] | None:
        """HTTP status and message for a request whose Host is not this server's; None if it is. Protects against DNS
        rebinding: another site's page may have made its own name resolve to this server."""
        host = _host(f"//{connection.headers.get('host', '')}")
        if "*" in self._origins or host in self._hosts or _is_address(host):
            return None
        return 403, f"this server is not {host[:100]}: allow it with --origins"

    def refusal(self, connection: HTTPConnection) -> tuple[int, str] | None:
        """HTTP status and message for a request that may not connect, for any reason; None if it may."""
        if refusal := self.host_refusal(connection):
            return refusal
        origin = connection.headers.get("origin")
        if origin is not None and not self._known_origin(origin.lower(), connection.headers.get("host", "")):
            return 403, "pages of this origin may not connect: allow it with --origins"
        return self._key_refusal(connection) if self._keys else None

    def twilio_refusal(self, connection: HTTPConnection) -> tuple[int, str] | None:
        """As `refusal`, for Twilio: with a token its signature is checked instead of a key."""
        if not self._twilio_token:
            return self.refusal(connection)
        url = f"wss://{connection.headers.get('host', '')}{connection.scope['path']}"
        shown = connection.headers.get("x-twilio-signature", "")
        right = [twilio_signature(self._twilio_token, form) for form in (url, url + "/")]
        if any(hmac.compare_digest(shown.encode(), each.encode()) for each in right):
            return None
        return 403, "this is not signed with the token of --twilio-token-file"

    def _known_origin(self, origin: str, host: str) -> bool:
        return bool({"*", origin} & self._origins) or origin.partition("://")[2] == host.lower()

    def _key_refusal(self, connection: HTTPConnection) -> tuple[int, str] | None:
        """A correct key is accepted, whatever else was tried from the same address."""
        shown = shown_key(connection)
        if sum(hmac.compare_digest(digest(shown), key) for key in self._keys):
            return None
        if self.secrets.opens(shown) and connection.scope["path"].rstrip("/") in SECRET_PATHS:
            return None
        address = connection.client.host if connection.client else ""
        now = self._now()
        recent = [at for at in self._bad.get(address, []) if now - at < 60]
        if len(recent) >= BAD_KEYS_PER_MINUTE:
            return 429, "too many wrong keys: wait a minute"
        self._bad[address] = [*recent, now]
        self._bad.move_to_end(address)
        if len(self._bad) > ADDRESSES:
            self._bad.popitem(last=False)
        return 401, "this server needs a key"


def shown_key(connection: HTTPConnection) -> str:
    """The key of a request, from any place where its protocol can carry one."""
    scheme, _, token = connection.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        return token.strip()
    if key := connection.headers.get("kyutai-api-key"):
        return key
    for protocol in connection.headers.get("sec-websocket-protocol", "").split(","):
        if protocol.strip().startswith("openai-insecure-api-key."):
            return protocol.strip().removeprefix("openai-insecure-api-key.")
    query = connection.query_params
    return query.get("auth_id") or query.get("worker_auth_id") or ""


def twilio_signature(token: str, url: str) -> str:
    """The X-Twilio-Signature of a request without a body."""
    return base64.b64encode(hmac.digest(token.encode(), url.encode(), "sha1")).decode()


def _host(url: str) -> str:
    """The host of a URL; empty if it is not a URL."""
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
