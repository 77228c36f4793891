"""Recognition and synthesis in the server: voices from afar, and the user's words in a conversation."""

import asyncio
import threading
from typing import Any

import pytest

from duologue.errors import InputError
from duologue.serve.speech import OVERHEARD_SECONDS, Mouth
from tests.engine.speech_models import GoldenModel
from tests.engine.virtual import noise
from tests.serve.server import PATIENCE, until
from tests.serve.speech_server import VOICE


class TestVoices:
    """A voice that is fetched from afar must not keep a client waiting: it hears nothing meanwhile, and gives up."""

    def test_one_that_takes_long_is_the_usual_one_until_it_is_there(self, monkeypatch) -> None:
        mouth = Mouth(GoldenModel("lm_cond"), 1, voice=[VOICE])
        there, asked, found = threading.Event(), [], object()

        def slowly(_: Any, names: list[str]) -> Any:
            asked.append(names[0])
            there.wait(PATIENCE)
            return found

        monkeypatch.setattr("duologue.serve.speech.read_voice", slowly)
        monkeypatch.setattr("duologue.serve.speech.VOICE_SECONDS", 0.01)

        async def ask() -> Any:
            with pytest.raises(InputError, match="'far.wav' is still being fetched"):
                await mouth.voice_of("far.wav")
            for other in ("b", "c", "d"):
                with pytest.raises(InputError, match="still being fetched"):
                    await mouth.voice_of(other)
            with pytest.raises(InputError, match="too many voices"):
                await mouth.voice_of("e")
            there.set()
            monkeypatch.setattr("duologue.serve.speech.VOICE_SECONDS", PATIENCE)
            return await mouth.voice_of("far.wav")

        assert asyncio.run(ask()) is found
        assert asked.count("far.wav") == 1

    def test_one_that_is_not_found_is_not_looked_for_each_time(self, monkeypatch) -> None:
        mouth, asked = Mouth(GoldenModel("lm_cond"), 1, voice=[VOICE]), []

        def nowhere(_: Any, names: list[str]) -> Any:
            asked.append(names[0])
            raise InputError("there is no such voice")

        monkeypatch.setattr("duologue.serve.speech.read_voice", nowhere)
        monkeypatch.setattr("duologue.serve.speech.VOICE_RETRY_SECONDS", 0.05)

        async def ask(times: int) -> None:
            for _ in range(times):
                with pytest.raises(InputError, match="no such voice"):
                    await mouth.voice_of("x")

        async def run() -> None:
            await ask(3)
            assert asked == ["x"]
            await asyncio.sleep(0.2)
            await ask(1)
            assert asked == ["x", "x"]

        asyncio.run(run())


def test_sound_for_a_recogniser_that_hangs_is_bounded(ears):
    """In a step that does not return, its worker takes nothing of what waits for it."""
    steps, goes_on = threading.Event(), threading.Event()
    tick = ears.worker.engine.tick

    def hang():
        steps.set()
        assert goes_on.wait(PATIENCE)
        return tick()

    ears.worker.engine.tick = hang

    async def go() -> int:
        overheard = ears.overhear()
        overheard.push(noise(1).ravel())
        assert await asyncio.to_thread(steps.wait, PATIENCE)
        for _ in range(1000):
            overheard.push(noise(1).ravel())
        kept = len(ears.worker._actions)
        goes_on.set()
        overheard.close()
        return kept

    assert asyncio.run(go()) <= OVERHEARD_SECONDS / 0.08


def test_after_a_failure_of_the_recogniser_the_users_words_come_again(ears, caplog):
    tick, fails = ears.worker.engine.tick, [True]

    def fail_once():
        if fails:
            fails.clear()
            raise RuntimeError("no memory")
        return tick()

    ears.worker.engine.tick = fail_once

    async def go() -> str:
        overheard, text, frames = ears.overhear(), "", iter(noise(1000))
        async with asyncio.timeout(PATIENCE):
            while not text:
                overheard.push(next(frames))
                await asyncio.sleep(0.01)
                text = overheard.take()
        overheard.close()
        return text

    assert asyncio.run(go())
    until(lambda: ears.worker.used == 0)
    assert "the model failed" in caplog.text and not fails
