"""Dictation: text that the agent must say, forced into its text stream while it keeps listening.

The model hears and speaks as usual; only its text tokens are replaced, at the pace of its own PAD and EPAD choices
(`engine.script.MonologueMachine`). So it works with every dialogue model. Time is counted in frames only.
"""

from duologue.engine.script import Entry, MonologueMachine, Script
from duologue.interfaces import TextMarks
from duologue.lm.tokenizer import Tokenizer

QUIET_FRAMES = 3  # frames of user silence before dictated words begin
CUTS_IN_FRAMES = 6  # consecutive frames of user speech that interrupt: longer than "uh-huh"
LONGEST_TOKENS = 4000  # tokens that may be dictated without a pause: some twenty minutes of speech
LONGEST_HOLD_FRAMES = 150  # frames for which `hold` keeps the agent silent at most: 12 s


class Dictation:
    """The dictated text of one conversation. `push` adds text, `hold` keeps the agent silent until more comes; call
    `hear` and then `write` in every frame."""

    def __init__(self, tokenizer: Tokenizer, marks: TextMarks):
        self._tokenizer, self._marks = tokenizer, marks
        self._quiet, self._voiced = QUIET_FRAMES, 0
        self.cuts = 0  # number of interruptions
        self.stop()

    def stop(self) -> None:
        """Drop the rest of the text."""
        self._machine: MonologueMachine | None = None
        self._waiting: list[Entry] = []
        self._step = self._held = self._size = 0

    @property
    def active(self) -> bool:
        """Whether the model's text tokens are replaced in this frame."""
        return self._machine is not None or self._held > 0 or self._due

    @property
    def _due(self) -> bool:
        return bool(self._waiting) and self._quiet >= QUIET_FRAMES

    def push(self, text: str) -> bool:
        """Append text. White space ends a word; so does the end of the text. Numbers and signs are read out. Words that
        are too many are left out; returns whether there were none."""
        script = Script(self._tokenizer, between=0, aloud=True)
        for entry in (*script.push(text), *script.finish()):
            if self._size + _size(entry) > LONGEST_TOKENS:
                return False
            self._waiting.append(entry)
            self._size += _size(entry)
        return True

    def hold(self) -> None:
        """After the dictated text, keep the agent silent until more text comes or the user speaks."""
        self._held = LONGEST_HOLD_FRAMES

    def release(self) -> None:
        """After the dictated text, let the model choose its own words again."""
        self._held = 0

    def hear(self, voiced: bool) -> None:
        """Process one frame of the user; `voiced`: whether it has speech."""
        self._quiet, self._voiced = (0, self._voiced + 1) if voiced else (self._quiet + 1, 0)
        if self._voiced >= CUTS_IN_FRAMES and (self._machine is not None or self._held):
            waiting, begun = self._waiting, self._machine is not None
            self.stop()
            if begun:
                self.cuts += 1
            else:
                self._waiting = waiting  # not begun yet: it is said once the user is silent
                self._size = sum(map(_size, waiting))

    def write(self, token: int) -> int:
        """The token to write in place of the model's choice `token`."""
        if self._due:
            self._machine = self._machine or MonologueMachine(self._marks.pad, self._marks.epad)
            self._machine.push(self._waiting)
            self._waiting = []
        if self._machine is None:
            self._held = max(0, self._held - 1)
            return self._marks.pad
        written = self._machine.process(self._step, token)
        self._step += 1
        if self._machine.end_step is not None and not self._waiting:
            held = self._held
            self.stop()
            self._held = held
        return written


def _size(entry: Entry) -> int:
    return 1 + len(entry.tokens)
