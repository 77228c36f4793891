"""The committed page is the one its sources make. Checked by digests, so that this needs no node."""

import hashlib
import json
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
WEB, STATIC = ROOT / "web", ROOT / "duologue" / "serve" / "static"
INPUTS = ["index.html", "package.json", "package-lock.json", "svelte.config.js", "tsconfig.json", "vite.config.ts",
          "build-record.ts", "isolation.ts", "public", "src"]  # fmt: skip


def digest(root: Path, names: list[str]) -> str:
    lines = (f"{hashlib.sha256((root / name).read_bytes()).hexdigest()}  {name}\n" for name in sorted(names))
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def files(root: Path, top: Path) -> list[str]:
    paths = [top] if top.is_file() else [path for path in top.rglob("*") if path.is_file()]
    return [path.relative_to(root).as_posix() for path in paths]


@pytest.mark.skipif(not WEB.exists(), reason="the page's sources are not shipped here")
def test_built_from_these_sources():
    names = [name for top in INPUTS for name in files(WEB, WEB / top) if not name.endswith(".test.ts")]
    record = json.loads((STATIC / "build.json").read_text())
    assert record["inputs"] == digest(WEB, names), (
        "run `npm ci && npm run build` in web/ and commit the result"
    )


def test_built_files_untouched():
    names = [name for name in files(STATIC, STATIC) if name != "build.json"]
    assert json.loads((STATIC / "build.json").read_text())["outputs"] == digest(STATIC, names)


def test_small():
    assert sum(path.stat().st_size for path in STATIC.rglob("*") if path.is_file()) < 1_000_000


def test_addresses_are_relative():
    page = (STATIC / "index.html").read_text()
    assert 'src="/' not in page
    assert 'href="/' not in page


@pytest.mark.skipif(not WEB.exists(), reason="the page's sources are not shipped here")
def test_lock_names_no_host():
    assert "resolved" not in (WEB / "package-lock.json").read_text()
