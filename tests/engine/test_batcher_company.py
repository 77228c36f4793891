"""Each conversation of a batch says what it says alone, bit for bit."""

import numpy as np
import pytest

from duologue.engine.live_clock import FRAME_SECONDS
from tests.engine.virtual import alone, noise, room, seeded
from tests.rounding import rounding


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
