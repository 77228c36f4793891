import time
from threading import Event

import numpy as np
import pytest

from duologue.engine import batcher as engine
from duologue.engine.batcher import BATCH_SECONDS, TRIES, WELL_SECONDS, Batcher, Busy, Down
from duologue.engine.live_clock import EARLY_SECONDS, FRAME_SECONDS, GRACE_SECONDS
from duologue.engine.live_queues import BACKLOG_FRAMES, BEHIND_SECONDS, UNREAD_FRAMES
from duologue.engine.session import Session
from duologue.lm.sampling import Sampling
from duologue.weights import load
from tests.engine.virtual import EchoBackend, Room, noise, room, rounding, seeded


@pytest.fixture(scope="module")
def tiny():
    return load("tiny")


@pytest.fixture(scope="module")
def nano():
    """Its weights have 16 bits: so what it says has the same bits in any company."""
    return load("nano")


@pytest.fixture
def echo(tiny):
    return Room(EchoBackend(4), tiny.tokenizer)


def alone(tiny, user_TS, seed):
    session = Session(tiny, seeded(tiny, seed))
    return [session.push(frame_S) for frame_S in user_TS]


def heard(caller, echo=True):
    return [said.wav_S for said in caller.said]


def assert_same_sound(mine, theirs):
    np.testing.assert_allclose([s.wav_S for s in mine], [s.wav_S for s in theirs], rtol=0, atol=rounding())


def test_a_conversation_in_a_batch_says_what_it_says_alone(nano):
    here = room(nano, 2)
    users = [noise(6, seed) for seed in range(2)]
    callers = [here.call(user, seeded(nano, 7 + i), after=0.013 * i) for i, user in enumerate(users)]
    here.run(0.5)
    for i, (caller, user) in enumerate(zip(callers, users, strict=True)):
        expected = alone(nano, user, 7 + i)
        offset = next(k for k, said in enumerate(caller.said) if said.frame == 1)
        got = caller.said[offset : offset + 6]
        assert not caller.session.counts().missing
        assert [s.token for s in got] == [s.token for s in expected]
        assert_same_sound(got, expected)


def test_seeded_conversations_are_not_touched_by_those_who_come_and_go(nano):
    def run(crowded: bool):
        here = room(nano, 4)
        kept = here.call(noise(12, 1), seeded(nano, 5))
        for i in range(4):
            if crowded:
                others = [here.call(noise(5, i), seeded(nano, i), after=0.01 * k) for k in range(i % 4)]
            here.run(0.24)
            if crowded:
                for other in others:
                    other.session.end("gone")
                    here.callers.remove(other)
        return kept.said

    quiet, crowded = run(False), run(True)
    assert [s.token for s in quiet[:30]] == [s.token for s in crowded[:30]]
    assert_same_sound(quiet[:30], crowded[:30])


@pytest.mark.parametrize(("frames", "joins"), [(8, 80), pytest.param(20, 1000, marks=pytest.mark.slow)])
def test_eight_seeded_conversations_do_not_notice_who_comes_and_goes(nano, frames, joins):
    users = [noise(frames, seed) for seed in range(8)]

    def alone_in_the_room(seed: int):
        here = room(nano, 12)
        caller = here.call(users[seed], seeded(nano, seed))
        here.run(frames * FRAME_SECONDS)
        return caller.said

    here = room(nano, 12)
    kept = [here.call(user, seeded(nano, seed)) for seed, user in enumerate(users)]
    for first in range(0, joins, 4):
        others = [here.call(noise(1, k), seeded(nano, k)) for k in range(first, first + 4)]
        here.run(4 * frames * FRAME_SECONDS / joins)
        for other in others:
            other.session.end("gone")
            here.callers.remove(other)
    for seed, caller in enumerate(kept):
        solo = alone_in_the_room(seed)
        assert len(caller.said) >= frames - 1
        both = min(len(solo), len(caller.said))
        mine, theirs = solo[:both], caller.said[:both]
        assert [(s.frame, s.token) for s in mine] == [(s.frame, s.token) for s in theirs]
        assert_same_sound(mine, theirs)


