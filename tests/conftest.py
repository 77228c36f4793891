"""What every test gets: repeatable examples, one thread, no network."""

import os
import socket

# Before anything imports torch or the hub's client.
os.environ["OMP_NUM_THREADS"] = "1"
os.environ["HF_HUB_OFFLINE"] = "1"

import hypothesis
import pytest

hypothesis.settings.register_profile("suite", deadline=None, derandomize=True, database=None, max_examples=50)
hypothesis.settings.load_profile("suite")

HERE = {"127.0.0.1", "::1", "localhost"}
_connect = socket.socket.connect


def _connect_at_home(self: socket.socket, address):
    """Lets a test reach its own machine only."""
    if self.family != getattr(socket, "AF_UNIX", None) and address[0] not in HERE:
        raise OSError(f"a test tried to reach {address}: tests have no network")
    return _connect(self, address)


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket.socket, "connect", _connect_at_home)
