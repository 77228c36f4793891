"""Conversations in virtual time: when frames are stepped, and who holds a slot."""

from threading import Event

import numpy as np
import pytest

from duologue.engine.batcher import BATCH_SECONDS, Batcher, Busy, Down
from duologue.engine.live_clock import EARLY_SECONDS, FRAME_SECONDS, GRACE_SECONDS
from duologue.engine.live_queues import BACKLOG_FRAMES, BEHIND_SECONDS, UNREAD_FRAMES
from duologue.lm.sampling import Sampling
from tests.engine.virtual import EchoBackend, Room, noise, room, seeded


def heard(caller, echo=True):
    return [said.wav_S for said in caller.said]


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
