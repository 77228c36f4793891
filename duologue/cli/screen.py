"""What a conversation in the terminal shows: the words of both as they come, and how late they are."""

import time
from collections.abc import Callable
from dataclasses import dataclass

from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

HINT = "Use headphones: without them the agent hears itself. Ctrl-C ends the conversation."
TURN_SECONDS = 1.6  # seconds of silence after which the next words begin a new line
STYLES = {"you": "yellow", "agent": "cyan"}  # of their names


@dataclass
class Line:
    """What one of them has said without a pause."""

    who: str
    text: str
    last: float  # when the last of it came

    def __rich__(self) -> Text:
        return Text.assemble((f"{self.who}: ", STYLES[self.who]), self.text)


class Screen:
    """Captions, and on a terminal a line of figures below them. Use it from `with` to its end. `hint` comes first."""

    def __init__(
        self,
        console: Console | None = None,
        hint: str = HINT,
        clock: Callable[[], float] | None = None,
    ):
        self.console = console or Console(highlight=False)
        self._hint, self._clock = hint, clock or (lambda: time.monotonic())
        self._lines: list[Line] = []  # that may go on, by their beginning
        self._figures = ""
        self._live: Live | None = None

    def __enter__(self) -> "Screen":
        if self.console.is_terminal:
            self._live = Live(self, console=self.console, refresh_per_second=8)
            self._live.start()
        if self._hint:
            self.console.print(self._hint)
        return self

    def __exit__(self, *_) -> None:
        self._finish(len(self._lines))
        self._figures = ""
        if self._live is not None:
            self._live.stop()

    def __rich__(self) -> Group:
        figures = [Text(self._figures, "dim")] if self._figures else []
        return Group(*self._lines, *figures)

    def say(self, who: str, text: str) -> None:
        """Show what one of them, "you" or "agent", says now; the empty text where they say nothing."""
        now = self._clock()
        while self._lines and now - self._lines[0].last > TURN_SECONDS:
            self._finish(1)
        if not text:
            return
        line = next(
            (line for line in self._lines if line.who == who and now - line.last <= TURN_SECONDS), None
        )
        if line is None:
            line = Line(who, "", now)
            self._lines.append(line)
        line.text += text if line.text else text.lstrip()
        line.last = now

    def note(self, text: str) -> None:
        """A line that stays."""
        self._finish(len(self._lines))
        self.console.print(Text(text, "dim"))

    def figures(self, text: str) -> None:
        """The line below, on a terminal only."""
        self._figures = text

    def _finish(self, count: int) -> None:
        """The first lines are whole: they stay, above those that go on."""
        done, self._lines = self._lines[:count], self._lines[count:]
        for line in done:
            self.console.print(line)
