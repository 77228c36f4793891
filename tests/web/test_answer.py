"""A spoken question, asked in a real browser of a real server; the answer is found in the recording by an ASR.

It needs the weights of faster-whisper: DUOLOGUE_WHISPER names a folder that holds them (`.ci/run` installs some). Asked
are an echo, which says the question, and the model that comes with the package, whose captions say what it answered.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf

pytest.importorskip("playwright", reason="needs the playwright package")
pytest.importorskip("uvicorn", reason="needs the serve extra")

from playwright.sync_api import expect, sync_playwright

from duologue.audio.files import read_mono
from duologue.eval.speech import Recognizer
from duologue.serve.settings import Settings
from tests.serve.server import Server
from tests.serve.test_run import Process

from .browser import CHROMIUM, PATIENCE_MS, chromium

QUESTION = Path(__file__).parents[2] / "duologue" / "assets" / "question.opus"
WHISPER = os.environ.get("DUOLOGUE_WHISPER")
RATE = 24_000

pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium here (apt-get install chromium)"),
    pytest.mark.skipif(not WHISPER, reason="DUOLOGUE_WHISPER names no folder with an ASR"),
]


@pytest.fixture(params=["echo", "nano"])
def served(request: pytest.FixtureRequest) -> Iterator[tuple[str, str]]:
    """Who is asked, and the address."""
    if request.param == "nano":
        nano = Process("--sessions", "1")
        yield request.param, nano.address
        nano.process.terminate()
        nano.process.communicate()
    else:
        echo = Server(Settings(sessions=1))
        yield request.param, echo.address
        echo.close()


def spelt(text: str) -> list[str]:
    return re.findall(r"[a-z0-9']+", text.lower())


def test_the_answer_is_in_the_recording(served: tuple[str, str], tmp_path: Path):
    who, address = served
    question_S = read_mono(QUESTION)
    pause_S = np.zeros(2 * RATE, np.float32)
    sf.write(tmp_path / "question.wav", np.concatenate([pause_S, question_S, *[pause_S] * 8]), RATE)
    with (
        sync_playwright() as playwright,
        chromium(playwright, microphone=tmp_path / "question.wav") as browser,
    ):
        page = browser.new_context(accept_downloads=True).new_page()
        page.set_default_timeout(PATIENCE_MS)
        page.goto(f"http://{address}/")
        page.get_by_role("button", name="Start talking").click()
        title = page.title().partition(" – ")[0]
        said = page.locator("li.agent" if who == "nano" else "li.you")
        expect(said.first).to_be_visible(timeout=PATIENCE_MS)
        # On a busy machine an answer takes longer than it lasts: wait until nothing more is said, and heard.
        lines = list[str]()
        for _ in range(6):
            page.wait_for_timeout(6_000 if who == "nano" else 2_000)
            before, lines = lines, said.all_inner_texts()
            if lines == before:
                break
        shown = " ".join(lines).replace(f"{title}:", "")
        page.get_by_role("button", name="End", exact=True).click()
        with page.expect_download() as download:
            page.get_by_role("button", name="Download the recording").click()
        download.value.save_as(tmp_path / "recording.wav")
    wav_SC, _ = sf.read(tmp_path / "recording.wav", dtype="float32")
    recognise = Recognizer(WHISPER or "", threads=1)
    found = spelt(recognise(wav_SC[:, 0]))
    expected = spelt(shown if who == "nano" else recognise(question_S))
    assert len(expected) >= 3
    known = sum(word in found for word in set(expected)) / len(set(expected))
    assert known >= (0.5 if who == "nano" else 0.7), (expected, found)
