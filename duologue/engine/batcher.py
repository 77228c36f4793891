"""Many conversations on one model, each at the pace of speech.

One worker thread steps together all sessions whose user frame has come. A frame that does not come in time is heard as
silence; one that comes sooner than it is spoken waits. Knows nothing of sockets: what the agent says is taken from the
session, which calls `wake` when there is something to take.
"""

import logging
import threading
import time
from collections.abc import Callable

import numpy as np

from duologue.engine.base import Backend, Frames, warm_up
from duologue.engine.live_session import NOWHERE, PATIENCE, FrameSink, LiveSession
from duologue.lm.sampling import Sampling
from duologue.lm.tokenizer import Tokenizer

log = logging.getLogger(__name__)

STUCK = 5.0  # seconds that a step may take before the engine counts as down
LONGEST_WAIT = (
    60.0  # seconds; a session that waits for its client is due "never", which no clock can wait for
)
RETRY = 0.5, 4.0  # seconds from a failed recovery to the next, at first and at most


class Busy(Exception):
    """No slot is free."""


class Down(Exception):
    """The engine is not running: it recovers from a failure, or is being shut down."""


class Batcher:
    """All conversations with one model. `open` a session, `push` the user's sound into it, `take` what the agent says.

    `start` runs it on a thread of its own; without it, `tick` by hand, with a clock of your own.
    """

    def __init__(
        self,
        backend: Backend,
        tokenizer: Tokenizer,
        now: Callable[[], float] = time.monotonic,
        observe: Callable[[float, int], None] = lambda seconds, sessions: None,
        observe_answer: Callable[[float], None] = lambda seconds: None,
    ):
        self.backend, self.tokenizer, self.now = backend, tokenizer, now
        self.restarts = 0
        self._observe = observe  # of each step: how long it took, and for how many sessions
        self._observe_answer = observe_answer  # of each frame of a user: how long it took from its coming in
        self._lock = threading.Condition()
        self._sessions: list[LiveSession] = []
        self._free = set(range(backend.slots))
        self._step_s = 0.0  # what a step takes, smoothed
        self._busy_since: float | None = None
        self._down = False
        self._retry_at, self._retry_s = 0.0, RETRY[0]
        self._stopping = False
        self._thread: threading.Thread | None = None

    # For those who hold conversations

    def open(
        self, sampling: Sampling, wake: Callable[[], object], sink: FrameSink | None = None, name: str = ""
    ) -> LiveSession:
        """A new conversation. `wake` is called, on the worker's thread, when there is something to take; `sink` gets
        every frame that was heard and said; `name` is for the log. Raises Busy or Down."""
        with self._lock:
            if not self.ready:
                raise Down("the engine is not running")
            if sum(not session.ended for session in self._sessions) >= self.backend.slots:
                raise Busy("no slot is free")
            session = LiveSession(
                self._lock, sampling, wake, sink, self.tokenizer, self.backend.frame_size, self.now
            )
            session.id = name or session.id
            self._sessions.append(session)
            self._lock.notify()
            return session

    @property
    def ready(self) -> bool:
        """Whether the engine runs: no failure, no step that hangs, not being shut down."""
        busy = self._busy_since
        return not (self._down or self._stopping or (busy is not None and self.now() - busy > STUCK))

    @property
    def step_seconds(self) -> float:
        """What a step takes, smoothed."""
        return self._step_s

    @property
    def used(self) -> int:
        """Slots in use."""
        with self._lock:
            return sum(not session.ended for session in self._sessions)

    # The thread

    def start(self) -> None:
        """Run on a thread of its own, until `close`."""
        self._thread = threading.Thread(target=self._run, name="duologue-engine", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End all conversations and the thread."""
        with self._lock:
            self._stopping = True
            self._lock.notify()
        if self._thread is not None:
            self._thread.join(STUCK)
        for session in list(self._sessions):
            session.end("shutdown")

    def _run(self) -> None:
        while not self._stopping:
            at = self.tick()
            with self._lock:  # something may have come in since
                now = self.now()
                at = at if self._down else self._plan(now)[1]
                if not self._stopping and (at is None or at > now):
                    self._lock.wait(None if at is None else min(at - now, LONGEST_WAIT))

    # One step

    def tick(self) -> float | None:
        """Do what is due; returns when something is due next, if nothing comes in before. Never raises: a step that
        does ends every conversation, and the engine starts afresh."""
        if self._down:
            return self._recover()
        try:
            self._step()
        except Exception:
            log.exception("a step failed: all conversations end, the engine starts afresh")
            self._fail()
            return self.now()
        with self._lock:
            return self._plan(self.now())[1]

    def _step(self) -> None:
        self._seat_newcomers()
        with self._lock:
            due = self._plan(self.now())[0]
            if not due:
                return
            wav_BS = np.zeros((self.backend.slots, self.backend.frame_size), np.float32)
            exec_B = np.zeros(self.backend.slots, bool)
            began = self._busy_since = self.now()
            for session in due:
                wav_BS[session.slot], exec_B[session.slot] = session.hear(began), True
        try:
            frames = self.backend.step(wav_BS, exec_B)
        finally:
            self._busy_since = None
        done = self.now()
        self._step_s += 0.1 * (done - began - self._step_s)
        self._observe(done - began, len(due))
        for session in due:
            self._hand_over(session, frames, done)

    def _hand_over(self, session: LiveSession, frames: Frames, done: float) -> None:
        """What goes wrong here is the fault of one conversation, and ends it alone."""
        try:
            if frames.finite_B[session.slot]:
                session.say(frames, done)
                if session.came is not None:
                    self._observe_answer(done - session.came)
            else:
                log.error("conversation %s left the finite numbers", session.id)
                session.end("error")
        except Exception:
            log.exception("conversation %s failed", session.id)
            session.end("error")

    def _seat_newcomers(self) -> None:
        with self._lock:
            for session in [s for s in self._sessions if s.ended]:
                self._sessions.remove(session)
                if session.slot != NOWHERE:
                    self._free.add(session.slot)
            fresh = [s for s in self._sessions if s.fresh]
            for session in fresh:
                if session.slot == NOWHERE:
                    session.slot = self._free.pop()
        for session in fresh:  # one at a time: what it raises is then one conversation's fault
            try:
                self.backend.start({session.slot: session.sampling})
                session.begin()
            except Exception:
                log.exception("conversation %s could not start", session.id)
                session.end("error")

    def _plan(self, now: float) -> tuple[list[LiveSession], float | None]:
        """The sessions to step now, and when to ask again. One that is ready waits a little for those that will be."""
        if any(session.fresh or (session.ended and session.slot != NOWHERE) for session in self._sessions):
            return [], now
        running = [session for session in self._sessions if session.running]
        due = [session for session in running if session.ready_at <= now]
        later = [session for session in running if session.ready_at > now]
        soonest = min((session.ready_at for session in later), default=None)
        if not due:
            return [], soonest
        hold = min(session.ready_at for session in due) + max(0.0, PATIENCE - 1.5 * self._step_s)
        if now < hold and any(session.next <= hold for session in later):
            return [], hold if soonest is None else min(hold, soonest)
        return due, now

    # Failure

    def _fail(self) -> None:
        self._down = True
        self._retry_at, self._retry_s = self.now(), RETRY[0]
        for session in list(self._sessions):
            session.end("error")

    def _recover(self) -> float:
        now = self.now()
        if now < self._retry_at:
            return self._retry_at
        try:
            self.backend.rebuild()
            warm_up(self.backend)
        except Exception:
            log.exception("the engine could not start afresh")
            self._retry_at, self._retry_s = now + self._retry_s, min(2 * self._retry_s, RETRY[1])
            return self._retry_at
        with self._lock:
            self._sessions, self._free = [], set(range(self.backend.slots))
            self.restarts += 1
            self._down = False
        return self.now()
