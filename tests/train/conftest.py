"""Makes `toy_stage` importable, also in the processes that tests start."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(scope="session")
def processes():
    from toy_stage import Processes

    return Processes()


@pytest.fixture(scope="session")
def reference(processes, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of the toy stage that nothing disturbed."""
    out = tmp_path_factory.mktemp("reference")
    assert processes.run(out) == [0]
    return out


@pytest.fixture(scope="session")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six made-up conversations."""
    from duologue.data.shards import write_shards
    from tests.train.conversations import conversation

    folder = tmp_path_factory.mktemp("shards")
    write_shards(folder, [conversation(n) for n in range(6)], per_shard=4)
    return folder
