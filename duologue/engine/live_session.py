"""One conversation among many in real time: its clock (`live_clock`), its queues and counts (`live_queues`)."""

import secrets
import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Protocol

import numpy as np

from duologue.audio.activity import LOUD_USER, rms_of
from duologue.audio.files import clean
from duologue.engine.dictation import Dictation
from duologue.engine.live_clock import FRAME_SECONDS, UserClock
from duologue.engine.live_queues import UNREAD_FRAMES, AgentQueue, Counter, Counts, UserQueue
from duologue.engine.session import AgentFrame, CaptionStreams
from duologue.interfaces import Frames, TextMarks
from duologue.lm.sampling import Sampling
from duologue.lm.tokenizer import Tokenizer

CHOSEN = -2  # the model chose the text token of a frame itself
NOWHERE = -1  # the slot of a session that has none yet


class FrameSink(Protocol):
    """Gets every frame of a conversation, on the worker's thread: it must not block."""

    def __call__(
        self, user_S: np.ndarray, said: AgentFrame, heard_Q: np.ndarray, tokens_K: np.ndarray
    ) -> None: ...


class LiveSession:
    """One conversation of a `Batcher`. Callers use `push`, `take`, `pause`, `resume`, `restart` and `end`, on any
    thread; the rest is the batcher's."""

    def __init__(
        self,
        lock: threading.Condition,
        sampling: Sampling,
        wake: Callable[[], object],
        sink: FrameSink | None,
        tokenizer: Tokenizer,
        frame_size: int,
        now: Callable[[], float],
        marks: TextMarks,
        patient: bool = False,
    ):
        """`patient`: the conversation waits for the user's sound, however late it comes, and hears all of it, so that
        what is said never depends on the line."""
        self.id = secrets.token_hex(4)
        self.sampling = sampling
        self.slot = NOWHERE
        self.ended: str | None = None  # the reason, after the end
        self.fresh, self.paused = True, False  # fresh: its slot must be reset
        self.last_sound = now()  # when the user's sound last arrived
        self.clock = UserClock(now(), patient)
        self._lock, self._wake, self._sink, self._now = lock, wake, sink, now
        self._tokenizer, self._frame_size, self._marks = tokenizer, frame_size, marks
        self._counter = Counter()
        self._user, self._agent = UserQueue(frame_size, self._counter, patient), AgentQueue(self._counter)
        self._begin_past()

    def _begin_past(self) -> None:
        self._transcripts = CaptionStreams(self._tokenizer)
        self._dictation = Dictation(self._tokenizer, self._marks)
        self._dictated = CHOSEN
        self._reference: np.ndarray | None = None
        self._primed = False  # whether the silent first frame was heard
        self._met = False  # whether a frame of the user was heard
        self._frame = 0
        self.came: float | None = None  # when the frame arrived that is heard in this step
        self.clock.begin()
        self._user.begin()

    # For callers

    def push(self, wav_S: np.ndarray) -> None:
        """Add the user's sound, any number of samples (float32 at the model's rate). At most 2 s wait, or 30 s of a
        patient session: the oldest is dropped."""
        now = self._now()
        wav_S = clean(np.asarray(wav_S, np.float32))
        with self._lock:
            if self.ended or self.paused or not wav_S.size:
                return
            self.last_sound = now
            self._user.push(wav_S, now)
            if len(self._user):
                self._lock.notify()

    def silent(self) -> None:
        """The user is silent: frames that do not arrive are not missing."""
        self.last_sound = self._now()

    def take(self, most: int = UNREAD_FRAMES) -> list[AgentFrame]:
        """The agent's frames since the last call, the oldest `most` of them."""
        with self._lock:
            return self._agent.take(most)

    def pause(self) -> None:
        """Stop hearing and speaking until `resume`; the conversation is kept."""
        with self._lock:
            self.paused = True
            self._user.clear()

    def resume(self) -> None:
        with self._lock:
            if self.paused:
                self.paused, self.last_sound = False, self._now()
                self.clock.resume(self.last_sound)
                self._lock.notify()

    def restart(self, sampling: Sampling, sink: FrameSink | None = None) -> None:
        """Start a new conversation in this session, with another sink."""
        with self._lock:
            if not self.ended:
                self.sampling, self._sink, self.fresh, self.paused = sampling, sink, True, False
                self.last_sound = self._now()
                self._user.clear()
                self._agent.clear()
                self._lock.notify()

    def dictate(self, text: str) -> bool:
        """Have the agent say this, after what it is told already, once the user is silent. Returns whether it will say
        all of it: what is too much is left out."""
        with self._lock:
            return self._dictation.push(text)

    def hold(self) -> None:
        """Keep the agent silent, after what it is told, until it is told more or the user speaks; 12 s at most."""
        with self._lock:
            self._dictation.hold()

    def release(self) -> None:
        """Let the agent speak for itself again, once what it is told is said."""
        with self._lock:
            self._dictation.release()

    def refer(self, vectors_TD: np.ndarray) -> None:
        """Give the model an encoded reference (`Backend.refer`), which it reads from its next frame on."""
        with self._lock:
            self._reference = vectors_TD

    def stop_dictating(self) -> None:
        """The agent speaks for itself again, at once."""
        with self._lock:
            self._dictation.stop()

    @property
    def cuts(self) -> int:
        """How often the user's voice has stopped what the agent was told to say."""
        return self._dictation.cuts

    def end(self, reason: str) -> None:
        """Free the slot. The agent's last frames may still be taken. The first reason counts."""
        with self._lock:
            if self.ended:
                return
            self.ended = reason
            self._user.clear()
            self._lock.notify()
        self._tell()

    @property
    def waiting(self) -> int:
        """How many of the user's frames wait to be heard."""
        return len(self._user)

    def counts(self) -> Counts:
        """The counts so far. `response` starts again with each call."""
        with self._lock:
            return self._counter.take(len(self._user))

    def _tell(self) -> None:
        try:
            self._wake()
        except Exception:  # the caller has gone without ending the session
            self.ended = self.ended or "gone"

    # For the batcher

    @property
    def running(self) -> bool:
        return not (self.ended or self.paused or self.fresh)

    @property
    def ready_at(self) -> float:
        """When to step this session, given what has arrived so far."""
        return self.clock.ready_at(self._user.oldest) if self._primed else self.clock.first_at

    def begin(self, sampling: Sampling) -> None:
        """The slot was reset with these settings. If others were requested meanwhile, it must be reset again."""
        with self._lock:
            self.fresh = sampling != self.sampling
            self._begin_past()
            self.clock.start(self._now())

    def hear(self, now: float) -> np.ndarray:
        """The frame to hear in the step that begins now."""
        self._ready, self._void = self.ready_at, not self._primed
        self.came, self._user_S = None, np.zeros(self._frame_size, np.float32)
        if self._void:
            self._primed = True
        elif len(self._user):
            self.came, self._user_S = self._user.pop()
            self._met = True
            if self.clock.heard(self.came, len(self._user)):
                self._user.keep_newest()
        else:
            self.clock.missed()
            self._counter.missing += self._met
        self.clock.stepped(now)
        self._dictation.hear(rms_of(self._user_S) >= LOUD_USER)
        self._dictated = CHOSEN
        return self._user_S

    def take_reference(self) -> np.ndarray | None:
        """What is to be referred to from the step that begins now on."""
        reference, self._reference = self._reference, None
        return reference

    @property
    def told(self) -> bool:
        """Whether the text is dictated in the step that begins now."""
        return self._dictation.active and not self._void

    def write(self, token: int) -> int:
        """Returns the text token to write instead of `token`, which the model chose."""
        with self._lock:
            self._dictated = self._dictation.write(token)
            return self._dictated

    def say(self, frames: Frames, done: float) -> None:
        """Take this slot's part of a finished step."""
        with self._lock:
            if self.ended or self.fresh or self._void:
                return
            self._frame += 1
            self._counter.frames += 1
            self._counter.late += done - self._ready > FRAME_SECONDS
            if self.came is not None:
                self._counter.response = max(self._counter.response, done - self.came)
            said = self._transcripts.said(self._frame, frames, self.slot)
            said = replace(said, dictated=self._dictated)
            slow = self._agent.push(said, done)
        if self._sink is not None:
            self._sink(self._user_S, said, frames.heard_BQ[self.slot], frames.tokens_BK[self.slot])
        if slow:
            self.end("slow")
        else:
            self._tell()
