"""Takes a picture of every state of the page: `python -m tests.web.screens docs/screens`."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from playwright.sync_api import Page, expect, sync_playwright

from .browser import PATIENCE_MS, chromium, questions
from .stand_in import StandIn

DESK, PHONE = {"width": 1280, "height": 800}, {"width": 390, "height": 844}


def main(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    expect.set_options(timeout=PATIENCE_MS)
    with tempfile.TemporaryDirectory() as scratch, StandIn() as server, sync_playwright() as playwright:
        microphone = questions(Path(scratch) / "questions.wav")
        other_host = "--host-resolver-rules=MAP talk.example 127.0.0.1"
        with chromium(playwright, other_host, microphone=microphone) as browser:

            def opened(scheme: str = "light", size=DESK, address: str = server.address) -> Page:
                page = browser.new_page(viewport=size, color_scheme=scheme)
                page.goto(address)
                page.wait_for_timeout(400)
                return page

            def taken(page: Page, name: str, close: bool = True) -> None:
                page.mouse.move(2, 400)
                page.wait_for_timeout(500)
                page.screenshot(path=folder / f"{name}.png")
                if close:
                    page.close()

            def press(page: Page, name: str) -> None:
                page.get_by_role("button", name=name).click()

            server.scenario, server.captions = "talk", True
            for name, scheme, size in (("", "light", DESK), ("-dark", "dark", DESK), ("-phone", "light", PHONE),
                                       ("-phone-dark", "dark", PHONE)):  # fmt: skip
                page = opened(scheme, size)
                taken(page, f"idle{name}", close=False)
                press(page, "Start talking")
                expect(page.get_by_label("What was said")).to_contain_text("you cut in")
                page.wait_for_timeout(3500)
                taken(page, f"talking{name}", close=False)
                if name == "":
                    press(page, "Mute")
                    taken(page, "muted", close=False)
                press(page, "End")
                taken(page, f"over{name}")

            for name, scheme, size in (("settings", "light", DESK), ("settings-phone-dark", "dark", PHONE)):
                page = opened(scheme, size)
                press(page, "Settings")
                taken(page, name)

            for scenario, size in (("slow", DESK), ("queue", PHONE), ("down", DESK), ("full", PHONE)):
                server.scenario = scenario
                page = opened(size=size)
                press(page, "Start talking")
                page.wait_for_timeout(2500)
                names = {
                    "slow": "connecting",
                    "queue": "queue-phone",
                    "down": "unreachable",
                    "full": "full-phone",
                }
                taken(page, names[scenario])

            server.scenario, server.key = "talk", "sesame"
            page = opened()
            press(page, "Start talking")
            page.wait_for_timeout(1500)
            taken(page, "key")
            server.key = None

            page = opened(scheme="dark")
            press(page, "Start talking")
            expect(page.get_by_label("What was said")).to_contain_text("table lists")
            page.context.set_offline(True)
            server.scenario = "drop"
            page.get_by_text("Try 3 of 5").wait_for(timeout=PATIENCE_MS)
            taken(page, "reconnecting-dark")
            taken(opened(address=f"http://talk.example:{server.port}/", size=PHONE), "plain-http-phone")
        with chromium(playwright) as browser:
            page = browser.new_page(viewport=DESK)
            page.goto(server.address)
            page.get_by_role("button", name="Start talking").click()
            expect(page.locator("[data-notice]")).to_be_visible()
            page.screenshot(path=folder / "no-microphone.png")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
