"""The page in a real browser, with a made-up microphone: a whole conversation, and everything that may go wrong."""

from __future__ import annotations

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

from duologue.serve.settings import Settings
from tests.serve.server import Server, until

from .browser import CHROMIUM, chromium, notice, press, watched
from .stand_in import RATE, StandIn

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium here (apt-get install chromium)")


def pieces(sound: np.ndarray) -> np.ndarray:
    """Loudness, 20 pieces a second."""
    size = RATE // 20
    return np.sqrt(np.mean(sound[: len(sound) // size * size].reshape(-1, size) ** 2, axis=1))


def test_conversation(page: Page, server: StandIn, tmp_path: Path):
    press(page, "Start talking")
    captions = page.get_by_label("What was said")
    expect(captions).to_contain_text("You spoke for")
    expect(captions).to_contain_text("A tide table lists")
    expect(captions).to_contain_text("you cut in")
    expect(captions).to_contain_text("when it is low.")
    page.get_by_text("Figures", exact=True).click()
    figures = page.locator("dl[aria-label=Figures]").inner_text().replace("\n", " ")
    answer, delay, trip = re.search(r"after ([\d.]+) s .*delay (\d+) m?s .*trip (\d+) ms", figures).groups()
    assert 0.2 < float(answer) < 3
    assert 50 < float(delay) < 1500
    assert float(trip) < 1000
    expect(page.get_by_role("log").or_(page.locator("[aria-live=polite]"))).to_contain_text("A tide table")

    press(page, "End")
    with page.expect_download() as download:
        page.get_by_role("button", name="Download the recording").click()
    download.value.save_as(tmp_path / "recording.wav")
    assert re.fullmatch(r"duologue-[\dT-]+\.wav", download.value.suggested_filename)
    recording, rate = sf.read(tmp_path / "recording.wav")
    assert rate == RATE
    agent, you = pieces(recording[:, 0]), pieces(recording[:, 1])
    assert agent.max() > 0.02
    assert you.max() > 0.02
    heard = np.concatenate(server.visits[0].sound)
    assert abs(len(heard) - len(recording)) < 1.5 * RATE
    # What the server heard is what the recording holds, but for the codec and a fraction of a second.
    sent = pieces(heard)
    length = min(len(sent), len(you)) - 10
    best = max(np.corrcoef(sent[lag : lag + length], you[:length])[0, 1] for lag in range(10))
    assert best > 0.8
    assert server.visits[0].pings > 2


def test_your_words_are_shown_as_yours(page: Page, server: StandIn):
    """In a line of their own before the answer, named for those who see no colour."""
    server.captions = True
    press(page, "Start talking")
    captions = page.get_by_label("What was said")
    expect(captions).to_contain_text("A tide table lists")
    lines = captions.get_by_role("listitem")
    expect(lines.nth(0)).to_have_text(re.compile(r"^You: What is it that"))
    expect(lines.nth(1)).to_have_text(re.compile(r"^Tidal: A tide table"))
    expect(captions).not_to_contain_text("You spoke for")
    colors = [lines.nth(i).evaluate("line => getComputedStyle(line).color") for i in (0, 1)]
    assert colors[0] != colors[1]
    expect(page.locator("[aria-live=polite]")).not_to_contain_text("What is it")


def test_mute(page: Page, server: StandIn):
    press(page, "Start talking")
    press(page, "Mute")
    expect(page.get_by_role("button", name="Unmute")).to_be_visible()
    sound = server.visits[0].sound
    page.wait_for_timeout(500)
    begin = len(sound)
    page.wait_for_timeout(4500)  # the longest pause of the microphone is 6 s, then 0.8
    muted = np.concatenate(sound[begin:])
    assert len(muted) > 3 * RATE  # silence is sent on
    page.keyboard.press("m")
    expect(page.get_by_role("button", name="Mute", exact=True)).to_be_visible()
    expect(page.get_by_label("What was said")).to_contain_text("You spoke for")
    assert np.abs(muted).max() < 1e-3


def test_queue(page: Page, server: StandIn):
    server.scenario = "queue"
    press(page, "Start talking")
    expect(page.get_by_text("You are 2nd in line.")).to_be_visible()
    server.go.set()
    expect(page.get_by_text("You are next.")).to_be_visible()
    server.go.set()
    expect(page.get_by_role("button", name="Mute")).to_be_visible()


def test_reconnects(page: Page, server: StandIn):
    press(page, "Start talking")
    expect(page.get_by_role("button", name="Mute")).to_be_visible()
    server.scenario = "drop"
    assert "reconnecting" in notice(page, "reconnecting")
    expect(page.get_by_text("Reconnected.")).to_be_visible()
    expect(page.locator("[data-notice]")).to_have_count(0)
    assert len(server.visits) == 2


def test_survives_garbage(page: Page, server: StandIn):
    press(page, "Start talking")
    expect(page.get_by_role("button", name="Mute")).to_be_visible()
    server.scenario = "garbage"
    expect(page.get_by_label("What was said")).to_contain_text("A tide table")
    assert len(server.visits) == 1


def test_settings_are_sent(page: Page, server: StandIn):
    press(page, "Settings")
    page.get_by_label("Freedom of words").fill("0")
    page.get_by_label("Seed").fill("7")
    expect(page.get_by_label("Microphone").locator("option").nth(1)).to_be_attached()
    page.keyboard.press("Escape")
    page.reload()
    press(page, "Start talking")
    expect(page.get_by_role("button", name="Mute")).to_be_visible()
    query = server.visits[0].query
    assert query == {
        "events": "1",
        "format": "opus",
        "resume": "1",
        "text_temperature": "0",
        "text_seed": "7",
    }


def test_choose_another_microphone_while_talking(page: Page, server: StandIn):
    press(page, "Start talking")
    expect(page.get_by_role("button", name="Mute")).to_be_visible()
    press(page, "Settings")
    page.get_by_label("Microphone").select_option(index=1)
    page.keyboard.press("Escape")
    before = len(server.visits[0].sound)
    expect(page.get_by_label("What was said")).to_contain_text("A tide table")
    assert len(server.visits[0].sound) > before
    expect(page.locator("[data-notice]")).to_have_count(0)


def test_key(page: Page, server: StandIn):
    server.key = "sesame"
    press(page, "Start talking")
    assert "asks for a key" in notice(page, "key")
    page.get_by_label("Key", exact=True).fill("wrong")
    press(page, "Use it")
    expect(page.get_by_text("That key was not accepted")).to_be_visible()
    page.get_by_label("Key", exact=True).fill("sesame")
    press(page, "Use it")
    expect(page.get_by_role("button", name="Mute")).to_be_visible()
    assert server.visits[0].query["auth_id"] == "sesame"


@pytest.mark.parametrize(
    ("scenario", "name", "words"),
    [
        ("down", "unreachable", "does not answer"),
        ("loading", "not-ready", "getting ready"),
        ("refuse", "refused", "proxy"),
        ("full", "full", "40 seconds"),
        ("time-limit", "time-limit", "60 minutes"),
        ("broken", "server", "That was no Opus."),
        ("warn", "soon-time-limit", "30 seconds left"),
    ],
)
def test_says_what_is_wrong(page: Page, server: StandIn, scenario: str, name: str, words: str):
    server.scenario = scenario
    press(page, "Start talking")
    assert words in notice(page, name)
    if scenario != "warn":
        expect(page.get_by_role("button", name=re.compile("Start talking|Talk again"))).to_be_enabled()


def test_lost_for_good(page: Page, server: StandIn):
    press(page, "Start talking")
    expect(page.get_by_role("button", name="Mute")).to_be_visible()
    page.context.set_offline(True)
    server.scenario = "drop"
    assert "was lost" in notice(page, "lost")
    expect(page.get_by_role("button", name="Download the recording")).to_be_visible()


def test_cancel_while_connecting(page: Page, server: StandIn):
    server.scenario = "queue"
    press(page, "Start talking")
    expect(page.get_by_text("You are 2nd in line.")).to_be_visible()
    press(page, "Cancel")
    expect(page.get_by_role("button", name="Start talking")).to_be_visible()
    expect(page.locator("[data-notice]")).to_have_count(0)


@pytest.mark.parametrize("state", ["idle", "talking", "over", "settings"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_accessible(page: Page, server: StandIn, state: str, scheme: str):
    axe = Path(__file__).parents[2] / "web" / "node_modules" / "axe-core" / "axe.min.js"
    if not axe.exists():
        pytest.skip("axe-core is not installed (npm ci in web/)")
    page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
    if state in ("talking", "over"):
        server.captions = server.reads = server.recorded = True
        page.evaluate("localStorage['duologue.choices'] = JSON.stringify({ figures: true })")
        page.reload()
        press(page, "Start talking")
        expect(page.get_by_label("What was said")).to_contain_text("A tide table")
    if state == "over":
        press(page, "End")
    if state == "settings":
        press(page, "Settings")
    page.evaluate(axe.read_text())
    found = page.evaluate("axe.run()")["violations"]
    assert [(violation["id"], [node["html"] for node in violation["nodes"]]) for violation in found] == []


def test_fits_a_phone(page: Page):
    page.set_viewport_size({"width": 390, "height": 780})
    for _ in range(2):
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
        button = page.get_by_role("button", name=re.compile("Start talking|End")).bounding_box()
        assert button["y"] + button["height"] <= 780
        if page.get_by_role("button", name="Start talking").is_visible():
            press(page, "Start talking")
            expect(page.get_by_label("What was said")).to_contain_text("A tide table")


def test_keyboard_alone(page: Page):
    page.keyboard.press("Tab")
    expect(page.get_by_role("button", name="Settings")).to_be_focused()
    for name in ("When is high water?", "What is a tide table?", "Start talking"):
        page.keyboard.press("Tab")
        expect(page.get_by_role("button", name=name)).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.get_by_role("button", name="Mute")).to_be_visible()
    expect(page.get_by_role("button", name="End")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.get_by_role("button", name="Talk again")).to_be_focused()


def test_no_microphone(playwright: Playwright, server: StandIn):
    with chromium(playwright, "--use-fake-ui-for-media-stream") as browser:
        page = watched(browser)
        page.goto(server.address)
        press(page, "Start talking")
        assert "No microphone was found" in notice(page, "no-microphone")


def test_permission_denied(playwright: Playwright, server: StandIn, microphone: Path):
    with chromium(playwright, "--use-fake-ui-for-media-stream=deny", microphone=microphone) as browser:
        page = watched(browser)
        page.goto(server.address)
        press(page, "Start talking")
        assert "blocked" in notice(page, "denied")


def test_plain_http_away_from_localhost(playwright: Playwright, server: StandIn, microphone: Path):
    with chromium(
        playwright, "--host-resolver-rules=MAP talk.example 127.0.0.1", microphone=microphone
    ) as browser:
        page = watched(browser)
        page.goto(f"http://talk.example:{server.port}/")
        assert f"https://talk.example:{server.port}" in notice(page, "insecure")
        expect(page.get_by_role("button", name="Start talking")).to_be_disabled()


def test_without_webassembly(browser: Browser, server: StandIn):
    """A content policy may forbid it; then plain samples are sent."""
    server.policy = server.policy.replace("'wasm-unsafe-eval'", "")
    page = watched(browser)
    page.goto(server.address)
    press(page, "Start talking")
    expect(page.get_by_label("What was said")).to_contain_text("A tide table")
    assert server.visits[0].query["format"] == "pcm16"
    page.context.close()


def test_against_the_server(browser: Browser):
    """The real server, with a backend that gives back what it hears."""
    server = Server(Settings(sessions=1, queue=1))
    pages = [watched(browser) for _ in range(3)]
    try:
        for page in pages:
            page.goto(f"http://{server.address}/")
            press(page, "Start talking")
            if page is pages[0]:
                expect(page.get_by_role("button", name="Mute")).to_be_visible()
            if page is pages[1]:
                expect(page.get_by_text("You are next.")).to_be_visible()
        notice(pages[2], "full")
        live = pages[0].get_by_role("img", name="echo is speaking")
        expect(live.or_(pages[0].get_by_role("img", name="and echo"))).to_be_visible()
        press(pages[0], "End")
        expect(pages[1].get_by_role("button", name="Mute")).to_be_visible()
        press(pages[1], "End")
        until(lambda: server.service.engine.used == 0)
        assert [page.evaluate("window.complaints") for page in pages] == [[], [], []]
    finally:
        for page in pages:
            page.context.close()
        server.close()