def test_the_same_slot_starts_as_new(tiny):
    here = room(tiny, 1)
    first = here.call(noise(4, 1), seeded(tiny, 3))
    here.run(0.4)
    first.session.end("gone")
    here.callers.clear()
    second = here.call(noise(5, 2), seeded(tiny, 4))
    here.run(0.48)
    expected = alone(tiny, noise(5, 2), 4)
    assert [s.token for s in second.said[:5]] == [s.token for s in expected]


def test_a_frame_is_answered_at_once(echo):
    echo.backend.takes = 0.005
    caller = echo.call(noise(20), after=0.033)
    echo.run(2.0)
    assert caller.session.waiting == 0  # which, unlike `counts`, changes nothing
    counts = caller.session.counts()
    assert counts.response > 0
    assert counts.response < 0.006 + FRAME_SECONDS / 2  # the first may wait for half a frame to pass
    assert counts.late == 0
    assert caller.session.counts().response == 0


def test_frames_that_come_together_are_stepped_together(echo):
    for k in range(4):
        echo.call(noise(50), after=0.004 * k)
    echo.run(4.0)
    assert echo.backend.steps[-12:-2] == [[0, 1, 2, 3]] * 10


def test_a_missing_frame_is_silence_and_counted(echo):
    caller = echo.call(noise(5))
    echo.run(1.6)
    frames = heard(caller)
    assert np.array_equal(np.stack(frames[:5]), noise(5))
    assert not np.any(frames[5:])
    assert len(frames) == pytest.approx(1.6 / FRAME_SECONDS - GRACE_SECONDS / FRAME_SECONDS, abs=2)
    assert caller.session.counts().missing == len(frames) - 5


def test_silence_before_the_first_sound_is_not_missing(echo):
    caller = echo.call(noise(0))
    echo.run(1.0)
    assert len(caller.said) > 8
    assert caller.session.counts().missing == 0


def test_a_late_frame_is_heard_after_the_silence(echo):
    caller = echo.call(noise(2))
    echo.run(0.4)
    caller.session.push(noise(1, 9)[0])
    echo.run(0.1)
    assert np.array_equal(caller.said[-1].wav_S, noise(1, 9)[0]) or np.array_equal(
        caller.said[-2].wav_S, noise(1, 9)[0]
    )


def test_no_one_speaks_faster_than_time_passes(echo):
    caller = echo.call(noise(0))
    for seed in range(100):
        caller.session.push(noise(20, seed).ravel())
        echo.run(0.016)
        assert caller.session.counts().waiting <= BACKLOG_FRAMES
    assert len(caller.said) <= 1.6 / FRAME_SECONDS * 1.03 + 2
    assert caller.session.counts().dropped > 1900 - BACKLOG_FRAMES - len(caller.said)


def test_what_waits_for_long_is_dropped(echo):
    caller = echo.call(noise(0))
    echo.run(0.1)
    caller.session.push(noise(15).ravel())  # a link that stood still for more than a second
    assert caller.session.waiting == 15
    caller.user_TS, caller.begins = noise(100, 1), echo.clock.time
    echo.run(4.1)
    assert 8 < caller.session.counts().dropped < 20
    assert caller.session.counts().waiting <= 1
    echo.run(2.0)
    assert caller.session.counts().response < 3 * FRAME_SECONDS


def with_pauses(frames: int, seed: int = 0) -> np.ndarray:
    """A user who speaks for 8 frames and is silent for 8."""
    user_TS = noise(frames, seed)
    user_TS[np.arange(frames) % 16 >= 8] *= 0.01
    return user_TS


def test_a_backlog_is_caught_up_with_in_the_users_silence(echo):
    """A link stood still for 1.6 s and then delivered all at once."""
    caller = echo.call(noise(0))
    echo.run(0.1)
    caller.session.push(with_pauses(20).ravel())
    caller.user_TS, caller.begins = 0.01 * noise(100, 1), echo.clock.time + FRAME_SECONDS
    echo.run(20 * FRAME_SECONDS)
    counts = caller.session.counts()
    assert counts.waiting <= 3
    assert counts.dropped > 0
    told = np.stack(heard(caller))
    loud_TS = told[np.sqrt(np.mean(told**2, 1)) > 0.05]
    assert np.array_equal(loud_TS[:12], with_pauses(20)[[*range(8), *range(16, 20)]])  # no word is lost


