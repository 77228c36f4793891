"""What tests of the engine share."""

import pytest

from duologue.weights import load
from tests.engine.virtual import EchoBackend, Room


@pytest.fixture(scope="module")
def tiny():
    return load("tiny")


@pytest.fixture(scope="module")
def nano():
    """Its weights have 16 bits: so what it says has the same bits in any company."""
    return load("nano")


@pytest.fixture
def echo(tiny):
    return Room(EchoBackend(4), tiny.tokenizer)
