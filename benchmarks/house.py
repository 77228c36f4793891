"""The shape of the code in one table, for somebody who has not read it.

`python -m benchmarks.house [--strict] [COMMIT ...]`: one column a commit, and one for the files as they are. Rows:

    rooms        packages and modules directly below duologue/
    arrows       pairs of rooms of which one imports the other, anywhere in its files
    circles      groups of rooms that import each other, directly or through others, with their members
    files        modules, their lines, and the longest
    functions    lines from `def` to the end without the docstring: mean, 95th percentile, longest
    duplicates   runs of at least 8 lines of code that stand in two places, blank lines, comments and docstrings aside
    strict       errors of pyright in strict mode, with the exceptions of today's pyproject.toml (`--strict`; minutes)
"""

import argparse
import ast
import io
import json
import subprocess
import sys
import tarfile
import tempfile
import tomllib
from collections.abc import Iterator
from pathlib import Path
from statistics import mean

ROOT = Path(__file__).parents[1]
RUN = 8  # lines
PACKAGE = "duologue"

Function = ast.FunctionDef | ast.AsyncFunctionDef


def room_of(module: str) -> str:
    """ "duologue.lm.step" -> "lm"; "duologue" -> "duologue"."""
    return module.split(".")[1] if "." in module else module


def modules(root: Path) -> dict[str, tuple[Path, ast.Module]]:
    """Every module of the package below `root`, by its dotted name."""
    found = {}
    for path in sorted((root / PACKAGE).rglob("*.py")):
        parts = path.relative_to(root).with_suffix("").parts
        found[".".join(parts).removesuffix(".__init__")] = path, ast.parse(path.read_text())
    return found


def imported(tree: ast.Module, package: list[str]) -> Iterator[str]:
    """Names of our own modules that a file imports, at its top or inside a function; `package`: where it lies."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.split(".")[0] == PACKAGE)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            if base == PACKAGE:
                yield from (f"{base}.{alias.name}" for alias in node.names)
            elif base.split(".")[0] == PACKAGE:
                yield base


def arrows_of(found: dict[str, tuple[Path, ast.Module]]) -> dict[str, set[str]]:
    """The rooms that each room imports. The package's own `__init__` and `__main__` are no rooms."""
    rooms = {room_of(name) for name in found if "." in name} - {"__main__"}
    arrows: dict[str, set[str]] = {room: set() for room in sorted(rooms)}
    for name, (path, tree) in found.items():
        if (room := room_of(name)) in rooms:
            package = name.split(".") if path.name == "__init__.py" else name.split(".")[:-1]
            arrows[room] |= {room_of(other) for other in imported(tree, package)} & rooms - {room}
    return arrows


def circles_of(arrows: dict[str, set[str]]) -> list[list[str]]:
    """Groups of rooms each of which can be reached from each other (strongly connected components)."""

    def reached(start: str) -> set[str]:
        seen, left = set(), [start]
        while left:
            for other in arrows[left.pop()] - seen:
                seen.add(other)
                left.append(other)
        return seen

    reach = {room: reached(room) for room in arrows}
    groups = {frozenset(o for o in reach[room] if room in reach[o]) for room in arrows if room in reach[room]}
    return sorted(sorted(group) for group in groups)


