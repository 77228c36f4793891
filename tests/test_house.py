"""The table of the code's shape, on a package of four small modules."""

from pathlib import Path

from benchmarks.house import arrows_of, circles_of, duplicates, length_of, measure, modules

LINES = "".join(f"    x{n} = {n}\n" for n in range(9))


def package(root: Path, **files: str) -> Path:
    for name, text in files.items():
        path = root / "duologue" / f"{name.replace('_', '/')}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def test_arrows_and_circles(tmp_path: Path) -> None:
    root = package(
        tmp_path,
        a_x="from duologue.b.y import one\nfrom . import z\n",
        a_z="",
        b_y="def one():\n    from ..c import d\n",
        c="import duologue.a.x\n",
    )
    arrows = arrows_of(modules(root))
    assert arrows == {"a": {"b"}, "b": {"c"}, "c": {"a"}}
    assert circles_of(arrows) == [["a", "b", "c"]]
    (root / "duologue" / "c.py").write_text("")
    assert circles_of(arrows_of(modules(root))) == []


def test_duplicates_are_runs_of_code(tmp_path: Path) -> None:
    root = package(tmp_path, a=f"def f():\n{LINES}", b=f'def g():\n    """Other."""\n    # other\n{LINES}')
    assert duplicates(modules(root)) == [("a.py:2", "b.py:4")]
    (root / "duologue" / "b.py").write_text(f"def g():\n{LINES[:80]}")
    assert duplicates(modules(root)) == []


def test_docstrings_do_not_make_a_function_long(tmp_path: Path) -> None:
    root = package(tmp_path, a='def f():\n    """One.\n\n    Two."""\n    return 1\n')
    (_, tree) = modules(root)["duologue.a"]
    assert length_of(tree.body[0]) == 2
    rows = measure(root, strict=False)
    assert rows["functions"] == "1, mean 2.0, p95 2 lines" and rows["rooms"] == "1"
