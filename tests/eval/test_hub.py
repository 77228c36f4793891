"""A model on its way to the hub: the requests that the hub's client sends, to a stand-in of the hub on this machine."""

import base64
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import huggingface_hub as hub
import huggingface_hub.constants as constants
import pytest

import duologue
from duologue.cli import main
from duologue.errors import InputError
from duologue.eval.hub import front_matter, push_to_hub


class Hub(ThreadingHTTPServer):
    """Creates repositories and takes commits. `status`: what it answers to a commit."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Answer)
        self.created: list[dict] = []
        self.files: dict[str, bytes] = {}
        self.status = 200

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class Answer(BaseHTTPRequestHandler):
    server: Hub

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        assert self.headers["Authorization"] == "Bearer hf_secret"
        status, answer = 200, {"url": f"{self.server.url}/me/mine"}
        if self.path == "/api/validate-yaml":
            answer = {"errors": [], "warnings": []}
        elif self.path == "/api/repos/create":
            self.server.created.append(json.loads(body))
        elif self.path == "/api/models/me/mine/preupload/main":
            files = [file["path"] for file in json.loads(body)["files"]]
            answer = {"files": [{"path": f, "uploadMode": "regular", "shouldIgnore": False} for f in files]}
        elif self.path == "/api/models/me/mine/commit/main":
            status = self.server.status
            for line in map(json.loads, body.splitlines()):
                if line["key"] == "file":
                    self.server.files[line["value"]["path"]] = base64.b64decode(line["value"]["content"])
            answer = {"commitUrl": f"{self.server.url}/me/mine/commit/{'0' * 40}", "commitOid": "0" * 40}
        else:
            status, answer = 404, {"error": f"no route {self.path}"}
        self._answer(status, answer)

    def do_GET(self) -> None:
        self._answer(404, {"error": "not found"})

    def _answer(self, status: int, answer: dict) -> None:
        text = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_) -> None:
        """Nothing on the terminal."""


@pytest.fixture
def stand_in(monkeypatch):
    server = Hub()
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "ENDPOINT", server.url)
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


def test_a_model_arrives_whole_with_its_card(stand_in, tmp_path: Path, capsys) -> None:
    main(["push", "tiny", "me/mine", "--private"])
    assert capsys.readouterr().out.strip() == f"{stand_in.url}/me/mine/commit/{'0' * 40}"
    (made,) = stand_in.created
    assert (made["organization"], made["name"]) == ("me", "mine")
    assert made.get("private") is True or made.get("visibility") == "private"
    for name, content in stand_in.files.items():
        (tmp_path / name).write_bytes(content)
    arrived, tiny = duologue.load(str(tmp_path)), duologue.load("tiny")
    assert set(arrived.parts()) == {"lm", "codec", "tokenizer"}
    theirs = dict(arrived.lm.named_parameters())
    assert all(theirs[name].equal(weight) for name, weight in tiny.lm.named_parameters())
    card = (tmp_path / "README.md").read_text()
    assert card.startswith("---\nlicense: other\nlibrary_name: duologue\npipeline_tag: audio-to-audio\n")
    assert "duologue talk question.wav answer.wav --model hf://me/mine" in card


def test_what_the_hub_refuses_is_one_line(stand_in, monkeypatch) -> None:
    stand_in.status = 403
    with pytest.raises(InputError, match="cannot push to hf://me/mine: the token may not write there"):
        push_to_hub("tiny", "me/mine")
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(InputError, match="cannot push to hf://me/mine: "):
        push_to_hub("tiny", "me/mine")


def test_without_a_name_or_a_token_nothing_is_done(monkeypatch) -> None:
    with pytest.raises(InputError, match="written OWNER/NAME"):
        push_to_hub("tiny", "mine")
    monkeypatch.setattr(hub, "get_token", lambda: None)
    with pytest.raises(InputError, match="run `hf auth login`"):
        push_to_hub("tiny", "me/mine")


def test_the_hub_is_told_license_and_task() -> None:
    assert "license: mit\n" in front_matter({"license": "MIT."}, ("lm", "codec"))
    assert "pipeline_tag: feature-extraction\n" in front_matter({}, ("codec",))