def test_on_a_machine_that_is_too_slow_the_backlog_goes_in_every_silence(echo):
    echo.backend.takes = 1.25 * FRAME_SECONDS
    caller = echo.call(with_pauses(500))
    waited = []
    for _ in range(35):
        echo.run(1.0)
        waited.append(caller.session.counts().waiting)
    assert max(waited) <= 8
    assert caller.session.counts().response < 8 * FRAME_SECONDS


def test_a_user_whose_clock_is_fast_is_followed(echo):
    caller = echo.call(noise(0))
    for _ in range(1500):
        caller.session.push(noise(1)[0])
        echo.run(FRAME_SECONDS * 0.999)
    counts = caller.session.counts()
    assert (counts.missing, counts.dropped) == (0, 0)
    assert caller.session.counts().waiting <= 1


def test_pieces_of_any_length_make_frames(echo):
    caller = echo.call(noise(0))
    wav_S = noise(6).ravel()
    for start in range(0, wav_S.size, 500):
        caller.session.push(wav_S[start : start + 500])
        echo.run(500 / 24_000)
    echo.run(0.2)
    got_S = np.concatenate(heard(caller))
    assert np.array_equal(got_S[got_S != 0], wav_S[wav_S != 0])


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


def test_starting_over_all_the_time_keeps_nobody_waiting(echo):
    """A start takes a while, and one client starts over whenever it can."""
    speaker, other = echo.call(noise(50)), echo.call(noise(0))
    original = echo.backend.start

    def start(sampling):
        echo.clock.time += 0.01
        original(sampling)
        if other.session.slot in sampling:
            other.session.restart(Sampling(seed=other.session.sampling.seed + 1))

    echo.backend.start = start
    echo.run(4.0)
    counts = speaker.session.counts()
    assert counts.frames >= 45
    assert counts.response < FRAME_SECONDS


def test_newcomers_are_started_between_the_steps_of_those_who_speak(tiny):
    here = Room(EchoBackend(33), tiny.tokenizer)
    speaker = here.call(noise(50))
    here.run(1.0)
    original = here.backend.start

    def start(sampling):
        here.clock.time += 0.03
        original(sampling)

    here.backend.start = start
    for seed in range(32):
        here.call(noise(0, seed))
    here.run(2.0)
    assert speaker.session.counts().late == 0


def test_what_was_asked_for_in_the_middle_of_a_start_is_what_runs(echo):
    caller = echo.call(noise(5))
    original, ran = echo.backend.start, []

    def start(sampling):
        ran.append(sampling[caller.session.slot].seed)
        original(sampling)
        if ran == [0]:
            caller.session.restart(Sampling(seed=1))

    echo.backend.start = start
    echo.run(0.5)
    assert ran == [0, 1]
    assert caller.said


def test_a_seat_that_is_ready_waits_for_the_others_as_long_as_it_can(echo):
    """Not so long that its answer would be late; with a step that takes longer than that, not at all."""
    for phase in (0.0, 0.9 * BATCH_SECONDS, 1.5 * BATCH_SECONDS):
        echo.call(noise(50), after=phase)
    echo.run(3.0)
    groups = echo.backend.steps[-12:-2]
    assert [0, 1] in groups
    assert [2] in groups
    assert [0, 1, 2] not in groups


def test_slots_are_limited_and_come_back_however_a_conversation_ends(echo):
    for reason in ("gone", "error", "slow"):
        callers = [echo.call(noise(3)) for _ in range(4)]
        with pytest.raises(Busy):
            echo.call(noise(1))
        echo.run(0.3)
        for caller in callers:
            caller.session.end(reason)
        assert echo.batcher.used == 0
        echo.callers.clear()


