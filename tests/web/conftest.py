"""A browser with a microphone, a stand-in for the server, and a page of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page, Playwright

    from .stand_in import StandIn


@pytest.fixture(scope="module")
def microphone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from .browser import questions

    return questions(tmp_path_factory.mktemp("microphone") / "questions.wav")


@pytest.fixture(scope="module")
def playwright() -> Iterator[Playwright]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        yield playwright


@pytest.fixture(scope="module")
def browser(playwright: Playwright, microphone: Path) -> Iterator[Browser]:
    from .browser import chromium

    with chromium(playwright, microphone=microphone) as browser:
        yield browser


@pytest.fixture
def server() -> Iterator[StandIn]:
    from .stand_in import StandIn

    with StandIn() as server:
        yield server


@pytest.fixture
def page(browser: Browser, server: StandIn) -> Iterator[Page]:
    from .browser import watched

    page = watched(browser)
    page.goto(server.address)
    yield page
    complaints = page.evaluate("window.complaints")
    page.context.close()
    assert complaints == []
