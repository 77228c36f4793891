"""Models of the hub, through its own client, from a stand-in of its server on this machine."""

import json
import logging
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from duologue.errors import InputError
from duologue.weights import load
from duologue.weights.files import download, locate
from duologue.weights.model import ASSETS
from duologue.weights.published import CODEC_FILE
from tests import golden

COMMIT = {"main": "1" * 40, "v2": "2" * 40}


def repositories() -> dict[str, dict[str, bytes]]:
    """Files by `owner/name@revision`."""
    case, codec = golden.FOLDER / "lm_moshi", golden.FOLDER / "mimi_small"
    config = json.loads((case / "config.json").read_text())
    config |= {
        "mimi_name": "hf://kit/duplex/codec.safetensors",
        "mimi_config_name": "codec.json",
    }
    files = {
        "config.json": json.dumps(config | {"tokenizer_name": "text.model"}).encode(),
        "model.safetensors": (case / "model.safetensors").read_bytes(),
        "text.model": (ASSETS / "tiny" / "tokenizer.model").read_bytes(),
        "codec.safetensors": (codec / "model.safetensors").read_bytes(),
        "codec.json": (codec / "config.json").read_bytes(),
    }
    return {
        "kit/duplex@main": files,
        "kit/duplex@v2": files | {"config.json": json.dumps(config | {"unheard_of": 1}).encode()},
        "kit/seven@main": {CODEC_FILE: b"no config, as the first published models"},
        "kit/nothing@main": {"README.md": b"no model"},
        "kit/escape@main": {
            "config.json": b'{"moshi_name": "../../secret", "tokenizer_name": "hf://kit/seven/x"}'
        },
        "kit/passwd@main": {"config.json": b'{"tokenizer_name": "file:///etc/passwd"}'},
    }


class Hub(BaseHTTPRequestHandler):
    repositories = repositories()
    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:
        self.answer(with_body=False)

    def do_GET(self) -> None:
        self.answer(with_body=True)

    def answer(self, with_body: bool) -> None:
        owner, name, _, revision, *path = (*self.path.strip("/").split("/"), "", "", "", "")[:9]
        file = "/".join(part for part in path if part)
        revision = {commit: r for r, commit in COMMIT.items()}.get(revision, revision)
        self.server.seen.append(f"{self.command} {owner}/{name}@{revision} {file}")  # pyright: ignore
        known = any(key.startswith(f"{owner}/{name}@") for key in self.repositories)
        files = self.repositories.get(f"{owner}/{name}@{revision}")
        if owner == "closed":
            return self.refuse("GatedRepo", 403)
        if not known:
            return self.refuse("RepoNotFound")
        if files is None:
            return self.refuse("RevisionNotFound")
        if file not in files:
            return self.refuse("EntryNotFound", commit=COMMIT[revision])
        body = files[file]
        self.send_response(200)
        self.send_header("X-Repo-Commit", COMMIT[revision])
        self.send_header("ETag", f'"{sha256(body).hexdigest()}"')
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if with_body:
            self.wfile.write(body)
        return None

    def refuse(self, code: str, status: int = 404, commit: str | None = None) -> None:
        self.send_response(status)
        self.send_header("X-Error-Code", code)
        if commit:
            self.send_header("X-Repo-Commit", commit)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def hub() -> Iterator[ThreadingHTTPServer]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    server.seen = []  # pyright: ignore
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


CLIENT = """
import json, sys
from duologue.errors import InputError
from duologue.weights import load

answers = {}
for line in sys.argv[1:]:
    name, _, part = line.partition(" ")
    try:
        model = load(name)
        value = getattr(model, part) if part else model.files.config.lm.temporal.dim
        answers[line] = str(value if isinstance(value, (int, str)) else type(value).__name__)
    except InputError as error:
        answers[line] = f"InputError: {error}"
print(json.dumps(answers))
"""


