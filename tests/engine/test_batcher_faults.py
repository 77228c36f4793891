"""What fails ends one conversation, or all of them, and the engine goes on."""

import time
from threading import Event

import numpy as np
import pytest

from duologue.engine import batcher as engine
from duologue.engine.batcher import TRIES, WELL_SECONDS, Batcher, Down
from duologue.lm.sampling import Sampling
from tests.engine.virtual import EchoBackend, alone, noise, room, seeded


@pytest.mark.parametrize("poison", [np.nan, -np.inf, 1e30])
def test_poisoned_sound_stays_in_its_slot_and_its_conversation(tiny, poison):
    here = room(tiny, 2)
    bad_TS = noise(5, 1)
    bad_TS[1:3] = poison
    bad, good = here.call(bad_TS, seeded(tiny, 1)), here.call(noise(5, 2), seeded(tiny, 2))
    here.run(0.48)
    expected = alone(tiny, noise(5, 2), 2)
    assert [s.token for s in good.said[:5]] == [s.token for s in expected]
    assert all(np.isfinite(s.wav_S).all() for s in bad.said)
    assert not bad.session.ended


def test_a_conversation_without_numbers_ends_alone_and_leaves_nothing(echo):
    one, two = echo.call(noise(30)), echo.call(noise(30, 1))
    echo.run(0.5)
    echo.backend.nan.add(one.session.slot)
    echo.run(0.5)
    assert (one.session.ended, two.session.ended) == ("error", None)
    assert echo.batcher.ready
    three = echo.call(noise(5, 3))
    echo.run(0.5)
    assert np.array_equal(three.said[0].wav_S, noise(5, 3)[0])


def test_a_start_that_fails_ends_one_conversation(echo):
    one = echo.call(noise(30))
    echo.run(0.2)
    echo.backend.bad = {0, 1, 2, 3}
    two = echo.call(noise(3))
    echo.run(0.2)
    assert (one.session.ended, two.session.ended) == (None, "error")


def test_a_tap_that_fails_ends_one_conversation(echo):
    def sink(*_):
        raise OSError("no")

    one, two = echo.call(noise(30), sink=sink), echo.call(noise(30))
    echo.run(0.5)
    assert (one.session.ended, two.session.ended) == ("error", None)


def test_a_step_that_fails_ends_all_and_the_engine_is_back(echo):
    for _ in range(50):
        callers = [echo.call(noise(10, k)) for k in range(4)]
        echo.run(0.2)
        echo.backend.faults = [RuntimeError("boom")]
        before = echo.clock.time
        echo.run(0.2)
        assert [c.session.ended for c in callers] == ["error"] * 4
        while not echo.batcher.ready:
            echo.run(0.05)
        assert echo.clock.time - before < 1
        echo.callers.clear()
        echo.run(WELL_SECONDS)
    assert echo.batcher.restarts == 50
    assert not echo.batcher.gave_up
    assert echo.batcher.used == 0


def test_an_engine_that_cannot_recover_keeps_trying_and_says_so(echo):
    echo.call(noise(3))
    echo.backend.faults = [RuntimeError("boom")] * 5
    echo.run(0.1)
    assert not echo.batcher.ready
    with pytest.raises(Down):
        echo.call(noise(1))
    echo.run(0.3)
    assert not echo.batcher.ready
    echo.run(12)
    assert echo.batcher.ready


class Panic(BaseException):
    """As a panic in a library written in Rust arrives: it is no Exception."""


@pytest.mark.parametrize("fault", [RuntimeError("boom"), Panic("boom"), SystemExit(0)])
def test_whatever_a_step_raises_the_engine_is_back(echo, fault):
    caller = echo.call(noise(10))
    echo.run(0.2)
    echo.backend.faults = [fault]
    echo.run(1.0)
    assert caller.session.ended == "error"
    assert echo.batcher.ready


def test_an_error_in_planning_is_a_failure_as_any_other(echo):
    caller = echo.call(noise(10))
    echo.run(0.2)
    caller.session.clock.next = None  # nothing can be compared with it
    echo.run(1.0)
    assert caller.session.ended == "error"
    assert echo.batcher.ready
    assert echo.batcher.restarts == 1


def test_failures_in_a_row_wait_longer_each_time_until_the_engine_gives_up(echo):
    failed = []
    for _ in range(TRIES):
        assert not echo.batcher.gave_up
        while not echo.batcher.ready:
            echo.run(0.05)
        echo.call(noise(10))
        echo.backend.faults = [RuntimeError("boom")]
        echo.run(0.1)
        failed.append(echo.clock.time)
        echo.callers.clear()
    assert echo.batcher.gave_up
    waits = np.diff(failed)
    assert waits[0] < 0.5
    assert all(waits[1:4] * 1.3 < waits[2:5])
    assert waits[-1] < 5


def test_who_comes_in_the_middle_of_a_failure_is_told(echo):
    """A new session is found by the failure, or is refused: never forgotten."""
    later = []

    def wake():
        try:
            later.append(echo.batcher.open(Sampling(), lambda: None))
        except Down:
            later.append(None)

    echo.batcher.open(Sampling(), wake)
    echo.backend.faults = [RuntimeError("boom")]
    echo.run(1.0)
    assert later
    assert all(session is None or session.ended for session in later)


def test_a_thread_that_has_died_is_no_engine(tiny, monkeypatch):
    monkeypatch.setattr(Batcher, "_run", lambda self: None)
    batcher = Batcher(EchoBackend(1), tiny.tokenizer)
    assert batcher.ready
    batcher.start()
    batcher._thread.join()
    assert (batcher.ready, batcher.stuck, batcher.gave_up) == (False, True, True)
    with pytest.raises(Down):
        batcher.open(tiny.sampling, lambda: None)
    batcher.close()


@pytest.mark.parametrize("hangs", ["step", "start"])
def test_a_step_that_hangs_is_known(tiny, monkeypatch, hangs):
    monkeypatch.setattr(engine, "STUCK_SECONDS", 0.1)
    monkeypatch.setattr(engine, "HUNG_SECONDS", 0.4)
    backend, go_on = EchoBackend(1), Event()
    monkeypatch.setattr(backend, hangs, lambda *_: go_on.wait(30))
    batcher = Batcher(backend, tiny.tokenizer)
    batcher.start()
    batcher.open(tiny.sampling, lambda: None)
    began = time.monotonic()
    while not batcher.stuck:
        assert time.monotonic() - began < 30
    assert not batcher.ready
    assert not batcher.gave_up
    while not batcher.gave_up:
        assert time.monotonic() - began < 30
    assert time.monotonic() - began >= 0.4
    go_on.set()
    batcher.close()
