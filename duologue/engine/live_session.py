"""The place of one conversation among many: its queues, its clock, its counts."""

import secrets
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from duologue.audio.activity import LOUD_USER, rms_of
from duologue.audio.files import clean
from duologue.audio.framing import Framer
from duologue.engine.base import Frames, TextMarks
from duologue.engine.dictation import Dictation
from duologue.engine.session import AgentFrame, CaptionStreams
from duologue.lm.sampling import Sampling
from duologue.lm.tokenizer import Tokenizer

FRAME = 0.08  # seconds
EARLY = 0.04  # seconds before its time that a frame may be heard, so that one that came late can be caught up with
GRACE = 0.06  # seconds after its time that a missing frame is waited for
PATIENCE = 0.03  # seconds that a frame and its step may take in all so that others can be stepped with it
BACKLOG = 25  # frames of the user that may wait: 2 s
PATIENT_BACKLOG = 375  # of a conversation that waits for them: 30 s
NEVER = float("inf")
SLACK = 2  # frames that may wait without harm; with more, the user's silence is skipped to catch up
LAG = 4  # frames that may wait all through a WINDOW; if more do, all but one are dropped
WINDOW = 25  # frames
HURRY = 0.04  # seconds that a conversation may move forward in a WINDOW to catch up with a user who is ahead
CHOSEN = -2  # the text token of a frame that the model chose itself
NOWHERE = -1  # the slot of a session that has none yet
UNREAD = 25  # frames of the agent that may wait to be taken: 2 s; if more do, the oldest go
BEHIND = 10.0  # seconds that a reader may be so far behind before the conversation ends


class FrameSink(Protocol):
    """Gets every frame of a conversation, on the worker's thread: it must not block."""

    def __call__(
        self, user_S: np.ndarray, said: AgentFrame, heard_Q: np.ndarray, tokens_K: np.ndarray
    ) -> None: ...


@dataclass(frozen=True)
class Counts:
    """Frames of a conversation so far. `late`: the agent's that came more than 80 ms after the user's; `missing`: the
    user's that did not come in time; `dropped`: those, the user's or the agent's, that were thrown away because too
    many waited. `response`: the longest seconds from a user's frame to its answer since the last time this was asked;
    `waiting`: the user's frames that wait."""

    frames: int
    late: int
    missing: int
    dropped: int
    waiting: int
    response: float


