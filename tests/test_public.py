import subprocess
import sys

import pytest

import duologue


def test_every_public_name_is_there():
    for name in duologue.__all__:
        assert getattr(duologue, name) is not None
    assert set(dir(duologue)) == set(duologue.__all__)
    with pytest.raises(AttributeError, match="nothing_of_the_kind"):
        duologue.nothing_of_the_kind  # noqa: B018


def test_importing_does_no_work():
    code = "import sys, duologue; print([m for m in sys.modules if m.startswith(('torch', 'numpy', 'duologue.'))])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=240)
    assert done.stdout.strip() == "[]"
