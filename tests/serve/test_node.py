"""OpenAI's clients for Node, unchanged, against this server. They need packages, in a folder that DUOLOGUE_NODE_CLIENTS
names: `npm install openai @openai/agents ws zod`."""

import json
import os
import shutil
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from duologue.lm.sampling import Sampling
from duologue.serve import run, tls
from duologue.serve.app import Service
from duologue.serve.settings import Settings
from duologue.weights import load
from tests.engine.virtual import EchoBackend
from tests.serve.server import PATIENCE, until

FOLDER = os.environ.get("DUOLOGUE_NODE_CLIENTS")
pytestmark = pytest.mark.skipif(
    not (FOLDER and shutil.which("node")), reason="DUOLOGUE_NODE_CLIENTS names no folder with Node's clients"
)


@pytest.fixture
def address(request: pytest.FixtureRequest) -> Iterator[tuple[str, dict[str, str]]]:
    """Of a server over http or https, and the environment of a client that trusts its certificate."""
    with tls.self_signed("127.0.0.1") as pair:
        listening = run.listen("127.0.0.1", 0)
        service = Service(EchoBackend(1), load("tiny").tokenizer, Sampling(), "echo", Settings(sessions=1))
        server = run.web_server(service, pair if request.param == "https" else None)
        thread = threading.Thread(target=server.run, args=([listening],), daemon=True)
        thread.start()
        until(lambda: server.started)
        environment = os.environ | {"NODE_EXTRA_CA_CERTS": str(pair[0])}
        yield f"{request.param}://localhost:{listening.getsockname()[1]}", environment
        until(lambda: service.engine.used == 0)
        server.should_exit = True
        thread.join(PATIENCE)


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
