"""Text that the agent of a conversation is told to say, put into its text stream while it listens on.

The model goes on hearing and speaking as always; only its text tokens are replaced, at the pace of its own choices
(`engine.script.MonologueMachine`). So any model that holds conversations can be dictated to. Knows no clock: it moves
with the frames.
"""

from duologue.engine.script import Entry, MonologueMachine, Script
from duologue.interfaces import TextMarks
from duologue.lm.tokenizer import Tokenizer

QUIET_FRAMES = 3  # frames without the user's voice before dictated words begin
CUTS_IN_FRAMES = 6  # frames of the user's voice without a break that stop them: longer than "uh-huh"
LONGEST_HOLD_FRAMES = 150  # frames that the agent is kept silent for words that are to come: 12 s


class Dictation:
    """What the agent of one conversation is told to say: `push` text, `hold` it silent until some comes; call `hear`
    and then `write` in every frame."""

    def __init__(self, tokenizer: Tokenizer, marks: TextMarks):
        self._tokenizer, self._marks = tokenizer, marks
        self._quiet, self._voiced = QUIET_FRAMES, 0
        self.interrupted = ""  # what the user's voice kept from being said, the last time it did
        self.cuts = 0  # how often it did
        self._clear()

    def _clear(self) -> None:
        self._machine: MonologueMachine | None = None
        self._waiting: list[Entry] = []
        self._told: list[Entry] = []  # to the machine
        self._step = self._held = 0

    @property
    def active(self) -> bool:
        """Whether the model's choices are replaced in this frame."""
        return self._machine is not None or self._held > 0 or self._due

    @property
    def speaks(self) -> bool:
        """Whether there are words that have not been written yet."""
        return self._machine is not None or bool(self._waiting)

    @property
    def _due(self) -> bool:
        return bool(self._waiting) and self._quiet >= QUIET_FRAMES

    def push(self, text: str) -> None:
        """More to say, after what is being said. White space ends a word; so does the end of the text."""
        script = Script(self._tokenizer, between=0)
        self._waiting += [*script.push(text), *script.finish()]

    def hold(self) -> None:
        """Keep the agent silent, once what it is told is said, until more comes or the user speaks."""
        self._held = LONGEST_HOLD_FRAMES

    def release(self) -> None:
        """Let the agent speak for itself again, once what it is told is said."""
        self._held = 0

    def stop(self) -> str:
        """Say no more of it. Returns what was not said."""
        said = len(self._machine.words) if self._machine is not None else 0
        unsaid = [entry.text for entry in (*self._told, *self._waiting) if entry.tokens][said:]
        self._clear()
        return " ".join(unsaid)

    def hear(self, voiced: bool) -> None:
        """Whether the user's voice is in this frame."""
        self._quiet, self._voiced = (0, self._voiced + 1) if voiced else (self._quiet + 1, 0)
        if self._voiced >= CUTS_IN_FRAMES and (self._machine is not None or self._held):
            waiting, begun = self._waiting, self._machine is not None
            unsaid = self.stop()
            if begun:
                self.interrupted = unsaid
                self.cuts += 1
            else:
                self._waiting = waiting  # nothing of it has begun: it is said once the user is silent

    def write(self, token: int) -> int:
        """The model chose `token`: what is to be written instead."""
        if self._due:
            self._machine = self._machine or MonologueMachine(self._marks.pad, self._marks.epad)
            self._machine.push(self._waiting)
            self._told += self._waiting
            self._waiting = []
        if self._machine is None:
            self._held = max(0, self._held - 1)
            return self._marks.pad
        written = self._machine.process(self._step, token)
        self._step += 1
        if self._machine.end_step is not None and not self._waiting:
            held = self._held
            self._clear()
            self._held = held
        return written
