"""Clients of the OpenAI Realtime API that are part of larger frameworks, unchanged, against this server.

They need environments of their own, because of all that they install:

    pip install pipecat-ai                            its Python is named by DUOLOGUE_PIPECAT_PYTHON
    pip install livekit-agents livekit-plugins-openai      and this one's by DUOLOGUE_LIVEKIT_PYTHON
"""

import json
import os
import subprocess
from pathlib import Path

import pytest

from duologue.serve.settings import Settings
from tests.serve.server import PATIENCE, Server, until

PIPECAT = os.environ.get("DUOLOGUE_PIPECAT_PYTHON")
LIVEKIT = os.environ.get("DUOLOGUE_LIVEKIT_PYTHON")


def run(python: str, script: str) -> dict:
    """What a client says that it heard of the echo of its hum."""
    server = Server(Settings(sessions=1))
    try:
        done = subprocess.run(
            [python, str(Path(__file__).parent / script), server.address],
            capture_output=True,
            text=True,
            timeout=3 * PATIENCE,
        )
        until(lambda: server.service.engine.used == 0)
    finally:
        server.close()
    assert done.returncode == 0, done.stderr
    heard = json.loads(done.stdout.splitlines()[-1])
    assert heard["errors"] == []
    assert heard["loudest"] > 1000
    assert 0.9 < heard["seconds"] < 6
    return heard


@pytest.mark.skipif(not PIPECAT, reason="DUOLOGUE_PIPECAT_PYTHON names no Python with pipecat-ai")
def test_pipecat_talks():
    kinds = run(PIPECAT or "", "pipecat_client.py")["kinds"]
    assert {"TTSStartedFrame", "TTSAudioRawFrame", "TTSStoppedFrame"} <= set(kinds)
    assert {"LLMFullResponseStartFrame", "LLMFullResponseEndFrame"} <= set(kinds)


@pytest.mark.skipif(not LIVEKIT, reason="DUOLOGUE_LIVEKIT_PYTHON names no Python with livekit-plugins-openai")
def test_livekit_talks():
    assert run(LIVEKIT or "", "livekit_client.py")["generations"] >= 1


@pytest.mark.skipif(not LIVEKIT, reason="DUOLOGUE_LIVEKIT_PYTHON names no Python with livekit-plugins-openai")
def test_livekit_talks_to_a_live_session():
    assert run(LIVEKIT or "", "livekit_live_client.py")["text"] == "the tallest mountain is Everest"
