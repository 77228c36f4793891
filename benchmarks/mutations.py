"""Mutation testing: faults are put into the code, one at a time; does a test detect each?

    python -m benchmarks.mutations                 # all of mutations.toml
    python -m benchmarks.mutations --only shards   # those whose file or description has this (or another) in it

A fault is a text of a file that is replaced by another; the tests named with it must fail. They are run in a copy of
the working tree, first without any fault. Prints a line each; exits with 1 if one was not seen.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import tomllib
from dataclasses import dataclass
from pathlib import Path

import tyro

ROOT = Path(__file__).parent.parent
PASSED, FAILED = 0, 1  # pytest's exit codes


@dataclass(frozen=True)
class Mutation:
    """`old` of `file` becomes `new`; `tests` are pytest's names, with spaces between."""

    what: str
    file: str
    old: str
    new: str
    tests: str


@dataclass
class Mutations:
    only: tuple[str, ...] = ()
    """Parts of the description or the file."""
    patience: float = 300.0
    """Seconds after which tests that hang count as failed."""


def copy_tree(target: Path) -> None:
    """The working tree, without what git ignores."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    for name in subprocess.run(command, cwd=ROOT, capture_output=True, check=True, text=True).stdout.split(
        "\0"
    ):
        if name and (ROOT / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, target / name)
    for ignored in ("duologue/assets", "duologue/serve/static"):
        shutil.copytree(ROOT / ignored, target / ignored, dirs_exist_ok=True)


def run(tree: Path, tests: str, patience: float) -> int | None:
    """pytest's exit code; None if it hung."""
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *tests.split()]
    environment = os.environ | {"PYTHONPATH": str(tree), "PYTHONDONTWRITEBYTECODE": "1"}
    try:
        return subprocess.run(
            command, cwd=tree, env=environment, timeout=patience, capture_output=True
        ).returncode
    except subprocess.TimeoutExpired:
        return None


def main(options: Mutations) -> None:
    rows = tomllib.loads((ROOT / "benchmarks" / "mutations.toml").read_text())["mutation"]
    chosen = [
        m
        for m in (Mutation(**row) for row in rows)
        if any(part in m.what + m.file for part in options.only or [""])
    ]
    seen = 0
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder)
        copy_tree(tree)
        tests = dict.fromkeys(name for mutation in chosen for name in mutation.tests.split())
        if run(tree, " ".join(tests), len(chosen) * options.patience) != PASSED:
            sys.exit("the tests fail without any fault")
        for mutation in chosen:
            path = tree / mutation.file
            whole = path.read_text()
            if whole.count(mutation.old) != 1:
                print(
                    f"STALE     {mutation.what}: its text is {whole.count(mutation.old)} times in {mutation.file}"
                )
                continue
            path.write_text(whole.replace(mutation.old, mutation.new))
            code = run(tree, mutation.tests, options.patience)
            path.write_text(whole)
            seen += code in (FAILED, None)
            word = {PASSED: "SURVIVED", FAILED: "seen", None: "seen (hangs)"}.get(code, f"ERROR {code}")
            print(f"{word:9} {mutation.what}", flush=True)
    print(f"{seen} of {len(chosen)} seen")
    sys.exit(seen < len(chosen))


if __name__ == "__main__":
    main(tyro.cli(Mutations))
