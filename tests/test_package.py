"""The wheel, installed outside the clone: what a user of the package gets."""

import subprocess
import sys
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
