"""Who is turned away before the upgrade, over a real socket."""

import asyncio
import http.client

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from duologue.serve.settings import BAD_KEYS_PER_MINUTE, Settings
from tests.serve.server import PATIENCE, Heard, Server, get, read


@pytest.fixture(scope="module")
def server():
    server = Server(Settings(sessions=2, keys=("secret", "other"), origins=("https://talk.example.com",)))
    yield server
    server.close()


@pytest.fixture(autouse=True)
def forgiven(server):
    server.service.access._bad.clear()


def status(server, query="", **headers) -> int:
    async def talk():
        url = f"ws://{server.address}/api/chat?{query}"
        async with connect(url, additional_headers=headers, compression=None) as link:
            await read(link, Heard(), lambda heard: 0 in heard.kinds)
        return 101

    try:
        return asyncio.run(talk())
    except InvalidStatus as error:
        return error.response.status_code


@pytest.mark.parametrize(
    ("query", "headers"),
    [
        ("auth_id=secret", {}),
        ("worker_auth_id=other", {}),
        ("", {"Authorization": "Bearer secret"}),
        ("", {"kyutai-api-key": "secret"}),
        ("auth_id=secret", {"Origin": "https://talk.example.com"}),
    ],
)
def test_a_key_opens(server, query, headers):
    assert status(server, query, **headers) == 101


@pytest.mark.parametrize(
    ("query", "headers", "code"),
    [
        ("", {}, 401),
        ("auth_id=secre", {}, 401),
        ("auth_id=%00%ff", {}, 401),
        ("", {"Authorization": "Basic secret"}, 401),
        ("auth_id=secret", {"Origin": "https://evil.example.com"}, 403),
        ("auth_id=secret", {"Origin": "null"}, 403),
    ],
)
def test_without_it_there_is_no_upgrade(server, query, headers, code):
    assert status(server, query, **headers) == code
    assert server.service.engine.used == 0


def test_the_page_of_the_server_itself_may_connect(server):
    assert status(server, "auth_id=secret", Origin=f"http://{server.address}") == 101


def test_who_guesses_is_told_to_wait(server):
    codes = [status(server, f"auth_id={guess}") for guess in range(BAD_KEYS_PER_MINUTE + 1)]
    assert codes == [401] * BAD_KEYS_PER_MINUTE + [429]
    assert status(server, "auth_id=secret") == 101  # whoever has the key is not locked out by others


def test_behind_a_proxy_each_client_guesses_for_itself(server):
    codes = [
        status(server, "auth_id=x", **{"X-Forwarded-For": "192.0.2.1"})
        for _ in range(BAD_KEYS_PER_MINUTE + 1)
    ]
    assert codes[-1] == 429
    assert status(server, "auth_id=x", **{"X-Forwarded-For": "192.0.2.2"}) == 401


@pytest.mark.parametrize("bad", ["[", "[::1", "]", "a b", "[x]:y", "%", "http://[", "\xff"])
def test_a_host_or_origin_that_cannot_be_is_refused(server, bad, caplog):
    headers = (
        {"Host": bad},
        {"Host": server.address, "Origin": bad},
        {"Host": "localhost", "Origin": f"http://{bad}"},
    )
    for each in headers:
        for path in ("/api/chat?auth_id=secret", "/api/status?auth_id=secret", "/v1/twilio", "/nothing"):
            link = http.client.HTTPConnection(server.address, timeout=PATIENCE)
            upgrade = {"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Version": "13"}
            upgrade["Sec-WebSocket-Key"] = "dGhlIHNhbXBsZSBub25jZQ=="
            link.request("GET", path, headers=each | (upgrade if "chat" in path or "twilio" in path else {}))
            assert 400 <= link.getresponse().status < 500
            link.close()
    assert not caplog.records


@pytest.mark.parametrize("path", ["/api/status?auth_id=secret", "/metrics", "/", "/index.html"])
@pytest.mark.parametrize(
    ("host", "code"),
    [("rebound.example.com", 403), ("talk.example.com", 200), ("localhost:1", 200), ("", 403)],
)
def test_a_name_that_is_not_ours_is_refused(server, path, host, code):
    """A page of another site may have made its own name lead to this machine."""
    assert get(server, path, Host=host)[0] == code


def test_a_load_balancer_may_call_us_anything(server):
    assert get(server, "/healthz", Host="10-0-0-7.pod.example.com")[0] == 200


def test_a_short_lived_key_opens_a_realtime_session_and_no_more(server):
    openai = pytest.importorskip("openai", reason="the openai package is not installed")
    urls = {"base_url": f"http://{server.address}/v1", "websocket_base_url": f"ws://{server.address}/v1"}
    law = {"audio": {"output": {"format": {"type": "audio/pcmu"}}}}

    async def go():
        async with openai.AsyncOpenAI(api_key="secret", **urls) as ours:
            made = await ours.realtime.client_secrets.create(
                expires_after={"anchor": "created_at", "seconds": 60}, session={"type": "realtime", **law}
            )
            with pytest.raises(openai.BadRequestError):
                await ours.realtime.client_secrets.create(
                    expires_after={"anchor": "created_at", "seconds": 1}
                )
        async with openai.AsyncOpenAI(api_key=made.value, max_retries=0, **urls) as page:
            async with page.realtime.connect(model="any") as link:
                created = await link.recv()
            with pytest.raises(openai.AuthenticationError):
                await page.realtime.client_secrets.create()
        return made, created

    made, created = asyncio.run(go())
    assert created.session.audio.output.format.type == made.session.audio.output.format.type == "audio/pcmu"
    assert status(server, f"auth_id={made.value}") == 401
    secrets = server.service.access.secrets
    secrets._now = lambda: made.expires_at + 1
    assert not secrets.opens(made.value)
