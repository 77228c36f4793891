"""`benchmarks/peers`: other implementations beside ours."""

import json
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch

from benchmarks.peers.__main__ import main


@pytest.fixture(autouse=True)
def same_threads():
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


def test_a_peer_that_does_not_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["codec", "--model", "tiny", "--frames", "1", "--peers", str(tmp_path / "python")])
    assert "does not run" in capsys.readouterr().err


@pytest.mark.parametrize("kind", ["codec", "lm"])
def test_peers(kind: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Our own environment has none of them, which is no error; the other backend is beside us where it is installed."""
    monkeypatch.setattr("duologue.bench.timing.READ", 2**20)
    asked = [kind, "--model", "tiny", "--frames", "1", "--threads", "1", "--peers", sys.executable]
    main([*asked, "--json"])
    peers = json.loads(capsys.readouterr().out)["peers"]
    assert set(peers) == ({"duologue, mlx"} if find_spec("mlx") else set())
    main(asked)
    assert "duologue, torch" in capsys.readouterr().out


def test_a_peer_gets_the_same_weights(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A stand-in for a peer's Python, which opens what it is given; what a peer cannot do is said in its row."""
    python = tmp_path / "python"
    script = """import json, sys
from duologue.bench.models import open_model
from duologue.weights import load
places = sys.argv[2] + "/torch", sys.argv[2] + "/mlx"
ours = open_model("tiny").lm.state_dict()
same = [all(v.equal(ours[k]) for k, v in load(place).lm.state_dict().items()) for place in places]
print(json.dumps({"peer": {"error": f"the same {same}"}}))
"""
    python.write_text(f"#!{sys.executable}\n{script}")
    python.chmod(0o755)
    main(["lm", "--model", "tiny", "--frames", "1", "--threads", "1", "--peers", str(python)])
    assert "peer: the same [True, True]" in " ".join(capsys.readouterr().out.split())
