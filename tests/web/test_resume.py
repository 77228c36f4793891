"""The page goes on with a conversation whose connection was cut: nothing that was said is lost, and nothing twice."""

from __future__ import annotations

import json
import re
import socket
import struct
import threading
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf

pytest.importorskip("playwright", reason="needs the playwright package")
pytest.importorskip("uvicorn", reason="needs the serve extra")
pytest.importorskip("prometheus_client", reason="needs the serve extra")

from playwright.sync_api import Playwright, expect

from duologue.serve import line
from duologue.serve.settings import Settings
from duologue.weights import load
from tests.engine.virtual import EchoBackend
from tests.serve.server import Server, until

from .browser import CHROMIUM, chromium, press, watched
from .stand_in import RATE, voice

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium here (apt-get install chromium)")
COUNTING = [f" {word}" for word in ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine")]


class Counting(EchoBackend):
    """Gives back what it hears, and counts its frames in its text, from one to nine and again."""

    def __init__(self, slots: int):
        super().__init__(slots)
        encode = load("tiny").tokenizer.encode
        self._tokens = [encode(word.strip()) for word in COUNTING]
        assert all(len(tokens) >= 1 for tokens in self._tokens)

    def step(self, wav_BS, exec_B, rewrite=None):
        frames = super().step(wav_BS, exec_B, rewrite)
        for slot in np.flatnonzero(exec_B):
            frames.text_B[slot] = self.token(int(self.count_B[slot]))
        return frames

    def token(self, count: int) -> int:
        flat = [token for tokens in self._tokens for token in tokens]
        return flat[count % len(flat)]


class Cable:
    """Passes bytes between a browser and a server, until it is cut: every connection is reset, and while it is `dead`,
    none can be made."""

    def __init__(self, address: str):
        host, port = address.split(":")
        self._to = host, int(port)
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._listening.getsockname()[1]}"
        self.dead = False
        self._ends: list[socket.socket] = []
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        while True:
            try:
                near, _ = self._listening.accept()
            except OSError:
                return
            if self.dead:
                _reset(near)
                continue
            far = socket.create_connection(self._to)
            self._ends += [near, far]
            for source, target in ((near, far), (far, near)):
                threading.Thread(target=_copy, args=(source, target), daemon=True).start()

    def cut(self) -> None:
        ends, self._ends = self._ends, []
        for end in ends:
            _reset(end)

    def close(self) -> None:
        self._listening.close()
        self.cut()


def _copy(source: socket.socket, target: socket.socket) -> None:
    try:
        while data := source.recv(1 << 16):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)
    except OSError:
        pass


def _reset(end: socket.socket) -> None:
    """Close with RST, as a router that has forgotten the connection."""
    try:
        end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        end.shutdown(socket.SHUT_RDWR)
    except OSError:
        pass
    end.close()


@pytest.fixture
def humming(tmp_path: Path) -> Path:
    """A microphone that never falls silent, so that every word is spoken aloud by the echo."""
    sf.write(tmp_path / "hum.wav", voice(40, 120.0, seed=5), RATE, subtype="PCM_16")
    return tmp_path / "hum.wav"


def test_a_cut_line_loses_no_word_and_repeats_none(playwright: Playwright, humming: Path, tmp_path: Path):
    backend = Counting(1)
    server = Server(Settings(sessions=1, queue=0), backend, record=tmp_path / "kept")
    cable = Cable(server.address)
    try:
        with chromium(playwright, microphone=humming) as browser:
            page = watched(browser)
            page.goto(f"http://{cable.address}/")
            press(page, "Start talking")
            captions = page.locator("li.agent")
            expect(captions.first).to_contain_text("nine")
            for away in (0, 0, 3):
                cable.dead = True
                cable.cut()
                expect(page.locator("[data-notice=reconnecting]")).to_be_visible()
                assert server.service.engine.used == 1
                page.wait_for_timeout(1000 * away)
                said = backend.count_B[0]
                cable.dead = False
                expect(page.locator("[data-notice=reconnecting]")).to_have_count(0)
                until(lambda said=said: backend.count_B[0] > said + 25)
            page.wait_for_timeout(2500)
            press(page, "End")
            expect(page.get_by_role("button", name="Talk again")).to_be_visible()
            words = "".join(captions.all_inner_texts()).replace("echo:", " ").split()
            shown = " ".join(words)
            assert page.evaluate("window.complaints") == []
            page.context.close()
        until(lambda: server.service.engine.used == 0, 5.0)  # it said goodbye: nobody is waited for
        assert server.service.metrics.begun.labels("kyutai")._value.get() == 1
    finally:
        cable.close()
        server.close()
    expected = " ".join(load("tiny").tokenizer.decode([backend.token(n) for n in range(2, 2000)]).split())
    start = expected.index(" ".join(words[:12]))
    assert expected[start:].startswith(shown)
    assert len(words) > 50
    # What left the server but was never played is in no transcript.
    server.service.recorder.close()
    (kept,) = (json.loads(path.read_text()) for path in (tmp_path / "kept").glob("*.json"))
    assert len(words) - 3 <= len(kept["words"]) <= len(words) + 12


def test_a_line_that_stays_dead_is_given_up(playwright: Playwright, humming: Path, monkeypatch):
    """The server frees the slot; when the page is back, the conversation begins anew, and it says so."""
    monkeypatch.setattr(line, "WAIT_SECONDS", 1.0)
    server = Server(Settings(sessions=1, queue=0))
    cable = Cable(server.address)
    try:
        with chromium(playwright, microphone=humming) as browser:
            page = watched(browser)
            page.goto(f"http://{cable.address}/")
            press(page, "Start talking")
            expect(page.get_by_role("button", name=re.compile("Mute"))).to_be_visible()
            cable.dead = True
            cable.cut()
            until(lambda: server.service.engine.used == 0)
            cable.dead = False
            expect(page.get_by_text("Reconnected. The conversation begins afresh.")).to_be_visible()
            assert server.service.engine.used == 1
    finally:
        cable.close()
        server.close()
