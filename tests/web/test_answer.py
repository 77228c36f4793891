"""A spoken question, asked in a real browser of a real server; the answer is found in the recording by an ASR.

It needs the weights of faster-whisper: DUOLOGUE_WHISPER names a folder that holds them. With DUOLOGUE_MODEL the
question is asked of that model, and what is found is held against its captions; without, of an echo, which says the
question.
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
WHISPER, MODEL = os.environ.get("DUOLOGUE_WHISPER"), os.environ.get("DUOLOGUE_MODEL")
RATE = 24_000

pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium here (apt-get install chromium)"),
    pytest.mark.skipif(not WHISPER, reason="DUOLOGUE_WHISPER names no folder with an ASR"),
]


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    if MODEL:
        served = Process("--model", MODEL, "--sessions", "1")
        yield served.address
        served.process.terminate()
        served.process.communicate()
    else:
        server = Server(Settings(sessions=1))
        yield server.address
        server.close()


def spelt(text: str) -> list[str]:
    return re.findall(r"[a-z0-9']+", text.lower())


def test_the_answer_is_in_the_recording(address: str, tmp_path: Path):
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
        expect(page.get_by_label("What was said")).to_contain_text("You spoke for", timeout=PATIENCE_MS)
        page.wait_for_timeout(12_000 if MODEL else 2_000)
        shown = page.get_by_label("What was said").inner_text()
        page.get_by_role("button", name="End", exact=True).click()
        with page.expect_download() as download:
            page.get_by_role("button", name="Download the recording").click()
        download.value.save_as(tmp_path / "recording.wav")
    wav_SC, _ = sf.read(tmp_path / "recording.wav", dtype="float32")
    recognise = Recognizer(WHISPER or "", threads=1)
    found = spelt(recognise(wav_SC[:, 0]))
    expected = spelt(re.sub(r"You spoke for.*", "", shown) if MODEL else recognise(question_S))
    assert len(expected) >= 3
    known = sum(word in found for word in set(expected)) / len(set(expected))
    assert known >= (0.5 if MODEL else 0.7), (expected, found)
