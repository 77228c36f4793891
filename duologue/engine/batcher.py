"""Many conversations on one model, each in real time.

One worker thread steps all sessions whose user frame has arrived as one batch. A frame that does not arrive in time is
replaced by silence; one that arrives early waits. It knows nothing of sockets: callers take the agent's frames from the
session, which calls `wake` when there are any.
"""

import logging
import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager

import numpy as np

from duologue.engine.live_clock import FRAME_SECONDS
from duologue.engine.live_session import NOWHERE, FrameSink, LiveSession
from duologue.interfaces import Backend, Frames, warm_up
from duologue.lm.sampling import Sampling
from duologue.lm.tokenizer import Tokenizer

log = logging.getLogger(__name__)

BATCH_SECONDS = 0.03  # how long a frame and its step may take together, so that others can be stepped with it
STUCK_SECONDS = 5.0  # how long a step may take before the engine counts as down
LONGEST_WAIT_SECONDS = (
    60.0  # a session that waits for its client is due "never", and no timeout can be infinite
)
RETRY_SECONDS = 0.5, 4.0  # from a failure to the next start: from the second failure in a row on, and at most
WELL_SECONDS = 10.0  # how long the engine must run so that its next failure is not counted as one in a row
TRIES = 10  # failures in a row after which it gives up
HUNG_SECONDS = 60.0  # how long a step may take before the engine gives up
HUNG_START_SECONDS = 900.0  # the same for a start, with all its compiling


class Busy(Exception):
    """No slot is free."""


class Down(Exception):
    """The engine is not running: it is recovering from a failure, or shutting down."""


