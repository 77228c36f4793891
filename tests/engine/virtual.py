"""Conversations in virtual time: a clock that only moves when told, and a batcher without a thread."""

from dataclasses import dataclass, field, replace

import numpy as np

from duologue.engine.backend import TorchBackend
from duologue.engine.batcher import Batcher
from duologue.engine.live_clock import FRAME_SECONDS
from duologue.engine.live_session import LiveSession
from duologue.engine.session import AgentFrame, Session
from duologue.interfaces import Frames, TextMarks
from duologue.lm.sampling import Sampling
from duologue.weights import Model, load


class Clock:
    def __init__(self):
        self.time = 1000.0

    def __call__(self) -> float:
        return self.time


class EchoBackend:
    """No model: each slot says the frame it hears, without words. `heard`: the tokens that it writes down of the
    user's words, one a frame from two frames after the first sound on, then padding; None: it writes down nothing."""

    frame_size, sample_rate = 1920, 24_000
    marks = TextMarks(3, 0)

    def __init__(
        self, slots: int, clock: Clock | None = None, takes: float = 0.0, heard: list[int] | None = None
    ):
        self.slots, self.clock, self.takes, self.heard = slots, clock, takes, heard
        self.count_B, self.since_B = np.zeros(slots, np.int64), np.zeros(slots, np.int64)
        self.steps: list[list[int]] = []
        self.faults: list[Exception] = []  # raised by the next steps
        self.bad: set[int] = set()  # slots whose start fails
        self.nan: set[int] = set()  # slots that give no numbers until they start anew

    def rebuild(self) -> None:
        self.count_B[:] = self.since_B[:] = 0

    def start(self, sampling: dict[int, Sampling]) -> None:
        for slot in sampling:
            if slot in self.bad:
                raise ValueError("bad settings")
            self.count_B[slot] = self.since_B[slot] = 0
            self.nan.discard(slot)

    def step(self, wav_BS: np.ndarray, exec_B: np.ndarray, rewrite=None) -> Frames:
        if self.faults:
            raise self.faults.pop(0)
        if self.clock is not None:
            self.clock.time += self.takes
        self.steps.append(np.flatnonzero(exec_B).tolist())
        self.count_B += exec_B
        self.since_B += exec_B & ((self.since_B > 0) | (np.abs(wav_BS).max(1) > 0.01))
        finite_B = np.array([slot not in self.nan for slot in range(self.slots)])
        codes = np.zeros((self.slots, 8), np.int64)
        user_text_B = np.array([self._written(int(since)) for since in self.since_B])
        text_B = np.full(self.slots, self.marks.pad)
        text_B = text_B if rewrite is None else rewrite(text_B)
        return Frames(wav_BS.copy(), text_B, user_text_B, codes, codes, finite_B)

    def _written(self, since: int) -> int:
        if self.heard is None:
            return -1
        return self.heard[since - 3] if 0 <= since - 3 < len(self.heard) else 3


@dataclass
class Caller:
    """A user who sends a frame every 80 ms from `begins` on, and writes down what the agent says."""

    session: LiveSession
    user_TS: np.ndarray
    begins: float
    sent: int = 0
    said: list[AgentFrame] = field(default_factory=list)

    @property
    def next_at(self) -> float:
        return self.begins + self.sent * FRAME_SECONDS if self.sent < len(self.user_TS) else float("inf")

    def send(self) -> None:
        self.session.push(self.user_TS[self.sent])
        self.sent += 1


class Room:
    """A batcher, its clock and its callers."""

    def __init__(self, backend, tokenizer):
        self.clock = Clock()
        if isinstance(backend, EchoBackend):
            backend.clock = self.clock
        self.backend = backend
        self.batcher = Batcher(backend, tokenizer, self.clock)
        self.callers: list[Caller] = []

    def call(
        self, user_TS: np.ndarray, sampling: Sampling | None = None, after: float = 0.0, sink=None
    ) -> Caller:
        session = self.batcher.open(sampling or Sampling(), lambda: None, sink)
        caller = Caller(session, user_TS, self.clock.time + after)
        self.callers.append(caller)
        return caller

    def run(self, seconds: float) -> None:
        """Let time pass: callers speak, the batcher does what is due."""
        until = self.clock.time + seconds
        while True:
            at = self.batcher.tick()
            for caller in self.callers:
                caller.said += caller.session.take()
                while caller.next_at <= min(self.clock.time, until):
                    caller.send()
            if at is not None and at <= self.clock.time <= until:
                continue
            times = [c.next_at for c in self.callers] + ([at] if at is not None else [])
            soonest = min(times, default=float("inf"))
            if soonest > until:
                self.clock.time = max(self.clock.time, until)
                return
            self.clock.time = max(self.clock.time, soonest)
            for caller in self.callers:
                while caller.next_at <= self.clock.time:
                    caller.send()


def room(model: Model, slots: int) -> Room:
    return Room(TorchBackend(model, slots), model.tokenizer)


def listening(heads: int = 1, vocabulary: int | None = None) -> Model:
    """The tiny model with extra heads: the first writes down the user's words if it has the text's vocabulary."""
    model = load("tiny")
    config = model.files.config
    lm = replace(config.lm, extra_heads=heads, extra_heads_dim=vocabulary or config.lm.text_card_out)
    model.files = replace(model.files, config=replace(config, lm=lm))
    return model


def noise(frames: int, seed: int = 0) -> np.ndarray:
    """A user: float32 [frames, 1920]."""
    return (0.1 * np.random.default_rng(seed).standard_normal((frames, 1920))).astype(np.float32)


def seeded(model: Model, seed: int) -> Sampling:
    return replace(model.sampling, seed=seed)


def alone(model: Model, user_TS: np.ndarray, seed: int) -> list[AgentFrame]:
    """What the model says to a user who is its only one."""
    session = Session(model, seeded(model, seed))
    return [session.push(frame_S) for frame_S in user_TS]
