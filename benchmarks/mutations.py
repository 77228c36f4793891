"""Mutation testing: faults are put into the code, one at a time; does a test detect each?

    python -m benchmarks.mutations                 # all of mutations.toml
    python -m benchmarks.mutations --only shards   # those whose file or description has this (or another) in it
    python -m benchmarks.mutations --seen seen.txt # a run that was stopped goes on

A fault is a text of a file that is replaced by another; the tests named with it must fail. They are run in a copy of
the working tree, and first without the fault. With `--seen`, a fault that a test detected is written down, and is not
tried again while its file and its tests are the same. Prints a line each; exits with 1 if one was not seen.
"""

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import tomllib
from dataclasses import dataclass, field
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
    seen: Path | None = None
    """A file to which what was detected is added."""


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


def digest(mutation: Mutation, tree: Path) -> str:
    """Of the fault, its file and its tests, as they are in `tree`."""
    names = [mutation.file, *dict.fromkeys(test.split("::")[0] for test in mutation.tests.split())]
    parts = [repr(mutation).encode(), *[(tree / name).read_bytes() for name in names]]
    return hashlib.sha256(b"\0".join(parts)).hexdigest()


@dataclass
class Copy:
    """A copy of the working tree, in which tests are run."""

    tree: Path
    patience: float
    good: set[str] = field(default_factory=set)
    """Tests that pass without any fault."""

    def run(self, tests: str) -> tuple[int | None, str]:
        """pytest's exit code, None if it hung; and the last line that it printed."""
        command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *tests.split()]
        environment = os.environ | {"PYTHONPATH": str(self.tree), "PYTHONDONTWRITEBYTECODE": "1"}
        try:
            done = subprocess.run(
                command, cwd=self.tree, env=environment, timeout=self.patience, capture_output=True, text=True
            )
        except subprocess.TimeoutExpired:
            return None, "it hung"
        lines = [line for line in done.stdout.splitlines() if line.startswith(("FAILED", "ERROR"))]
        return done.returncode, lines[0] if lines else ""

    def attempt(self, mutation: Mutation) -> str:
        """Run the tests without and with the fault: what to print."""
        path = self.tree / mutation.file
        whole = path.read_text()
        if (count := whole.count(mutation.old)) != 1:
            return f"STALE: its text is {count} times in {mutation.file};"
        if mutation.tests not in self.good:
            code, line = self.run(mutation.tests)
            if code != PASSED:
                return f"ERROR: without the fault, {line};"
            self.good.add(mutation.tests)
        path.write_text(whole.replace(mutation.old, mutation.new))
        code, line = self.run(mutation.tests)
        path.write_text(whole)
        return {PASSED: "SURVIVED", FAILED: "seen", None: "seen (hangs)"}.get(code, f"ERROR {code} {line};")


def main(options: Mutations) -> None:
    rows = tomllib.loads((ROOT / "benchmarks" / "mutations.toml").read_text())["mutation"]
    chosen = [
        m
        for m in (Mutation(**row) for row in rows)
        if any(part in m.what + m.file for part in options.only or [""])
    ]
    before = set(options.seen.read_text().split()) if options.seen and options.seen.exists() else set()
    left = [mutation for mutation in chosen if digest(mutation, ROOT) not in before]
    seen = len(chosen) - len(left)
    with tempfile.TemporaryDirectory() as folder:
        copy_tree(Path(folder))
        copy = Copy(Path(folder), options.patience)
        for mutation in left:
            told = copy.attempt(mutation)
            print(f"{told:12} {mutation.what}", flush=True)
            if told.startswith("seen"):
                seen += 1
                if options.seen:
                    with options.seen.open("a") as file:
                        file.write(digest(mutation, copy.tree) + "\n")
    print(f"{seen} of {len(chosen)} seen")
    sys.exit(seen < len(chosen))


if __name__ == "__main__":
    main(tyro.cli(Mutations))
