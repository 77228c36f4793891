"""A million frames (22 hours) of one conversation through the engine of the server, in virtual time.

    python -m benchmarks.million                         a tenth of it with `tiny`: some 20 minutes on one core
    python -m benchmarks.million --frames 1_000_000      all of it
    python -m benchmarks.million --model echo            the engine alone, with a model that says what it hears

The user's clock is 100 ppm fast, as sound cards are: in 22 hours 100 frames more than the server's clock expects. None
may be lost, no answer may be late, and the answers must not fall behind. Memory stays as it is after the first tenth.
Prints a line a tenth; exits with 1 if something did not hold.
"""

import sys
import time
from collections import deque
from dataclasses import dataclass

import numpy as np
import psutil
import torch
import tyro

from duologue.engine.backend import TorchBackend
from duologue.engine.batcher import Batcher
from duologue.engine.live_clock import FRAME_SECONDS
from duologue.weights import load
from tests.engine.virtual import Clock, EchoBackend, noise

TENTHS = 10
TABLE = 97  # different frames of the user, again and again


@dataclass(frozen=True)
class Million:
    model: str = "tiny"
    """The model; "echo" for none."""
    frames: int = 100_000
    ppm: float = 100.0
    """How much faster than ours the user's clock is, in millionths."""


class Conversation:
    """One user, who sends a frame whenever it is due, and takes what is said."""

    def __init__(self, options: Million):
        model = load("tiny" if options.model == "echo" else options.model)
        self.clock, self.echo = Clock(), options.model == "echo"
        backend = EchoBackend(1, self.clock) if self.echo else TorchBackend(model, 1)
        if isinstance(backend, EchoBackend):
            backend.steps = deque(maxlen=1)  # all are kept for tests
        self.batcher = Batcher(backend, model.tokenizer, self.clock)
        self.session = self.batcher.open(model.sampling, lambda: None)
        self.user_TS = noise(TABLE)
        self.begins, self.period = self.clock.time + 0.5, FRAME_SECONDS / (1 + options.ppm / 1e6)
        self.sent = self.said = self.wrong = 0

    def go_on(self, frames: int) -> None:
        """Until so many frames have been sent in all."""
        while self.sent < frames:
            due, at = self.begins + self.sent * self.period, self.batcher.tick()
            self.clock.time = max(self.clock.time, due if at is None else min(due, at))
            if self.clock.time >= due:
                self.session.push(self.user_TS[self.sent % TABLE])
                self.sent += 1
            for frame in self.session.take():
                if self.echo and frame.wav_S.any():  # the silence before the first frame is not the user's
                    self.wrong += not np.array_equal(frame.wav_S, self.user_TS[self.said % TABLE])
                    self.said += 1
                elif not self.echo:
                    self.wrong += not np.isfinite(frame.wav_S).all()
                    self.said += 1


def main(options: Million) -> int:
    torch.set_num_threads(1)
    talk, process, held, memory, ahead = Conversation(options), psutil.Process(), True, 0.0, 0
    began = time.monotonic()
    for tenth in range(1, TENTHS + 1):
        talk.go_on(options.frames * tenth // TENTHS)
        counts, now = talk.session.counts(), process.memory_info().rss / 1e6
        if tenth == 1:
            memory, ahead = now, talk.said - talk.sent  # what the agent said before the user's first frame
        behind = talk.sent + ahead - talk.said
        print(
            f"{talk.sent:9} frames, {time.monotonic() - began:6.0f} s: {now:.1f} MB (x {now / memory:.4f}), "
            f"{behind} frames behind, answers after at most {1000 * counts.response:.0f} ms, {counts.late} late, "
            f"{counts.missing} missing, {counts.dropped} dropped, {talk.wrong} wrong",
            flush=True,
        )
        lost = counts.late + counts.missing + counts.dropped + talk.wrong
        held &= not lost and abs(behind) <= 1 and not talk.session.ended and now <= 1.01 * memory
    return int(not held)


if __name__ == "__main__":
    sys.exit(main(tyro.cli(Million, description=__doc__)))