def ask(endpoint: str, cache: Path, *lines: str) -> dict[str, str]:
    """What `load` gives for each "MODEL [PART]", in a process whose hub is at `endpoint`."""
    environment = os.environ | {
        "HF_ENDPOINT": endpoint, "HF_HOME": str(cache), "HF_HUB_OFFLINE": "0", "HF_HUB_DISABLE_XET": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1", "NO_PROXY": "127.0.0.1",
    }  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-c", CLIENT, *lines], capture_output=True, text=True, timeout=300, env=environment
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_models_of_the_hub(hub: ThreadingHTTPServer, tmp_path: Path) -> None:
    endpoint = f"http://127.0.0.1:{hub.server_port}"
    log_in, out = "run `hf auth login`", "leads out of the model's folder"
    expected = {
        "hf://kit/duplex": "24",
        "hf://kit/duplex name": "hf://kit/duplex",
        "hf://kit/duplex lm": "LM",
        "hf://kit/duplex codec": "Codec",
        "hf://kit/duplex tokenizer": "Tokenizer",
        "hf://kit/duplex@main": "24",
        "hf://kit/seven": "4096",
        "hf://kit/duplex@v2": "InputError: hf://kit/duplex@v2: config.json: unknown key 'unheard_of'",
        "hf://kit/seven lm": "InputError: hf://kit/seven: the repository has no file model.safetensors",
        "hf://kit/duplex@v3": "InputError: hf://kit/duplex@v3: the repository has no revision v3",
        "hf://kit/absent": f"InputError: hf://kit/absent: no such repository; if it is private, {log_in}",
        "hf://closed/model": f"InputError: hf://closed/model: accept its terms on the hub's page, then {log_in}",
        "hf://kit/nothing": "InputError: hf://kit/nothing holds no model: "
        "it has neither a config.json nor weights (model.safetensors)",
        "hf://kit/escape lm": f"InputError: hf://kit/escape: the file name '../../secret' {out}",
        "hf://kit/escape tokenizer": f"InputError: hf://kit/escape: the file name 'hf://kit/seven/x' {out}",
        "hf://kit/passwd tokenizer": f"InputError: hf://kit/passwd: the file name 'file:///etc/passwd' {out}",
    }
    assert ask(endpoint, tmp_path, *expected) == expected
    seen: list[str] = hub.seen  # pyright: ignore
    first = seen.index("GET kit/duplex@main config.json")
    assert seen.index("GET kit/duplex@main model.safetensors") > first
    assert seen.count("GET kit/duplex@main model.safetensors") == 1
    assert seen.count("GET kit/duplex@main codec.safetensors") == 1
    assert not any("README" in line or "secret" in line for line in seen)

    away = f"http://127.0.0.1:{closed_port()}"
    expected = {
        "hf://kit/duplex lm": "LM",
        "hf://kit/seven": "InputError: hf://kit/seven: the hub cannot be reached and no weights are in the cache",
        "hf://kit/other": "InputError: hf://kit/other: the hub cannot be reached and config.json is not in the cache",
    }
    assert ask(away, tmp_path, *expected) == expected


def test_retries_are_one_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    logger = logging.getLogger("huggingface_hub.utils._http")

    def three_times(*_, **__) -> str:
        for attempt in range(3):
            logger.warning(f"Retrying in 1s [Retry {attempt}/5].")
        return "there"

    monkeypatch.setattr("huggingface_hub.hf_hub_download", three_times)
    assert download("kit/duplex", "config.json", None) == Path("there")
    assert capsys.readouterr().err == "hf://kit/duplex: the hub does not answer, trying again\n"
    assert not logger.filters


def test_without_the_network(monkeypatch, tmp_path: Path) -> None:
    """As the suite is run: with HF_HUB_OFFLINE set."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(InputError, match="HF_HUB_OFFLINE is set and config.json is not in the cache"):
        load("hf://kit/duplex")


def test_a_file_that_may_be_missing_is_missing_without_the_network(monkeypatch, tmp_path: Path) -> None:
    """A cached model that has no card, or whose card was never asked for, is served offline."""
    cached = tmp_path / "models--kit--duplex"
    (cached / "refs").mkdir(parents=True)
    (cached / "refs" / "main").write_text("0" * 40)
    (cached / "snapshots" / ("0" * 40)).mkdir(parents=True)
    (cached / "snapshots" / ("0" * 40) / "config.json").write_text("{}")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    files = locate("hf://kit/duplex")
    assert files.optional("config.json") and files.optional("card.json") is None
    with pytest.raises(InputError, match="HF_HUB_OFFLINE is set and card.json is not in the cache"):
        files.find("card.json")


def closed_port() -> int:
    """A port at which nobody answers."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    server.server_close()
    return server.server_port
