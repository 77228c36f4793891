"""Admission control: a slot at once, a place in a short queue, or a clear refusal."""

import asyncio
import contextlib
import logging
import secrets
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from duologue.audio.watermark import SpreadSpectrum
from duologue.engine.batcher import Batcher, Busy, Down
from duologue.engine.live_queues import Counts
from duologue.engine.recorder import Recorder, Track
from duologue.engine.session import AgentFrame
from duologue.lm.sampling import Sampling
from duologue.serve.delegation import NO_HELP, Delegation, Help
from duologue.serve.metrics import Metrics
from duologue.serve.settings import QUEUE_NOTICE_SECONDS, WARN_BEFORE_SECONDS, Settings

if TYPE_CHECKING:
    from duologue.serve.traces import Trace

log = logging.getLogger(__name__)

OnPosition = Callable[[int, int, float | None], Awaitable[None]]
RETRY_SECONDS = 5.0  # seconds until the next attempt, if there is no better estimate


class Ended(Exception):
    """A conversation has ended, or never began. `reason` as in docs/serving.md; `text` is for people."""

    def __init__(self, reason: str, text: str = "", retry: float | None = None):
        super().__init__(text or TEXTS.get(reason, ""))
        self.reason, self.text, self.retry = reason, str(self), retry


TEXTS = {
    "full": "All places are taken: please try again later.",
    "shutdown": "The server is being restarted: please come back in a moment.",
    "error": "The conversation failed: please start a new one in a few seconds.",
    "slow": "The connection is too slow: what was said could not be delivered in time.",
    "too_big": "A message was too big.",
}


async def set_or(event: asyncio.Event, seconds: float) -> None:
    """Wait for an event, with a timeout. (`asyncio.wait_for` of Python 3.11 may swallow a cancellation.)"""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()


class Pool:
    """Admits clients to the engine's slots, in order of arrival."""

    def __init__(
        self,
        engine: Batcher,
        settings: Settings,
        metrics: Metrics,
        recorder: Recorder | None,
        model: str,
        help: Help = NO_HELP,
        traced: "Callable[[str, str], Trace] | None" = None,
    ):
        self.engine, self.settings, self.metrics, self.recorder = engine, settings, metrics, recorder
        self.model, self.help = model, help
        self.traced = traced  # begins the trace of a conversation, from its id and its protocol
        self.draining: float | None = None  # when conversations will be ended
        self._line: list[asyncio.Event] = []
        self._calls: set[Call] = set()
        self._usual = 60.0  # smoothed duration of a conversation in seconds

    @property
    def waiting(self) -> int:
        return len(self._line)

    async def admit(
        self, sampling: Sampling, protocol: str, on_position: OnPosition, patient: bool = False
    ) -> "Call":
        """Wait for a slot; `on_position(position, length, seconds)` is awaited meanwhile. A `patient` session waits for
        late frames of the user. Raises Ended if the queue is full, or the engine is down."""
        try:
            call = self._enter(sampling, protocol, None, patient)
            return call or await self._wait(sampling, protocol, on_position, patient)
        except Ended as ended:
            self.metrics.refused.labels(ended.reason).inc()
            raise

    def enter(self, sampling: Sampling, protocol: str) -> "Call":
        """A slot at once, for protocols that cannot wait. Raises Ended if there is none."""
        try:
            if call := self._enter(sampling, protocol, None):
                return call
            raise self._full()
        except Ended as ended:
            self.metrics.refused.labels(ended.reason).inc()
            raise

    def _full(self) -> Ended:
        return Ended("full", retry=max(RETRY_SECONDS, min(60.0, self._wait_s(len(self._line)))))

    async def _wait(
        self, sampling: Sampling, protocol: str, on_position: OnPosition, patient: bool
    ) -> "Call":
        if len(self._line) >= self.settings.queue:
            raise self._full()
        place = asyncio.Event()
        self._line.append(place)
        try:
            while True:
                position = self._line.index(place) + 1
                if call := self._enter(sampling, protocol, place, patient):
                    return call
                place.clear()
                await on_position(position, len(self._line), round(self._wait_s(position)))
                await set_or(place, QUEUE_NOTICE_SECONDS)
        finally:
            self._line.remove(place)
            self.changed()

    def _wait_s(self, position: int) -> float:
        return position * self._usual / self.engine.backend.slots

    def _enter(
        self, sampling: Sampling, protocol: str, place: asyncio.Event | None, patient: bool = False
    ) -> "Call | None":
        if self.draining is not None:
            raise Ended("shutdown", retry=RETRY_SECONDS)
        if self._line and self._line[0] is not place:
            return None
        try:
            call = Call(self, sampling, protocol, patient)
        except Busy:
            return None
        except Down:
            raise Ended(
                "error", "The engine is starting afresh: please try again in a few seconds.", RETRY_SECONDS
            ) from None
        self._calls.add(call)
        self.metrics.begun.labels(protocol).inc()
        log.info("conversation begins", extra={"conversation": call.id, "protocol": protocol})
        return call

    def left(self, call: "Call", reason: str) -> None:
        """Note that a conversation has ended."""
        if call not in self._calls:
            return
        self._calls.remove(call)
        counts, lasted = call.session.counts(), self.engine.now() - call.began
        self._usual += 0.2 * (lasted - self._usual)
        self.metrics.ended.labels(reason).inc()
        if call.trace is not None:
            call.trace.end(reason, lasted, counts)
        for kind in ("frames", "late", "missing", "dropped"):
            self.metrics.frames.labels(kind).inc(getattr(counts, kind))
        log.info(
            "conversation ends",
            extra={
                "conversation": call.id,
                "reason": reason,
                "seconds": round(lasted, 1),
                "frames": counts.frames,
                "late": counts.late,
                "missing": counts.missing,
                "dropped": counts.dropped,
            },
        )
        self.changed()

    def changed(self) -> None:
        """Wake the queue."""
        for place in self._line:
            place.set()

    async def drain(self) -> None:
        """Admit no one any more; end running conversations after `settings.drain` seconds."""
        self.draining = self.engine.now() + self.settings.drain
        self.changed()
        while self._calls and self.engine.now() < self.draining:
            await asyncio.sleep(0.05)
        for call in list(self._calls):
            call.session.end("shutdown")
        for _ in range(40):  # their goodbyes
            if not self._calls:
                break
            await asyncio.sleep(0.05)


