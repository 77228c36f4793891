"""Many conversations on one model, each at the pace of speech.

One worker thread steps together all sessions whose user frame has come. A frame that does not come in time is heard as
silence; one that comes sooner than it is spoken waits. Knows nothing of sockets: what the agent says is taken from the
session, which calls `wake` when there is something to take.
"""

import logging
import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager

import numpy as np

from duologue.engine.base import Backend, Frames, warm_up
from duologue.engine.live_session import FRAME, NOWHERE, PATIENCE, FrameSink, LiveSession
from duologue.lm.sampling import Sampling
from duologue.lm.tokenizer import Tokenizer

log = logging.getLogger(__name__)

STUCK = 5.0  # seconds that a step may take before the engine counts as down
LONGEST_WAIT = (
    60.0  # seconds; a session that waits for its client is due "never", which no clock can wait for
)
RETRY = 0.5, 4.0  # seconds from a failure to the next start, from the second failure in a row on, and at most
WELL = 10.0  # seconds that the engine must run so that its next failure is none in a row
TRIES = 10  # failures in a row after which it gives up
HUNG, HUNG_START = (
    60.0,
    900.0,
)  # seconds that a step, and a start with all its compiling, may take before it gives up


class Busy(Exception):
    """No slot is free."""


class Down(Exception):
    """The engine is not running: it recovers from a failure, or is being shut down."""


