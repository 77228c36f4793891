"""What tests of a server share; a module with a server of its own defines `server` again."""

import pytest

from duologue.serve.settings import Settings
from duologue.weights import load
from tests.engine.virtual import EchoBackend
from tests.serve.realtime_client import QUESTION, WORDS
from tests.serve.server import Server, until


@pytest.fixture(scope="module")
def server():
    """One seat, no queue."""
    server = Server(Settings(sessions=1, queue=0))
    yield server
    server.close()


@pytest.fixture(scope="module")
def listening():
    """A server whose model writes down "two and two", whoever speaks."""
    server = Server(Settings(sessions=1), EchoBackend(1, heard=WORDS))
    yield server
    server.close()


@pytest.fixture(scope="module")
def asking():
    """A server whose model writes down a question, whoever speaks."""
    server = Server(Settings(sessions=1), EchoBackend(1, heard=load("tiny").tokenizer.encode(QUESTION)))
    yield server
    server.close()


@pytest.fixture
def nobody_left(server):
    """After a test its seats are free again, and nobody is in line or in a call."""
    yield
    service = server.service
    until(lambda: service.engine.used == 0 and service.pool.waiting == 0 and not service.pool._calls)
