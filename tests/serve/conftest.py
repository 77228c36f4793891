"""What tests of a server share; a module with a server of its own defines `server` again."""

import pytest

from duologue.serve.settings import Settings
from tests.serve.server import Server, until


@pytest.fixture(scope="module")
def server():
    """One seat, no queue."""
    server = Server(Settings(sessions=1, queue=0))
    yield server
    server.close()


@pytest.fixture
def nobody_left(server):
    """After a test its seats are free again."""
    yield
    until(lambda: server.service.engine.used == 0)