class Call:
    """One conversation of a client: its session, and its time limits."""

    def __init__(self, pool: Pool, sampling: Sampling, protocol: str, patient: bool = False):
        self._pool, self.protocol = pool, protocol
        self.id = secrets.token_hex(4)
        loop, self._news = asyncio.get_running_loop(), asyncio.Event()
        self._track = self._new_track(sampling)
        self.session = pool.engine.open(
            sampling, lambda: loop.call_soon_threadsafe(self._news.set), self._track, self.id, patient
        )
        delegate = pool.help.delegate
        self.delegation = None if delegate is None else Delegation(self.session, delegate, pool.help)
        self.began = pool.engine.now()
        self.first_sound: float | None = None  # seconds within which the first sound must arrive
        self._heard = False
        self._watermark = SpreadSpectrum() if pool.settings.watermark else None
        self._warned: set[str] = set()
        self.trace = pool.traced(self.id, protocol) if pool.traced else None

    def _new_track(self, sampling: Sampling) -> Track | None:
        if self._pool.recorder is None:
            return None
        name = f"{time.strftime('%Y%m%d-%H%M%S')}-{self.id}"
        return self._pool.recorder.track(name, self._pool.model, sampling)

    def push(self, wav_S: np.ndarray) -> None:
        """Add the user's sound."""
        self._heard = True
        self.session.push(wav_S)
        if self.delegation is not None:
            self.delegation.hear(wav_S)
        if self.trace is not None:
            self.trace.heard(wav_S)

    def resumed(self) -> None:
        """The client has come back on a new connection."""
        if self.trace is not None:
            self.trace.resumed()

    def tell(self, text: str) -> None:
        """Something for the model to know, if it reads any text."""
        if self.delegation is not None:
            self.delegation.tell(text)

    def played(self, frames: int) -> None:
        """The client has played so many of the agent's frames: what comes after them was not heard."""
        if self._track is not None:
            self._track.played = frames

    def restart(self, sampling: Sampling) -> None:
        """Start a new conversation in the same slot."""
        old, self._track = self._track, self._new_track(sampling)
        self.session.restart(sampling, self._track)
        if old is not None:
            old.close()

    async def said(self) -> list[AgentFrame]:
        """Wait for the agent's next frame. Raises Ended."""
        while True:
            self._check()
            if said := self.session.take(1):
                if self.delegation is not None:
                    self.delegation.follow(said[0])
                if self.trace is not None:
                    self.trace.said(said[0])
                return [self._marked(frame) for frame in said]
            if self.session.ended:
                raise Ended(
                    self.session.ended,
                    retry=RETRY_SECONDS if self.session.ended in ("error", "shutdown") else None,
                )
            self._news.clear()
            await set_or(self._news, 1.0)

    def _marked(self, frame: AgentFrame) -> AgentFrame:
        return replace(frame, wav_S=self._watermark.mark(frame.wav_S)) if self._watermark else frame

    def counts(self) -> Counts:
        return self.session.counts()

    def stop_delegating(self) -> None:
        """The client answers the user's questions from now on: cancel the delegate's pending answer."""
        if self.delegation is not None:
            self.delegation.close()
            self.delegation = None

    def _left(self) -> dict[str, float]:
        """Seconds until each limit."""
        now, settings = self._pool.engine.now(), self._pool.settings
        idle = settings.idle_limit if self._heard or self.first_sound is None else self.first_sound
        left = {"time_limit": self.began + settings.time_limit - now}
        left["idle"] = self.session.last_sound + idle - now
        if self._pool.draining is not None:
            left["shutdown"] = self._pool.draining - now
        return left

    def _check(self) -> None:
        if self._pool.engine.stuck:
            raise Ended("error", retry=RETRY_SECONDS)
        for reason, left in self._left().items():
            if left <= 0 and reason != "shutdown":
                raise Ended(reason)

    def warning(self) -> tuple[str, float] | None:
        """A limit that is near, reported once: (reason, seconds)."""
        for reason, left in self._left().items():
            if left <= WARN_BEFORE_SECONDS.get(reason, left):
                if reason not in self._warned:
                    self._warned.add(reason)
                    return reason, max(0.0, round(left, 1))
            else:
                self._warned.discard(reason)
        return None

    def close(self, reason: str) -> None:
        """Free the slot, whatever happened."""
        self.session.end(reason)
        if self.delegation is not None:
            self.delegation.close()
        if self._track is not None:
            self._track.close()
            self._track = None
        self._pool.left(self, self.session.ended or reason)