class Batcher:
    """All conversations with one model. `open` a session, `push` the user's sound into it, `take` what the agent says.

    `start` runs it on a thread of its own; without it, `tick` by hand, with a clock of your own. A failure ends every
    conversation, and the engine starts afresh; one that `gave_up` will not: only a new process helps.
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
        self._busy: tuple[float, float] | None = None  # since when the model computes, and how long it may
        self._down = False
        self._failures = 0  # in a row
        self._well_at = self._retry_at = now()
        self._stopping = False
        self._thread: threading.Thread | None = None

    # For those who hold conversations

    def open(
        self,
        sampling: Sampling,
        wake: Callable[[], object],
        sink: FrameSink | None = None,
        name: str = "",
        patient: bool = False,
    ) -> LiveSession:
        """A new conversation. `wake` is called, on the worker's thread, when there is something to take; `sink` gets
        every frame that was heard and said; `name` is for the log; one that is `patient` waits for the user's sound.
        Raises Busy or Down."""
        with self._lock:
            if not self.ready:
                raise Down("the engine is not running")
            if sum(not session.ended for session in self._sessions) >= self.backend.slots:
                raise Busy("no slot is free")
            session = LiveSession(
                self._lock,
                sampling,
                wake,
                sink,
                self.tokenizer,
                self.backend.frame_size,
                self.now,
                self.backend.marks,
                patient,
            )
            session.id = name or session.id
            self._sessions.append(session)
            self._lock.notify()
            return session

    @property
    def ready(self) -> bool:
        """Whether the engine runs: no failure, no step that hangs, a thread that lives, not being shut down."""
        return not (self._down or self._stopping or self.stuck)

    @property
    def stuck(self) -> bool:
        """Whether a step hangs, or there is no thread any more to take one: whoever waits for it waits in vain."""
        return (self._busy_longer_than(STUCK) and not self._down) or self._dead

    @property
    def gave_up(self) -> bool:
        """Whether the engine will not run again."""
        return self._failures >= TRIES or self._busy_longer_than(None) or self._dead

    def _busy_longer_than(self, seconds: float | None) -> bool:
        busy = self._busy
        return busy is not None and self.now() - busy[0] > (busy[1] if seconds is None else seconds)

    @property
    def _dead(self) -> bool:
        return self._thread is not None and not self._stopping and not self._thread.is_alive()

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
        while not self._stopping and not self.gave_up:
            self.tick()
            with self._lock:
                at, now = self._due(), self.now()  # something may have come in since
                if not self._stopping and (at is None or at > now):
                    self._lock.wait(None if at is None else min(at - now, LONGEST_WAIT))

    # One step

    def tick(self) -> float | None:
        """Do what is due; returns when something is due next, if nothing comes in before. Never raises: a step that
        does ends every conversation, and the engine starts afresh."""
        if self._down:
            self._recover()
        else:
            try:
                self._step()
            except BaseException:  # a panic in a library written in Rust is no Exception
                self._fail("a step failed: all conversations end, the engine starts afresh")
        return self._due()

    def _due(self) -> float | None:
        """When to tick again, if nothing comes in before."""
        try:
            with self._lock:
                return self._retry_at if self._down else self._plan(self.now())[1]
        except BaseException:
            self._fail("planning failed: all conversations end, the engine starts afresh")
            return self._retry_at

    def _step(self) -> None:
        self._seat_newcomer()
        with self._lock:
            due = self._plan(self.now())[0]
            if not due:
                return
            wav_BS = np.zeros((self.backend.slots, self.backend.frame_size), np.float32)
            exec_B = np.zeros(self.backend.slots, bool)
            began = self.now()
            for session in due:
                wav_BS[session.slot], exec_B[session.slot] = session.hear(began), True
        told = [session for session in due if session.told]

        def rewrite(text_B: np.ndarray) -> np.ndarray:
            for session in told:
                text_B[session.slot] = session.write(int(text_B[session.slot]))
            return text_B

        with self._computes(HUNG):
            frames = self.backend.step(wav_BS, exec_B, rewrite if told else None)
        done = self.now()
        self._step_s += 0.1 * (done - began - self._step_s)
        self._observe(done - began, len(due))
        for session in due:
            self._hand_over(session, frames, done)

    @contextmanager
    def _computes(self, most: float) -> Generator[None]:
        self._busy = self.now(), most
        try:
            yield
        finally:
            self._busy = None

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
        except BaseException:
            log.exception("conversation %s failed", session.id)
            session.end("error")

    def _seat_newcomer(self) -> None:
        """Free the slots of those who have left, and make one as new for whoever has waited longest: starting many
        would keep those waiting who speak already."""
        with self._lock:
            for session in [s for s in self._sessions if s.ended]:
                self._sessions.remove(session)
                if session.slot != NOWHERE:
                    self._free.add(session.slot)
            session = next((s for s in self._sessions if s.fresh), None)
            if session is None:
                return
            if session.slot == NOWHERE:
                session.slot = self._free.pop()
            sampling = session.sampling
        try:
            with self._computes(HUNG):
                self.backend.start({session.slot: sampling})
            session.begin(sampling)
        except BaseException:
            log.exception("conversation %s could not start", session.id)
            session.end("error")

    def _plan(self, now: float) -> tuple[list[LiveSession], float | None]:
        """The sessions to step now, and when to ask again. One that is ready waits a little for those that will be."""
        moves = any(
            session.fresh or (session.ended and session.slot != NOWHERE) for session in self._sessions
        )
        running = [session for session in self._sessions if session.running]
        due = [session for session in running if session.ready_at <= now]
        later = [session for session in running if session.ready_at > now]
        soonest = min((session.ready_at for session in later), default=None)
        if not due:
            return [], now if moves else soonest
        hold = min(session.ready_at for session in due) + max(0.0, PATIENCE - 1.5 * self._step_s)
        if now < hold and any(now - FRAME < session.next <= hold for session in later):
            return [], now if moves else hold if soonest is None else min(hold, soonest)
        return due, now

    # Failure

    def _fail(self, text: str) -> None:
        """What to do about the exception that was raised."""
        log.exception(text)
        with self._lock:
            now = self.now()
            if not self._down and now - self._well_at > WELL:
                self._failures = 0
            self._down, self._failures = True, self._failures + 1
            waits = 0.0 if self._failures == 1 else min(RETRY[0] * 2 ** (self._failures - 2), RETRY[1])
            self._retry_at, sessions = now + waits, list(self._sessions)
        for session in sessions:
            session.end("error")
        if self._failures >= TRIES:
            log.critical("the engine has failed %d times in a row and gives up", self._failures)

    def _recover(self) -> None:
        if self.now() < self._retry_at:
            return
        try:
            with self._computes(HUNG_START):
                self.backend.rebuild()
                warm_up(self.backend)
        except BaseException:
            self._fail("the engine could not start afresh")
            return
        with self._lock:
            self._sessions, self._free = [], set(range(self.backend.slots))
            self.restarts += 1
            self._down, self._well_at = False, self.now()
