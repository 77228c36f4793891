"""The wheel, installed outside the clone: what a user of the package gets."""

import re
import subprocess
import sys
import tomllib
import venv
import zipfile
from pathlib import Path

import pytest

import duologue

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    run([*build, "--disable-pip-version-check", "--wheel-dir", folder, ROOT], cwd=folder)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def elsewhere(wheel, tmp_path_factory) -> Path:
    """A folder with an environment in it that has the wheel, and only borrows the packages it depends on."""
    folder = tmp_path_factory.mktemp("elsewhere")
    venv.create(folder / "env", symlinks=True)
    (site,) = folder.glob("env/lib/python*/site-packages")
    with zipfile.ZipFile(wheel) as archive:
        version = archive.read(next(n for n in archive.namelist() if n.endswith("METADATA")))
    assert f"Version: {duologue.__version__}".encode() in version
    install = [sys.executable, "-m", "pip", "--python", folder / "env/bin/python", "install", "--quiet"]
    run([*install, "--no-deps", "--no-index", "--disable-pip-version-check", wheel], cwd=folder)
    borrowed = next(path for path in sys.path if path.endswith("site-packages"))
    (site / "borrowed.pth").write_text(f"{borrowed}\n")
    return folder


def run(command, cwd: Path) -> subprocess.CompletedProcess:
    done = subprocess.run(
        [str(part) for part in command], cwd=cwd, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
    return done


def test_every_file_of_the_package_is_in_the_wheel(wheel):
    with zipfile.ZipFile(wheel) as archive:
        packed = {name for name in archive.namelist() if name.startswith("duologue/")}
    here = {
        str(path.relative_to(ROOT))
        for path in (ROOT / "duologue").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert packed == here


def test_the_wheel_carries_its_licence_and_no_tests(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    assert any(name.endswith("licenses/LICENSE") for name in names)
    assert all(name.split("/")[0] == "duologue" or ".dist-info/" in name for name in names)


def test_the_command_runs_outside_the_clone(elsewhere):
    assert (
        run([elsewhere / "env/bin/duologue", "--version"], elsewhere).stdout
        == f"duologue {duologue.__version__}\n"
    )
    where = run(
        [elsewhere / "env/bin/python", "-c", "import duologue; print(duologue.__file__)"], elsewhere
    ).stdout
    assert where.startswith(str(elsewhere)), "the clone was imported, not the wheel"


def test_it_answers_a_question_outside_the_clone(elsewhere):
    question = next(elsewhere.glob("env/lib/python*/site-packages/duologue/assets/question.opus"))
    run(
        [elsewhere / "env/bin/duologue", "talk", question, "answer.wav", "--model", "tiny", "--tail", "0"],
        elsewhere,
    )
    assert (elsewhere / "answer.wav").stat().st_size > 44


# Below these, files that a model is made of could run code or write past their memory.
FLOORS = {"torch": (2, 10), "sentencepiece": (0, 2, 1), "starlette": (1, 0, 1)}


def test_no_version_with_a_known_hole_is_asked_for() -> None:
    """In what is declared, in what is tested with, and in the image."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    declared = [*project["dependencies"], *project["optional-dependencies"]["serve"]]
    for lines in (declared, (ROOT / "constraints.txt").read_text().splitlines()):
        for name, floor in FLOORS.items():
            (line,) = [line for line in lines if re.match(rf"{name}[>=]=", line)]
            assert tuple(int(part) for part in re.findall(r"\d+", line)) >= floor, line


def test_the_image_is_built_of_what_is_tested() -> None:
    lines = (ROOT / "Dockerfile").read_text()
    assert re.search(r"^FROM \S+@sha256:[0-9a-f]{64}$", lines, re.M)
    assert "RUN PIP_NO_CACHE_DIR=1 python install.py" in lines and "pip install" not in lines
    assert '"-c", "constraints.txt"' in (ROOT / "install.py").read_text()
