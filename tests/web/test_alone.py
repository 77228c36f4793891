"""The page without a server: the built site in a real browser runs the model itself, and says what torch says.

It takes minutes, npm and a browser: `make test ARGS="-m slow -k alone"`.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf

pytest.importorskip("playwright", reason="needs the playwright package")
pytest.importorskip("onnxscript", reason="needs the onnx extra")

from playwright.sync_api import Page, Playwright, expect, sync_playwright

from duologue import Session, load
from duologue.audio.files import read_mono
from duologue.engine.session import AgentFrame
from duologue.engine.words import Once
from duologue.weights.convert import convert
from duologue.weights.model import ASSETS

from .browser import CHROMIUM, PATIENCE_MS, chromium
from .static_site import ISOLATED, served

WEB = Path(__file__).parents[2] / "web"
FRAME, RATE = 1920, 24_000
SECONDS = 8  # after the question

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium here (apt-get install chromium)"),
    pytest.mark.skipif(not (WEB / "node_modules").exists(), reason="needs `npm ci` in web/"),
]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As docs/web.md makes it."""
    folder = tmp_path_factory.mktemp("alone") / "site"
    subprocess.run(["npm", "run", "--silent", "site", "--", "--outDir", str(folder)], cwd=WEB, check=True)
    convert("nano", folder / "model", "onnx")
    return folder


@pytest.fixture(scope="module")
def question_S() -> np.ndarray:
    sound_S = np.pad(read_mono(ASSETS / "question.opus"), (0, SECONDS * RATE))
    return sound_S[: len(sound_S) // FRAME * FRAME]


@pytest.fixture(scope="module")
def expected(question_S: np.ndarray) -> list[AgentFrame]:
    session = Session(load("nano"))
    return [session.push(frame_S) for frame_S in question_S.reshape(-1, FRAME)]


@pytest.fixture(scope="module")
def playwright() -> Iterator[Playwright]:
    with sync_playwright() as playwright:
        yield playwright


def tried(page: Page, site: Path, sound_S: np.ndarray) -> dict:
    """What the page's worker says to a recording (`Tried` in web/src/alone/model.worker.ts)."""
    (worker,) = (site / "assets").glob("model.worker-*.js")
    return page.evaluate(
        """([address, sound]) => new Promise((resolve, reject) => {
          const worker = new Worker(address, { type: "module" });
          worker.onerror = (event) => reject(String(event.message));
          worker.onmessage = ({ data }) => {
            if (data.type === "tried") resolve(data);
            if (data.type === "error") reject(data.text);
          };
          worker.postMessage({ type: "try", page: location.href, sound: new Float32Array(sound) });
        })""",
        [f"assets/{worker.name}", sound_S.tolist()],
    )


@pytest.mark.parametrize("threads", [1, 2])
def test_same_tokens(
    playwright: Playwright, site: Path, question_S: np.ndarray, expected: list[AgentFrame], threads: int
):
    """With as many threads as the server's headers allow; the time of a frame is printed."""
    if threads > len(os.sched_getaffinity(0)):
        pytest.skip("one core does not run two threads")
    headers = ISOLATED if threads > 1 else {}
    with served(site, headers) as address, chromium(playwright) as browser:
        page = browser.new_context(service_workers="block").new_page()
        page.set_default_timeout(10 * PATIENCE_MS)
        page.goto(address)
        said = tried(page, site, question_S)
    assert (said["threads"] > 1) == (threads > 1)
    assert said["tokens"] == [frame.token for frame in expected]
    once = Once(load("nano").tokenizer)
    user_tokens = [once.push(i, token) for i, token in enumerate(said["userTokens"])]
    assert user_tokens == [frame.user_token for frame in expected]
    ms = np.array(said["ms"])
    print(f"\n{said['threads']} threads: a frame takes {np.median(ms):.1f} ms, at best {ms.min():.1f}")


def test_conversation(playwright: Playwright, site: Path, tmp_path: Path, expected: list[AgentFrame]):
    """From a microphone, on a server of files that sends no headers: the service worker adds them."""
    microphone = tmp_path / "question.wav"
    sound_S = read_mono(ASSETS / "question.opus")
    sf.write(microphone, np.concatenate([np.zeros(RATE), sound_S, np.zeros(60 * RATE)]), RATE)
    with served(site) as address, chromium(playwright, microphone=microphone) as browser:
        page = browser.new_page()
        page.set_default_timeout(10 * PATIENCE_MS)
        page.goto(address)
        page.wait_for_function("crossOriginIsolated")
        page.get_by_role("button", name="Start talking").click()
        expect(page.get_by_role("button", name="Mute")).to_be_visible(timeout=5 * PATIENCE_MS)
        heard = "".join(frame.user_text for frame in expected).split()[0]
        words = page.get_by_label("What was said").get_by_text(heard)
        too_slow = page.locator("[data-notice=slow-server]")  # on a machine that has much else to do
        expect(words.or_(too_slow).first).to_be_visible(timeout=2 * PATIENCE_MS)


def test_nothing_is_fetched_twice(playwright: Playwright, site: Path):
    """The second visit finds the model in the browser."""
    with served(site) as address, chromium(playwright) as browser:
        context = browser.new_context(service_workers="block")
        graphs: list[str] = []
        context.on("request", lambda request: graphs.append(request.url) if ".onnx" in request.url else None)
        for _ in range(2):
            page: Page = context.new_page()
            page.set_default_timeout(10 * PATIENCE_MS)
            page.goto(address)
            tried(page, site, np.zeros(FRAME, np.float32))
            page.close()
    assert len(graphs) == 3


def test_without_a_model(playwright: Playwright, site: Path, tmp_path: Path):
    alone = tmp_path / "site"
    shutil.copytree(site, alone, ignore=shutil.ignore_patterns("model"))
    with served(alone) as address, chromium(playwright, microphone=tmp_path / "none.wav") as browser:
        page = browser.new_context(service_workers="block").new_page()
        page.goto(address)
        page.get_by_role("button", name="Start talking").click()
        expect(page.locator("[data-notice=no-model]")).to_be_visible(timeout=PATIENCE_MS)
