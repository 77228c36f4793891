"""OpenAI's clients for Node, unchanged, against this server. They need packages, in a folder that DUOLOGUE_NODE_CLIENTS
names: `npm install openai @openai/agents ws zod`."""

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from duologue.serve import tls
from duologue.serve.settings import Settings
from tests.serve.server import PATIENCE, Server, until

FOLDER = os.environ.get("DUOLOGUE_NODE_CLIENTS")
pytestmark = pytest.mark.skipif(
    not (FOLDER and shutil.which("node")), reason="DUOLOGUE_NODE_CLIENTS names no folder with Node's clients"
)


@pytest.fixture
def address(request: pytest.FixtureRequest) -> Iterator[tuple[str, dict[str, str]]]:
    """Of a server over http or https, and the environment of a client that trusts its certificate."""
    with tls.self_signed("127.0.0.1") as pair:
        server = Server(Settings(sessions=1), pair=pair if request.param == "https" else None)
        environment = os.environ | {"NODE_EXTRA_CA_CERTS": str(pair[0])}
        yield f"{request.param}://{server.address.replace('127.0.0.1', 'localhost')}", environment
        until(lambda: server.service.engine.used == 0)
        server.close()


@pytest.mark.parametrize(
    ("client", "address"),
    [("openai", "https"), ("agents", "http"), ("agents", "https")],  # openai's opens no other socket than wss
    indirect=["address"],
)
def test_it_talks(client: str, address: tuple[str, dict[str, str]]) -> None:
    url, environment = address
    script = Path(__file__).with_name("node_clients.mjs")
    done = subprocess.run(
        ["node", str(script), client, FOLDER or "", url],
        capture_output=True,
        text=True,
        timeout=2 * PATIENCE,
        env=environment,
    )
    assert done.returncode == 0, done.stderr
    heard = json.loads(done.stdout.splitlines()[-1])
    assert heard["errors"] == []
    assert {"session.created", "session.updated", "response.created", "response.done"} <= set(heard["types"])
    assert heard["samples"] > 12_000 and heard["loudest"] > 1000
