"""Runs the examples in the documents: a fenced block whose first line ends in ` run`."""

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from duologue.audio.files import write_audio

ROOT = Path(__file__).parents[1]
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"^```(?P<language>\w*)(?P<run> run)?\n(?P<code>.*?)^```$", re.MULTILINE | re.DOTALL)
INTERPRETERS = {"sh": ["bash", "-euo", "pipefail", "-c"], "python": [sys.executable, "-W", "error", "-c"]}


def examples(document: Path) -> list[tuple[str, str]]:
    """(language, code) of the blocks to run, in order."""
    return [(m["language"], m["code"]) for m in BLOCK.finditer(document.read_text()) if m["run"]]


@pytest.mark.parametrize("document", [d for d in DOCUMENTS if examples(d)], ids=lambda d: d.name)
def test_examples_run(document, tmp_path):
    write_audio(tmp_path / "question.wav", 0.1 * np.random.default_rng(0).standard_normal(12_000))
    (tmp_path / "duologue").mkdir()  # as in a clone
    (tmp_path / "duologue" / "assets").symlink_to(ROOT / "duologue" / "assets")
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    for language, code in examples(document):
        done = subprocess.run(
            [*INTERPRETERS[language], code],
            cwd=tmp_path,
            env=os.environ | {"PATH": path},
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert done.returncode == 0, f"{code}\n{done.stderr}"


def test_the_readme_has_examples_of_both_kinds():
    assert {language for language, _ in examples(ROOT / "README.md")} == {"sh", "python"}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda d: d.name)
def test_every_fence_is_understood(document):
    text = document.read_text()
    fences = sum(line.startswith("```") for line in text.splitlines())
    assert fences == 2 * len(BLOCK.findall(text)), (
        "a block is not closed, or its first line is not `LANGUAGE [run]`"
    )


@pytest.mark.parametrize("document", [*DOCUMENTS, ROOT / "AGENTS.md"], ids=lambda d: d.name)
def test_links_within_the_repository_lead_somewhere(document):
    for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", document.read_text()):
        assert (document.parent / target).exists(), target