class LiveSession:
    """One conversation of a `Batcher`. `push`, `take`, `pause`, `resume`, `restart` and `end` are for whoever holds the
    conversation, on any thread; the rest is the batcher's."""

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
        self.ended: str | None = None  # the reason, once it has
        self.fresh, self.paused = True, False
        self.last_sound = now()  # when the user's sound last came
        self.next = now()  # when the next frame of the user is expected
        self._lock, self._wake, self._sink, self._now = lock, wake, sink, now
        self._tokenizer, self._frame_size, self._marks = tokenizer, frame_size, marks
        self._patient, self._backlog = patient, PATIENT_BACKLOG if patient else BACKLOG
        self._framer = Framer(frame_size)
        self._heard: deque[tuple[float, np.ndarray]] = deque()  # when it came, and the frame
        self._said: deque[AgentFrame] = deque()
        self._frames = self._late = self._missing = self._dropped = 0
        self._response = 0.0
        self._behind_since: float | None = None  # when the reader fell too far behind
        self._begin_past()

    def _begin_past(self) -> None:
        self._transcripts = CaptionStreams(self._tokenizer)
        self._dictation = Dictation(self._tokenizer, self._marks)
        self._dictated = CHOSEN
        self._primed = self._met = False  # whether the silent frame was heard, and whether the user was
        self._gap = True  # the last frame was heard as silence for want of another
        self._quiet = True  # the last frame of the user was silence
        self._last_step = -FRAME
        self._frame = 0
        self.came: float | None = None  # when the frame came that is heard in this step
        self._new_window()

    def _new_window(self) -> None:
        self._in_window, self._least_waiting, self._least_early = 0, BACKLOG, 1.0

    # For whoever holds the conversation

    def push(self, wav_S: np.ndarray) -> None:
        """Take the user's sound, any number of samples (float32 at the model's rate). More than 2 s do not wait: the
        oldest goes."""
        now = self._now()
        wav_S = clean(np.asarray(wav_S, np.float32))
        with self._lock:
            if self.ended or self.paused or not wav_S.size:
                return
            self.last_sound = now
            for frame_S in self._framer.push(wav_S):
                self._heard.append((now, frame_S))
            while len(self._heard) > self._backlog:
                self._heard.popleft()
                self._dropped += 1
            if self._heard:
                self._lock.notify()

    def silent(self) -> None:
        """The user is silent: what does not come is not missed."""
        self.last_sound = self._now()

    def take(self, most: int = UNREAD) -> list[AgentFrame]:
        """What the agent has said since the last time, the oldest `most` frames of it."""
        with self._lock:
            said = [self._said.popleft() for _ in range(min(most, len(self._said)))]
            if not self._said:
                self._behind_since = None
            return said

    def pause(self) -> None:
        """Nothing is heard or said until `resume`; the conversation is kept."""
        with self._lock:
            self.paused = True
            self._forget_sound()

    def resume(self) -> None:
        with self._lock:
            if self.paused:
                self.paused, self._gap = False, True
                self.next = self.last_sound = self._now()
                self._lock.notify()

    def restart(self, sampling: Sampling, sink: FrameSink | None = None) -> None:
        """A new conversation in this session, with another sink."""
        with self._lock:
            if not self.ended:
                self.sampling, self._sink, self.fresh, self.paused = sampling, sink, True, False
                self.last_sound = self._now()
                self._forget_sound()
                self._said.clear()
                self._lock.notify()

    def dictate(self, text: str) -> None:
        """Have the agent say this, after what it is told already, once the user is silent."""
        with self._lock:
            self._dictation.push(text)

    def hold(self) -> None:
        """Keep the agent silent, after what it is told, until it is told more or the user speaks; 12 s at most."""
        with self._lock:
            self._dictation.hold()

    def release(self) -> None:
        """Let the agent speak for itself again, once what it is told is said."""
        with self._lock:
            self._dictation.release()

    def stop_dictating(self) -> str:
        """The agent speaks for itself again, at once. Returns what it was told and did not say."""
        with self._lock:
            return self._dictation.stop()

    @property
    def dictates(self) -> bool:
        """Whether the agent has been told words that it has not said yet."""
        with self._lock:
            return self._dictation.speaks

    def end(self, reason: str) -> None:
        """Free the slot. What was said may still be taken. The first reason counts."""
        with self._lock:
            if self.ended:
                return
            self.ended = reason
            self._forget_sound()
            self._lock.notify()
        self._tell()

    def counts(self) -> Counts:
        with self._lock:
            response, self._response = self._response, 0.0
            return Counts(self._frames, self._late, self._missing, self._dropped, len(self._heard), response)

    def _tell(self) -> None:
        try:
            self._wake()
        except Exception:  # whoever held the conversation has gone without a word
            self.ended = self.ended or "gone"

    def _forget_sound(self) -> None:
        self._heard.clear()
        self._framer = Framer(self._frame_size)

    # For the batcher

    @property
    def running(self) -> bool:
        return not (self.ended or self.paused or self.fresh)

    @property
    def ready_at(self) -> float:
        """When to step this session, by what has come so far."""
        if not self._primed:
            return self._last_step
        if not self._heard:
            return NEVER if self._patient else self.next + GRACE
        came = self._heard[0][0]
        # After a gap the user's clock is met anew.
        return max(came, self._last_step + FRAME / 2 if self._gap else self.next - EARLY)

    def begin(self, sampling: Sampling) -> None:
        """The slot is as new, with these settings: if others were asked for meanwhile, it must be made so once more."""
        with self._lock:
            self.fresh = sampling != self.sampling
            self._begin_past()
            self._last_step = self.next = self._now()

    def hear(self, now: float) -> np.ndarray:
        """The frame to hear in the step that begins now."""
        self._ready, self._void = self.ready_at, not self._primed
        self.came, self._user_S = None, np.zeros(self._frame_size, np.float32)
        if self._void:
            self._primed = True
        elif self._heard:
            self.came, self._user_S = self._next_heard()
            if self._gap:
                self.next = self.came
            self._met, self._gap = True, False
            self._keep_pace(self.came)
        else:
            self._gap = True
            self._missing += self._met
        self._last_step = now
        self._dictation.hear(rms_of(self._user_S) >= LOUD_USER)
        self._dictated = CHOSEN
        # A stall of the machine is not caught up with: that would make the whole conversation late. One of the line is.
        self.next = (self.next if self._patient else max(self.next, now - 2 * FRAME)) + FRAME
        return self._user_S

    @property
    def told(self) -> bool:
        """Whether the model's choice of text is replaced in the step that begins now."""
        return self._dictation.active and not self._void

    def write(self, token: int) -> int:
        """The model chose this text token: what is to be written instead."""
        with self._lock:
            self._dictated = self._dictation.write(token)
            return self._dictated

    def _next_heard(self) -> tuple[float, np.ndarray]:
        """The frame that waited longest. While too many wait, silence is dropped where more silence is on both of its
        sides: no word loses its beginning or end."""
        while True:
            came, user_S = self._heard.popleft()
            before, self._quiet = self._quiet, rms_of(user_S) < LOUD_USER
            skip = len(self._heard) > SLACK and before and self._quiet and not self._patient
            if not skip or rms_of(self._heard[0][1]) >= LOUD_USER:
                return came, user_S
            self._dropped += 1

    def _keep_pace(self, came: float) -> None:
        self._in_window += 1
        self._least_waiting = min(self._least_waiting, len(self._heard))
        self._least_early = min(self._least_early, self.next - EARLY - came)
        if self._in_window < WINDOW:
            return
        if self._least_waiting > LAG:
            self._dropped += len(self._heard) - 1
            self._heard = deque([self._heard[-1]])
        elif self._least_early > 0:
            self.next -= min(self._least_early, HURRY)
        self._new_window()

    def say(self, frames: Frames, done: float) -> None:
        """Take this slot's part of a step that is done."""
        with self._lock:
            if self.ended or self.fresh or self._void:
                return
            self._frame += 1
            self._frames += 1
            self._late += done - self._ready > FRAME
            if self.came is not None:
                self._response = max(self._response, done - self.came)
            said = self._transcripts.said(self._frame, frames, self.slot)
            said = replace(said, dictated=self._dictated)
            self._said.append(said)
            if len(self._said) > UNREAD:
                self._drop_oldest(done)
            slow = self._behind_since is not None and done - self._behind_since > BEHIND
        if self._sink is not None:
            self._sink(self._user_S, said, frames.heard_BQ[self.slot], frames.tokens_BK[self.slot])
        if slow:
            self.end("slow")
        else:
            self._tell()

    def _drop_oldest(self, now: float) -> None:
        """Of what was not taken; its words are kept."""
        oldest, next = self._said.popleft(), self._said[0]
        self._said[0] = replace(
            next, text=oldest.text + next.text, user_text=oldest.user_text + next.user_text
        )
        self._dropped += 1
        if self._behind_since is None:
            self._behind_since = now
