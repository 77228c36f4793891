"""What the page does for somebody who does not know it: example questions, honest remarks, and what may be kept."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf

pytest.importorskip("playwright", reason="needs the playwright package")
pytest.importorskip("sphn", reason="needs the serve extra")
pytest.importorskip("uvicorn", reason="needs the serve extra")
pytest.importorskip("prometheus_client", reason="needs the serve extra")

from playwright.sync_api import Browser, Page, Playwright, expect

from tests.serve.server import until

from .browser import CHROMIUM, chromium, notice, press, watched
from .stand_in import ANSWER, QUESTION, RATE, StandIn

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium here (apt-get install chromium)")


def test_the_model_says_who_it_is_and_what_one_may_ask(page: Page):
    expect(page).to_have_title("Tidal – duologue")
    expect(page.get_by_role("banner")).to_contain_text("Tidal")
    expect(page.get_by_text("Ask about tides or harbours.")).to_be_visible()
    press(page, "When is high water?")
    expect(page.get_by_text("Say: “When is high water?”")).to_be_visible()


def test_a_model_without_a_card_goes_by_its_name(browser: Browser, server: StandIn):
    server.card = None
    page = watched(browser)
    page.goto(server.address)
    expect(page).to_have_title("nano – duologue")
    expect(page.get_by_role("list", name="Questions to begin with")).to_have_count(0)
    page.context.close()


def test_a_question_with_a_recording_is_asked_aloud(playwright: Playwright, server: StandIn, tmp_path: Path):
    """Also by somebody who says nothing: the microphone is silent here."""
    sf.write(tmp_path / "silence.wav", np.zeros(RATE, np.float32), RATE)
    with chromium(playwright, microphone=tmp_path / "silence.wav") as browser:
        page = watched(browser)
        page.goto(server.address)
        press(page, "What is a tide table?")
        expect(page.get_by_label("What was said")).to_contain_text("A tide table lists")
        assert page.evaluate("window.complaints") == []


@pytest.mark.parametrize(("recorded", "words"), [(True, "is recorded"), (False, "Nothing is recorded")])
def test_it_says_whether_it_is_recorded(browser: Browser, server: StandIn, recorded: bool, words: str):
    server.recorded = recorded
    page = watched(browser)
    page.goto(server.address)
    expect(page.get_by_text(words)).to_be_visible()
    press(page, "Start talking")
    expect(page.get_by_role("button", name="Mute")).to_be_visible()
    expect(page.get_by_text("is recorded")).to_have_count(int(recorded))  # all the time, where it is
    page.context.close()


def test_the_text_is_copied_and_saved(page: Page, server: StandIn, tmp_path: Path):
    server.captions = True
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    press(page, "Start talking")
    expect(page.get_by_label("What was said")).to_contain_text("when it is low.")
    press(page, "End")
    saved = {}
    for name, form in (("Save text", "txt"), ("Save JSON", "json"), ("Save subtitles", "vtt")):
        with page.expect_download() as download:
            press(page, name)
        download.value.save_as(tmp_path / form)
        saved[form] = (tmp_path / form).read_text()
        assert re.fullmatch(rf"duologue-[\dT-]+\.{form}", download.value.suggested_filename)
    turns = json.loads(saved["json"])["turns"]
    assert {turn["who"] for turn in turns} == {"user", "agent"}
    assert turns[0]["text"].startswith(QUESTION[:12])
    assert any(turn["text"].endswith(ANSWER[-10:]) for turn in turns)
    assert all(turn["start"] <= turn["end"] for turn in turns)
    assert saved["vtt"].startswith("WEBVTT\n\n00:00:") and "<v Tidal>A tide table" in saved["vtt"]
    assert re.search(r"^\[0:\d\d\] You: What is it", saved["txt"], re.MULTILINE)
    press(page, "Copy text")
    expect(page.get_by_text("Copied")).to_be_visible()
    assert page.evaluate("navigator.clipboard.readText()") == saved["txt"]


def test_figures_are_folded_away_and_stay_as_they_were_left(page: Page):
    press(page, "Start talking")
    figures = page.locator("dl[aria-label=Figures]")
    expect(page.get_by_text("Figures", exact=True)).to_be_visible()
    expect(figures).to_be_hidden()
    page.get_by_text("Figures", exact=True).click()
    expect(figures).to_be_visible()
    page.reload()
    press(page, "Start talking")
    expect(figures).to_be_visible()


def test_figures_unfold_although_they_change_all_the_time(page: Page):
    """The browser tells of the unfolding in a task of its own, before which blocks of sound may come."""
    press(page, "Start talking")
    expect(page.get_by_text("Figures", exact=True)).to_be_visible()
    unfolded = page.evaluate(
        """async () => {
          const details = document.querySelector("details");
          const busyUntil = performance.now() + 300;  // blocks of 20 ms queue up
          while (performance.now() < busyUntil);
          details.querySelector("summary").click();
          await new Promise((done) => setTimeout(done, 500));
          return details.open;
        }"""
    )
    assert unfolded


def test_push_to_talk(page: Page, server: StandIn):
    press(page, "Settings")
    page.get_by_label("Push to talk").check()
    page.keyboard.press("Escape")
    press(page, "Start talking")
    hold = page.get_by_role("button", name="Hold to talk")
    expect(hold).to_have_attribute("aria-pressed", "false")
    page.wait_for_timeout(7000)  # in which the microphone has spoken
    assert np.abs(np.concatenate(server.visits[0].sound[10:])).max() < 1e-3
    page.keyboard.down(" ")
    expect(hold).to_have_attribute("aria-pressed", "true")
    expect(page.get_by_label("What was said")).to_contain_text("You spoke for")
    page.keyboard.up(" ")
    expect(hold).to_have_attribute("aria-pressed", "false")
    expect(page.get_by_role("button", name="End")).to_be_visible()  # the focused button was not pressed
    hold.hover()
    page.mouse.down()
    expect(hold).to_have_attribute("aria-pressed", "true")
    page.mouse.up()
    expect(hold).to_have_attribute("aria-pressed", "false")


def test_the_volume_has_keys_and_is_kept(page: Page):
    press(page, "Start talking")
    expect(page.get_by_role("button", name="Mute")).to_be_visible()
    for _ in range(3):
        page.keyboard.press("ArrowDown")
    press(page, "Settings")
    expect(page.get_by_label("Volume")).to_have_value("0.7")
    expect(page.get_by_text("70 %")).to_be_visible()
    expect(page.get_by_text("mute and unmute")).to_be_visible()  # the keys are shown
    assert page.evaluate("JSON.parse(localStorage['duologue.choices']).volume") == pytest.approx(0.7)


def test_it_says_when_the_computer_is_too_slow_and_takes_it_back(page: Page, server: StandIn):
    press(page, "Start talking")
    server.late = 0.9
    assert "This computer is too slow for now" in notice(page, "slow-server")
    server.late = 0.0
    expect(page.locator("[data-notice=slow-server]")).to_have_count(0)


def test_nothing_moves_when_a_remark_comes(page: Page, server: StandIn):
    """It would be missed by a pointer that is on its way to it."""
    press(page, "Start talking")
    buttons = [page.get_by_text("Figures", exact=True), page.get_by_role("button", name="End")]
    expect(buttons[0]).to_be_visible()
    before = [button.bounding_box() for button in buttons]
    server.late = 0.9
    notice(page, "slow-server")
    assert [button.bounding_box() for button in buttons] == before


def test_it_says_that_it_did_not_catch_that(page: Page, server: StandIn):
    server.deaf = True
    press(page, "Start talking")
    assert "I did not catch that" in notice(page, "not-caught")


def test_a_model_that_reads_can_be_written_to(browser: Browser, server: StandIn):
    server.reads = True
    page = watched(browser)
    page.goto(server.address)
    press(page, "Start talking")
    page.get_by_label("Something for Tidal to know").fill("High water is at noon.")
    page.keyboard.press("Enter")
    expect(page.get_by_text("You wrote: High water is at noon.")).to_be_visible()
    until(lambda: server.visits[0].texts)
    assert server.visits[0].texts == ["High water is at noon."]
    page.context.close()


def test_what_was_heard_is_acknowledged(page: Page, server: StandIn):
    press(page, "Start talking")
    expect(page.get_by_label("What was said")).to_contain_text("A tide table")
    page.wait_for_timeout(1000)
    visit = server.visits[0]
    assert 10 < visit.played <= visit.frames
    page.wait_for_timeout(1000)
    press(page, "End")
    page.wait_for_timeout(500)
    assert visit.frames - 12 < visit.played <= visit.frames  # at the end, too


def test_it_can_be_installed(page: Page):
    manifest = page.evaluate("fetch(document.querySelector('link[rel=manifest]').href).then((r) => r.json())")
    assert manifest["display"] == "standalone" and manifest["start_url"] == "./"
    client = page.context.new_cdp_session(page)
    errors = client.send("Page.getInstallabilityErrors")["installabilityErrors"]
    assert {error["errorId"] for error in errors} <= {"in-incognito"}  # as a test's browser is
