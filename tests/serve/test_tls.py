"""https with a certificate of its own: the address for others, its QR code, and the way there from http."""

import asyncio
import base64
import http.client
import ipaddress
import ssl
from collections.abc import Iterator
from types import SimpleNamespace

import pytest
from cryptography import x509
from websockets.asyncio.client import connect

from duologue.serve import run, tls
from duologue.serve.settings import Settings
from tests.engine.virtual import noise
from tests.serve.server import PATIENCE, Server, pcm


@pytest.fixture(scope="module")
def secure() -> Iterator[SimpleNamespace]:
    """A server's address, and a context that trusts its certificate."""
    with tls.self_signed("0.0.0.0") as pair:
        server = Server(Settings(sessions=1), pair=pair)
        trusting = ssl.create_default_context(cafile=str(pair[0]))
        certificate = x509.load_pem_x509_certificate(pair[0].read_bytes())
        port = int(server.address.rsplit(":")[-1])
        yield SimpleNamespace(port=port, trusting=trusting, certificate=certificate)
        server.close()


def test_it_is_served_by_https(secure: SimpleNamespace) -> None:
    link = http.client.HTTPSConnection("localhost", secure.port, context=secure.trusting, timeout=PATIENCE)
    link.request("GET", "/")
    response = link.getresponse()
    assert response.status == 200 and b"duologue" in response.read()
    link.close()


def test_http_at_the_same_port_leads_to_https(secure: SimpleNamespace) -> None:
    link = http.client.HTTPConnection("localhost", secure.port, timeout=PATIENCE)
    link.request("GET", "/api/status?a=1")
    response = link.getresponse()
    assert response.status == 307
    assert response.headers["location"] == f"https://localhost:{secure.port}/api/status?a=1"
    link.close()


def test_a_conversation_is_not_held_in_the_clear(secure: SimpleNamespace) -> None:
    async def go() -> None:
        async with connect(f"wss://localhost:{secure.port}/api/chat", ssl=secure.trusting) as link:
            assert await link.recv() == b"\0"

    asyncio.run(go())
    link = http.client.HTTPConnection("localhost", secure.port, timeout=PATIENCE)
    handshake = {"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Version": "13"}
    link.request("GET", "/api/chat", headers=handshake | {"Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ=="})
    response = link.getresponse()
    assert response.status == 307 and response.headers["location"].startswith("wss://localhost:")
    link.close()


def test_the_certificate_is_for_the_machines_own_address(secure: SimpleNamespace) -> None:
    names = secure.certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    addresses = names.get_values_for_type(x509.IPAddress)
    assert ipaddress.ip_address("127.0.0.1") in addresses
    if (own := tls.lan_address()) is not None:
        assert ipaddress.ip_address(own) in addresses


@pytest.mark.parametrize(
    ("host", "own", "secure", "lines"),
    [
        ("0.0.0.0", "10.1.2.3", True, ["nano listens at https://localhost:1",
                                       "from other machines, such as a phone, at https://10.1.2.3:1"]),
        ("0.0.0.0", "10.1.2.3", False, ["nano listens at http://localhost:1"]),
        ("0.0.0.0", None, True, ["nano listens at https://localhost:1"]),
        ("127.0.0.1", "10.1.2.3", True, ["nano listens at https://localhost:1"]),
        ("10.1.2.3", "10.1.2.3", True, ["nano listens at https://10.1.2.3:1"]),
    ],
)  # fmt: skip
def test_it_says_where_others_find_it(
    host: str, own: str | None, secure: bool, lines: list[str], monkeypatch
) -> None:
    monkeypatch.setattr(run, "lan_address", lambda: own)
    assert run._greeting("nano", host, 1, secure).splitlines() == lines


def test_on_a_terminal_the_address_is_a_qr_code_too(monkeypatch) -> None:
    monkeypatch.setattr(run, "lan_address", lambda: "10.1.2.3")
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    code = run._greeting("nano", "0.0.0.0", 1, True).split("\n", 2)[2]
    assert code == tls.qr_code("https://10.1.2.3:1") and code != tls.qr_code("https://10.1.2.4:1")
    assert set(code) <= set("█▀▄ \n")


def test_the_openai_client_talks_over_https(secure: SimpleNamespace) -> None:
    openai = pytest.importorskip("openai", reason="the openai package is not installed")
    hum = base64.b64encode(pcm(noise(12))).decode()

    async def go() -> list[str]:
        types: list[str] = []
        async with (
            asyncio.timeout(PATIENCE),
            openai.AsyncOpenAI(api_key="none", base_url=f"https://localhost:{secure.port}/v1") as client,
            client.realtime.connect(
                model="any", websocket_connection_options={"ssl": secure.trusting}
            ) as link,
        ):
            await link.input_audio_buffer.append(audio=hum)
            async for event in link:
                types.append(event.type)
                if event.type == "response.done":
                    break
                if event.type == "response.output_audio.delta":
                    await link.input_audio_buffer.append(audio=base64.b64encode(bytes(3840)).decode())
        return types

    assert asyncio.run(go())[0] == "session.created"
