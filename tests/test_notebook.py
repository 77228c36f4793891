"""The notebook runs from its first cell to its last, with a stand-in for Jupyter's player."""

import json
import sys
from pathlib import Path
from types import ModuleType

import numpy as np

NOTEBOOK = Path(__file__).parent.parent / "docs" / "conversation.ipynb"


def test_the_notebook_runs(monkeypatch, capsys) -> None:
    played: list[np.ndarray] = []
    player = ModuleType("IPython.display")
    player.Audio = lambda wav, rate: (np.asarray(wav), rate)  # pyright: ignore[reportAttributeAccessIssue]
    player.display = lambda sound: played.append(sound[0])  # pyright: ignore[reportAttributeAccessIssue]
    monkeypatch.setitem(sys.modules, "IPython", ModuleType("IPython"))
    monkeypatch.setitem(sys.modules, "IPython.display", player)
    names: dict[str, object] = {}
    for cell in json.loads(NOTEBOOK.read_text())["cells"]:
        if cell["cell_type"] == "code":
            exec(compile("".join(cell["source"]), str(NOTEBOOK), "exec"), names)
            assert cell["outputs"] == []  # the repository holds no outputs
    question_S, again_S, answer_S, both_CS = played
    assert len(again_S) >= len(question_S) and both_CS.shape[0] == 2
    assert np.abs(answer_S).max() > 0.05
    lines = capsys.readouterr().out.splitlines()
    assert sum(line.startswith("agent: ") and len(line) > 12 for line in lines) == 2
