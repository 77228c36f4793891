"""The lines of docs/serving.md that call a server over WebRTC, in a real browser."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

pytest.importorskip("playwright", reason="needs the playwright package")
pytest.importorskip("aiortc", reason="needs the webrtc extra")
pytest.importorskip("uvicorn", reason="needs the serve extra")

from playwright.sync_api import sync_playwright

from duologue.serve.settings import Settings
from tests.serve.server import Server, until

from .browser import CHROMIUM, PATIENCE_MS, chromium, questions

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium here (apt-get install chromium)")
DOCS = Path(__file__).parents[2] / "docs" / "serving.md"
HEARD = """async () => {
  for (const report of (await window.peer.getStats()).values())
    if (report.type === "inbound-rtp" && report.kind === "audio") return report.totalAudioEnergy;
  return 0;
}"""


def test_a_browser_calls(tmp_path: Path):
    (lines,) = re.findall(r"```js\n(.*?)```", DOCS.read_text(), re.DOTALL)
    lines = lines.replace("console.log(JSON.parse(data))", "window.events.push(JSON.parse(data).type)")
    server = Server(Settings(sessions=1))
    try:
        with (
            sync_playwright() as playwright,
            chromium(playwright, microphone=questions(tmp_path / "questions.wav")) as browser,
        ):
            page = browser.new_page()
            page.set_default_timeout(PATIENCE_MS)
            page.goto(f"http://{server.address}/")
            page.evaluate(
                f"async () => {{ window.events = []; const speaker = new Audio(); speaker.autoplay = true;\n{lines}\n"
                "window.peer = peer; }"
            )
            until(lambda: "response.done" in page.evaluate("window.events"))
            assert page.evaluate("window.events")[0] == "session.created"
            until(lambda: page.evaluate(HEARD) > 1e-4)
        until(lambda: server.service.engine.used == 0)  # the browser is gone
    finally:
        server.close()
