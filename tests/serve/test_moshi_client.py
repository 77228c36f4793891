"""The reference package's own client against this server.

It needs packages that this project does not: `pip install --no-deps moshi==0.2.13 && pip install aiohttp`, here or in
an environment whose Python DUOLOGUE_REFERENCE_PYTHON names.
"""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from duologue.serve.settings import Settings
from tests.serve.server import PATIENCE, Server

PYTHON = os.environ.get("DUOLOGUE_REFERENCE_PYTHON")
HERE = all(importlib.util.find_spec(name) for name in ("moshi", "aiohttp"))


@pytest.mark.skipif(not (PYTHON or HERE), reason="the packages moshi and aiohttp are not installed")
def test_moshis_client_talks():
    server = Server(Settings(sessions=1))
    try:
        done = subprocess.run(
            [PYTHON or sys.executable, str(Path(__file__).parent / "moshi_client.py"), server.address, "4"],
            capture_output=True,
            text=True,
            timeout=2 * PATIENCE,
        )
    finally:
        server.close()
    assert done.returncode == 0, done.stderr
    heard = json.loads(done.stdout.splitlines()[-1])
    assert heard["loudest"] > 0.05  # the echo of its own voice
    assert "Lost connection" not in heard["log"] + done.stdout