class Batcher:
    """All conversations with one model. `open` a session, `push` the user's sound into it, `take` the agent's frames.
    `start` runs a worker thread; without it, call `tick` with your own clock. A failure ends every conversation and
    restarts the engine; after too many failures it has `gave_up`, and only a new process helps.
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
        self._observe = observe  # called with each step's duration and number of sessions
        self._observe_answer = observe_answer  # called with each frame's time from arrival to answer
        self._lock = threading.Condition()
        self._sessions: list[LiveSession] = []
        self._free = set(range(backend.slots))
        self._step_s = 0.0  # smoothed duration of a step
        self._busy: tuple[float, float] | None = (
            None  # when the current step started, and how long it may take
        )
        self._down = False
        self._failures = 0  # in a row
        self._well_at = self._retry_at = now()
        self._stopping = False
        self._thread: threading.Thread | None = None

    # For callers

    def open(
        self,
        sampling: Sampling,
        wake: Callable[[], object],
        sink: FrameSink | None = None,
        name: str = "",
        patient: bool = False,
    ) -> LiveSession:
        """Start a conversation. `wake` is called on the worker's thread when there is something to take; `sink` gets
        every frame of both sides; `name` is for the log; a `patient` session waits for late frames of the user. Raises
        Busy or Down."""
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
        """Whether the engine runs: no failure, no hanging step, a living thread, no shutdown."""
        return not (self._down or self._stopping or self.stuck)

    @property
    def stuck(self) -> bool:
        """Whether a step hangs or the thread has died, so that waiting is useless."""
        return (self._busy_longer_than(STUCK_SECONDS) and not self._down) or self._dead

    @property
    def gave_up(self) -> bool:
        """Whether the engine has stopped for good."""
        return self._failures >= TRIES or self._busy_longer_than(None) or self._dead

    def _busy_longer_than(self, seconds: float | None) -> bool:
        busy = self._busy
        return busy is not None and self.now() - busy[0] > (busy[1] if seconds is None else seconds)

    @property
    def _dead(self) -> bool:
        return self._thread is not None and not self._stopping and not self._thread.is_alive()

    @property
    def step_seconds(self) -> float:
        """Smoothed duration of a step, in seconds."""
        return self._step_s

    @property
    def used(self) -> int:
        """Slots in use."""
        with self._lock:
            return sum(not session.ended for session in self._sessions)

    # The thread

    def start(self) -> None:
        """Run on a worker thread until `close`."""
        self._thread = threading.Thread(target=self._run, name="duologue-engine", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End all conversations and the thread."""
        with self._lock:
            self._stopping = True
            self._lock.notify()
        if self._thread is not None:
            self._thread.join(STUCK_SECONDS)
        for session in list(self._sessions):
            session.end("shutdown")

    def _run(self) -> None:
        while not self._stopping and not self.gave_up:
            self.tick()
            with self._lock:
                at, now = self._due(), self.now()  # frames may have arrived since
                if not self._stopping and (at is None or at > now):
                    self._lock.wait(None if at is None else min(at - now, LONGEST_WAIT_SECONDS))

    # One step

    def tick(self) -> float | None:
        """Do what is due; returns when something is due next, if nothing arrives before. Never raises: a step that
        raises ends every conversation and restarts the engine."""
        if self._down:
            self._recover()
        else:
            try:
                self._step()
            except BaseException:  # a panic in a library written in Rust is no Exception
                self._fail("a step failed: all conversations end, the engine restarts")
        return self._due()

    def _due(self) -> float | None:
        """When to tick again, if nothing arrives before."""
        try:
            with self._lock:
                return self._retry_at if self._down else self._plan(self.now())[1]
        except BaseException:
            self._fail("planning failed: all conversations end, the engine restarts")
            return self._retry_at

    def _step(self) -> None:
        self._start_waiting()
        with self._lock:
            due = self._plan(self.now())[0]
            if not due:
                return
            wav_BS = np.zeros((self.backend.slots, self.backend.frame_size), np.float32)
            exec_B = np.zeros(self.backend.slots, bool)
            began = self.now()
            for session in due:
                wav_BS[session.slot], exec_B[session.slot] = session.hear(began), True
            references = {session.slot: session.take_reference() for session in due}
        for slot, vectors_TD in references.items():
            if vectors_TD is not None:
                self.backend.refer(slot, vectors_TD)
        told = [session for session in due if session.told]

        def rewrite(text_B: np.ndarray) -> np.ndarray:
            for session in told:
                text_B[session.slot] = session.write(int(text_B[session.slot]))
            return text_B

        with self._computes(HUNG_SECONDS):
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
        """An exception in here belongs to one conversation, and ends only that one."""
        try:
            if frames.finite_B[session.slot]:
                session.say(frames, done)
                if session.came is not None:
                    self._observe_answer(done - session.came)
            else:
                log.error("conversation %s: the model produced NaN or infinity", session.id)
                session.end("error")
        except BaseException:
            log.exception("conversation %s failed", session.id)
            session.end("error")

    def _start_waiting(self) -> None:
        """Free the slots of ended sessions, and reset one slot for the session that has waited longest: starting
        several at once would delay running conversations."""
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
            with self._computes(HUNG_SECONDS):
                self.backend.start({session.slot: sampling})
            session.begin(sampling)
        except BaseException:
            log.exception("conversation %s could not start", session.id)
            session.end("error")

    def _plan(self, now: float) -> tuple[list[LiveSession], float | None]:
        """The sessions to step now, and when to ask again. A ready session waits briefly for others to be batched with
        it."""
        moves = any(
            session.fresh or (session.ended and session.slot != NOWHERE) for session in self._sessions
        )
        running = [session for session in self._sessions if session.running]
        due = [session for session in running if session.ready_at <= now]
        later = [session for session in running if session.ready_at > now]
        soonest = min((session.ready_at for session in later), default=None)
        if not due:
            return [], now if moves else soonest
        hold = min(session.ready_at for session in due) + max(0.0, BATCH_SECONDS - 1.5 * self._step_s)
        if now < hold and any(now - FRAME_SECONDS < session.clock.next <= hold for session in later):
            return [], now if moves else hold if soonest is None else min(hold, soonest)
        return due, now

    # Failure

    def _fail(self, text: str) -> None:
        """Handle the exception that was raised."""
        log.exception(text)
        with self._lock:
            now = self.now()
            if not self._down and now - self._well_at > WELL_SECONDS:
                self._failures = 0
            self._down, self._failures = True, self._failures + 1
            waits = (
                0.0
                if self._failures == 1
                else min(RETRY_SECONDS[0] * 2 ** (self._failures - 2), RETRY_SECONDS[1])
            )
            self._retry_at, sessions = now + waits, list(self._sessions)
        for session in sessions:
            session.end("error")
        if self._failures >= TRIES:
            log.critical("the engine has failed %d times in a row and gives up", self._failures)

    def _recover(self) -> None:
        if self.now() < self._retry_at:
            return
        try:
            with self._computes(HUNG_START_SECONDS):
                self.backend.rebuild()
                warm_up(self.backend)
        except BaseException:
            self._fail("the engine could not restart")
            return
        with self._lock:
            self._sessions, self._free = [], set(range(self.backend.slots))
            self.restarts += 1
            self._down, self._well_at = False, self.now()
