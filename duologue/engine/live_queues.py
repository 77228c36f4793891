"""The two queues of one conversation among many: frames of the user that arrived, and frames of the agent to take; and
what was counted of both."""

from collections import deque
from dataclasses import dataclass, replace

import numpy as np

from duologue.audio.activity import LOUD_USER, rms_of
from duologue.audio.framing import Framer
from duologue.engine.session import AgentFrame

BACKLOG_FRAMES = 25  # of the user that may wait: 2 s
PATIENT_BACKLOG_FRAMES = 375  # of a user whose late frames are waited for: 30 s
SLACK_FRAMES = 2  # that may wait without harm; with more, the user's silence is skipped to catch up
UNREAD_FRAMES = 25  # of the agent that may wait to be taken: 2 s; above, the oldest is dropped
BEHIND_SECONDS = 10.0  # how long a reader may be too slow before the conversation ends


@dataclass(frozen=True)
class Counts:
    """Frames of a conversation so far. `late`: of the agent, more than 80 ms after the user's; `missing`: of the user,
    not there in time; `dropped`: of either side, because too many waited. `response`: the longest seconds from a
    user's frame to its answer since the last call; `waiting`: frames of the user in the queue."""

    frames: int
    late: int
    missing: int
    dropped: int
    waiting: int
    response: float


@dataclass
class Counter:
    """Counts while the conversation goes on."""

    frames: int = 0
    late: int = 0
    missing: int = 0
    dropped: int = 0
    response: float = 0.0

    def take(self, waiting: int) -> Counts:
        """The counts; `response` starts again."""
        response, self.response = self.response, 0.0
        return Counts(self.frames, self.late, self.missing, self.dropped, waiting, response)


class UserQueue:
    """Frames of the user that have arrived and wait to be heard."""

    def __init__(self, frame_size: int, counter: Counter, patient: bool = False):
        self._frame_size, self._counter, self._patient = frame_size, counter, patient
        self._framer = Framer(frame_size)
        self._frames: deque[tuple[float, np.ndarray]] = deque()  # (time of arrival, frame)
        self.begin()

    def __len__(self) -> int:
        return len(self._frames)

    def begin(self) -> None:
        """A new conversation."""
        self._quiet = True  # the last frame was silence

    def clear(self) -> None:
        """Forget what waits, and the beginning of a frame."""
        self._frames.clear()
        self._framer = Framer(self._frame_size)

    @property
    def oldest(self) -> float | None:
        """When the frame that waits longest arrived; None if none waits."""
        return self._frames[0][0] if self._frames else None

    def push(self, wav_S: np.ndarray, now: float) -> None:
        """Add any number of samples. Above 2 s (30 s of a patient session) the oldest frames are dropped."""
        for frame_S in self._framer.push(wav_S):
            self._frames.append((now, frame_S))
        while len(self._frames) > (PATIENT_BACKLOG_FRAMES if self._patient else BACKLOG_FRAMES):
            self._frames.popleft()
            self._counter.dropped += 1

    def pop(self) -> tuple[float, np.ndarray]:
        """The frame that waited longest, and when it arrived. While too many wait, a silent frame between silent frames
        is dropped: no word loses its beginning or end."""
        while True:
            came, user_S = self._frames.popleft()
            before, self._quiet = self._quiet, rms_of(user_S) < LOUD_USER
            skip = len(self._frames) > SLACK_FRAMES and before and self._quiet and not self._patient
            if not skip or rms_of(self._frames[0][1]) >= LOUD_USER:
                return came, user_S
            self._counter.dropped += 1

    def keep_newest(self) -> None:
        """Drop all frames but the newest."""
        self._counter.dropped += len(self._frames) - 1
        self._frames = deque([self._frames[-1]])


class AgentQueue:
    """Frames of the agent that wait to be taken by the caller."""

    def __init__(self, counter: Counter):
        self._counter = counter
        self._frames: deque[AgentFrame] = deque()
        self._behind_since: float | None = None  # when the reader became too slow

    def clear(self) -> None:
        """Forget what waits."""
        self._frames.clear()

    def push(self, said: AgentFrame, now: float) -> bool:
        """Add a frame. Of a frame that is dropped because too many wait, the words are kept. Returns whether the reader
        has been too slow for too long."""
        self._frames.append(said)
        if len(self._frames) > UNREAD_FRAMES:
            oldest, next = self._frames.popleft(), self._frames[0]
            self._frames[0] = replace(
                next, text=oldest.text + next.text, user_text=oldest.user_text + next.user_text
            )
            self._counter.dropped += 1
            if self._behind_since is None:
                self._behind_since = now
        return self._behind_since is not None and now - self._behind_since > BEHIND_SECONDS

    def take(self, most: int) -> list[AgentFrame]:
        """The oldest `most` frames."""
        said = [self._frames.popleft() for _ in range(min(most, len(self._frames)))]
        if not self._frames:
            self._behind_since = None
        return said