def code_lines(path: Path, tree: ast.Module) -> list[tuple[int, str]]:
    """Lines of code with their numbers: no blank lines, comments or docstrings."""
    hidden: set[int] = set()
    for node in ast.walk(tree):
        if (
            isinstance(node, ast.Expr)
            and isinstance(node.value, ast.Constant)
            and isinstance(node.value.value, str)
        ):
            hidden |= set(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    lines = enumerate(path.read_text().splitlines(), 1)
    stripped = ((number, line.strip()) for number, line in lines if number not in hidden)
    return [
        (number, line) for number, line in stripped if line and not line.startswith(("#", "from ", "import "))
    ]


def duplicates(found: dict[str, tuple[Path, ast.Module]]) -> list[tuple[str, str]]:
    """Where runs of `RUN` lines begin that stand in another place too; a longer run counts once."""
    first: dict[tuple[str, ...], str] = {}
    pairs = []
    for path, tree in found.values():
        lines, skip = code_lines(path, tree), 0
        for at in range(len(lines) - RUN + 1):
            key = tuple(line for _, line in lines[at : at + RUN])
            here = f"{path.name}:{lines[at][0]}"
            if key not in first:
                first[key] = here
            elif at >= skip:
                pairs.append((first[key], here))
                skip = at + RUN
            else:
                skip = at + RUN
    return pairs


def length_of(function: Function) -> int:
    """Lines of a function without its docstring."""
    lines = (function.end_lineno or function.lineno) - function.lineno + 1
    first = function.body[0]
    if ast.get_docstring(function) is not None:
        lines -= (first.end_lineno or first.lineno) - first.lineno + 1
    return lines


def percentile(values: list[int], share: float) -> int:
    """The smallest value that is at least as large as `share` of them."""
    return sorted(values)[max(0, -(-round(share * 1e6) * len(values) // 10**6) - 1)]


def strict_errors(root: Path) -> int:
    """Errors of pyright below `root`, by the settings of this repository, whatever the commit's own were."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["pyright"]
    settings |= {"include": [str(root / PACKAGE)], "venvPath": str(ROOT), "reportMissingImports": "none"}
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        json.dump(settings, file)
        file.flush()
        command = [sys.executable, "-m", "pyright", "--outputjson", "-p", file.name]
        done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    return json.loads(done.stdout)["summary"]["errorCount"]


def measure(root: Path, strict: bool) -> dict[str, str]:
    """The rows of one column."""
    found = modules(root)
    arrows = arrows_of(found)
    circles = circles_of(arrows)
    sizes = {
        path.relative_to(root / PACKAGE): len(path.read_text().splitlines()) for path, _ in found.values()
    }
    longest = max(sizes, key=lambda path: sizes[path])
    functions = [
        (length_of(node), f"{path.stem}.{node.name}")
        for path, tree in found.values()
        for node in ast.walk(tree)
        if isinstance(node, Function)
    ]
    lengths = [length for length, _ in functions]
    rows = {
        "rooms": str(len(arrows)),
        "arrows": str(sum(map(len, arrows.values()))),
        "circles": f"{len(circles)}" + "".join(f" ({', '.join(circle)})" for circle in circles),
        "files": f"{len(sizes)} of {mean(sizes.values()):.0f} lines, {sum(sizes.values())} in all",
        "longest file": f"{longest}, {sizes[longest]} lines; {sum(size > 400 for size in sizes.values())} over 400",
        "functions": f"{len(lengths)}, mean {mean(lengths):.1f}, p95 {percentile(lengths, 0.95)} lines",
        "longest function": "{1}, {0} lines".format(*max(functions)),
        "duplicates": str(len(duplicates(found))),
    }
    if strict:
        rows["strict errors"] = str(strict_errors(root))
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "commits", nargs="*", help="commits to compare with; their files are unpacked from git"
    )
    parser.add_argument("--strict", action="store_true", help="run pyright too")
    parser.add_argument("--list", action="store_true", help="name the duplicates of the files as they are")
    options = parser.parse_args()
    columns: dict[str, dict[str, str]] = {}
    for commit in options.commits:
        with tempfile.TemporaryDirectory() as folder:
            packed = subprocess.run(
                ["git", "archive", commit, PACKAGE], cwd=ROOT, capture_output=True, check=True
            )
            with tarfile.open(fileobj=io.BytesIO(packed.stdout)) as tar:
                tar.extractall(folder, filter="data")
            columns[commit] = measure(Path(folder), options.strict)
    columns["now"] = measure(ROOT, options.strict)
    print("| | " + " | ".join(columns) + " |\n" + "|---" * (1 + len(columns)) + "|")
    for row in columns["now"]:
        print(f"| {row} | " + " | ".join(column[row] for column in columns.values()) + " |")
    if options.list:
        for pair in duplicates(modules(ROOT)):
            print(*pair)


if __name__ == "__main__":
    main()
