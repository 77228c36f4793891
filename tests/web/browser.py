"""Debian's Chromium with a microphone that plays a file."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import soundfile as sf
from playwright.sync_api import Browser, Page, Playwright, expect

from .stand_in import RATE, voice

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
QUESTION = voice(8, 120.0, seed=1)
CUTTING_IN = voice(6, 125.0, seed=2)
PATIENCE_MS = 60_000  # on a machine that has much else to do
expect.set_options(timeout=PATIENCE_MS)


def questions(path: Path) -> Path:
    """A wav that a conversation can be held with: a question, a pause in which the answer begins, another question
    that cuts in, and a long pause. Chromium plays it again and again."""

    def pause(seconds: float) -> np.ndarray:
        return np.zeros(int(seconds * RATE), np.float32)

    sound = np.concatenate([pause(0.8), QUESTION, pause(2.4), CUTTING_IN, pause(6.0)])
    sf.write(path, sound, RATE, subtype="PCM_16")
    return path


@contextmanager
def chromium(playwright: Playwright, *flags: str, microphone: Path | None = None) -> Iterator[Browser]:
    """A headless browser; without `microphone` there is none."""
    fake = [
        "--use-fake-device-for-media-stream",
        "--use-fake-ui-for-media-stream",
        f"--use-file-for-fake-audio-capture={microphone}",
    ]
    arguments = [
        "--no-sandbox",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        *(fake if microphone else []),
        *flags,
    ]
    browser = playwright.chromium.launch(executable_path=CHROMIUM, args=arguments, timeout=PATIENCE_MS)
    try:
        yield browser
    finally:
        browser.close()


def watched(browser: Browser) -> Page:
    """A page that notes down errors of scripts and of the content policy."""
    page = browser.new_context(viewport={"width": 1280, "height": 800}, accept_downloads=True).new_page()
    page.set_default_timeout(PATIENCE_MS)
    page.add_init_script(
        """window.complaints = [];
        for (const type of ["error", "unhandledrejection", "securitypolicyviolation"])
          addEventListener(type, (e) => complaints.push(String(e.message ?? e.reason ?? e.violatedDirective)));"""
    )
    return page


def press(page: Page, name: str) -> None:
    page.get_by_role("button", name=name).click()


def notice(page: Page, name: str) -> str:
    box = page.locator(f"[data-notice={name}]")
    expect(box).to_be_visible()
    return box.inner_text()
