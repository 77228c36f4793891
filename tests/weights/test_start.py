"""What opening a model takes beside its weights."""

import subprocess
import sys
from pathlib import Path

STARTED = """
import sys
from pathlib import Path
from duologue.weights import load
from duologue.weights.convert import convert
nano = load("nano")
nano.lm, nano.codec
convert("tiny", Path(sys.argv[1]), "pytorch")
assert not [name for name in ("torch._dynamo", "sympy") if name in sys.modules]
"""


def test_nothing_imports_the_compiler_of_torch(tmp_path: Path) -> None:
    """It would take two seconds, and it is needed on a GPU only."""
    command = [sys.executable, "-c", STARTED, str(tmp_path / "tiny")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