def test_a_slot_freed_in_the_middle_of_a_step_is_given_out_after_it(echo):
    one = echo.call(noise(10))
    original = echo.backend.step

    def step(*args):
        if not one.session.ended and len(echo.backend.steps) == 3:
            one.session.end("gone")
        return original(*args)

    echo.backend.step = step
    echo.run(0.5)
    said = len(one.said)
    two = echo.call(noise(3, 5))
    echo.run(0.3)
    assert one.session.ended == "gone"
    assert len(one.said) == said
    assert np.array_equal(two.said[0].wav_S, noise(3, 5)[0])


def test_a_reader_who_does_not_take_for_long_is_ended(echo):
    slow, other = echo.call(noise(300)), echo.call(noise(300))
    echo.callers.remove(slow)
    echo.run(UNREAD_FRAMES * FRAME_SECONDS + BEHIND_SECONDS)
    assert slow.session.ended is None
    echo.run(0.5)
    assert slow.session.ended == "slow"
    assert other.session.ended is None


def test_a_reader_who_was_away_gets_the_last_two_seconds_and_every_word(tiny):
    here = room(tiny, 2)
    away, other = [here.call(noise(40), seeded(tiny, 4)) for _ in range(2)]
    here.callers.remove(away)
    for _ in range(40):
        away.send()
        here.run(FRAME_SECONDS)
    got = away.session.take()
    assert [said.frame for said in got] == [said.frame for said in other.said[-UNREAD_FRAMES:]]
    assert "".join(said.text for said in got) == "".join(said.text for said in other.said)
    assert away.session.counts().dropped == len(other.said) - UNREAD_FRAMES
    assert away.session.ended is None


def test_pause_keeps_the_conversation(tiny):
    here = room(tiny, 1)
    caller = here.call(noise(5, 1), seeded(tiny, 2))
    here.run(5 * FRAME_SECONDS + 0.02)
    assert len(caller.said) == 5
    caller.session.pause()
    caller.session.push(noise(1, 8)[0])
    here.run(2.0)
    assert len(caller.said) == 5
    caller.session.resume()
    caller.user_TS, caller.sent, caller.begins = noise(5, 3), 0, here.clock.time
    here.run(5 * FRAME_SECONDS + 0.02)
    expected = alone(tiny, np.concatenate([noise(5, 1), noise(5, 3)]), 2)
    assert [s.token for s in caller.said[:10]] == [s.token for s in expected]
    assert caller.session.counts().missing == 0


def test_restart_begins_anew_in_the_same_seat(tiny):
    here = room(tiny, 1)
    caller = here.call(noise(5, 1), seeded(tiny, 2))
    here.run(0.5)
    caller.session.restart(seeded(tiny, 6))
    here.run(0.03)
    caller.said.clear()
    caller.user_TS, caller.sent, caller.begins = noise(5, 3), 0, here.clock.time
    here.run(0.5)
    assert caller.said[0].frame == 1
    assert [s.token for s in caller.said[:5]] == [s.token for s in alone(tiny, noise(5, 3), 6)]


def test_a_stall_of_the_machine_does_not_make_the_conversation_late(echo):
    caller = echo.call(noise(200))
    echo.run(1.0)
    echo.clock.time += 3.0  # nothing ran
    echo.run(5.0)
    caller.session.counts()
    echo.run(1.0)
    counts = caller.session.counts()
    assert counts.response < 2 * FRAME_SECONDS + EARLY_SECONDS
    assert counts.waiting <= 2


def test_a_thread_runs_it_and_ends(tiny):
    woken = Event()
    batcher = Batcher(EchoBackend(2), tiny.tokenizer)
    batcher.start()
    session = batcher.open(tiny.sampling, woken.set)
    session.push(noise(1)[0])
    assert woken.wait(30)
    batcher.close()
    assert session.ended == "shutdown"
    assert not batcher._thread.is_alive()
    with pytest.raises(Down):
        batcher.open(tiny.sampling, woken.set)


def test_one_whose_holder_is_gone_frees_its_slot(echo):
    def wake():
        raise RuntimeError("event loop is closed")

    session = echo.batcher.open(Sampling(), wake)
    echo.run(0.3)
    assert session.ended == "gone"
    assert echo.batcher.used == 0
