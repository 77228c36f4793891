"""What tests of a server share; a module with a server of its own defines `server` again."""

import pytest

from duologue.serve.settings import Settings
from duologue.serve.speech import Ears
from tests.engine.virtual import listening
from tests.serve.server import Server, until


@pytest.fixture(scope="module")
def server():
    """One seat, no queue."""
    server = Server(Settings(sessions=1, queue=0))
    yield server
    server.close()


@pytest.fixture
def nobody_left(server):
    """After a test its seats are free again, and nobody is in line or in a call."""
    yield
    service = server.service
    until(lambda: service.engine.used == 0 and service.pool.waiting == 0 and not service.pool._calls)


@pytest.fixture
def ears():
    """A recogniser that runs, with one slot."""
    ears = Ears(listening(), 1)
    ears.worker.start()
    yield ears
    ears.worker.close()
