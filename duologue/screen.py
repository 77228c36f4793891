"""What a conversation in the terminal shows: captions as they are spoken, and how late they are."""

import time

from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

HINT = "Use headphones: without them the agent hears itself. Ctrl-C ends the conversation."
TURN = 1.6  # seconds of silence after which the next words begin a new line


class Screen:
    """Captions, and on a terminal a line of figures below them. Use it from `with` to its end."""

    def __init__(self, console: Console | None = None):
        self.console = console or Console(highlight=False)
        self._line = self._figures = ""
        self._last = 0.0
        self._live: Live | None = None

    def __enter__(self) -> "Screen":
        if self.console.is_terminal:
            self._live = Live(self, console=self.console, refresh_per_second=8)
            self._live.start()
        self.console.print(HINT)
        return self

    def __exit__(self, *_) -> None:
        self._new_line()
        self._figures = ""
        if self._live is not None:
            self._live.stop()

    def __rich__(self) -> Group:
        return Group(
            *[Text(text, style) for text, style in ((self._line, ""), (self._figures, "dim")) if text]
        )

    def say(self, text: str) -> None:
        """Show what the agent says now; the empty text where it says nothing."""
        now = time.monotonic()
        if self._line and now - self._last > TURN:
            self._new_line()
        if text:
            self._line += text if self._line else text.lstrip()
            self._last = now

    def note(self, text: str) -> None:
        """A line that stays."""
        self._new_line()
        self.console.print(Text(text, "dim"))

    def figures(self, text: str) -> None:
        """The line below, on a terminal only."""
        self._figures = text

    def _new_line(self) -> None:
        if self._line:
            self.console.print(Text(self._line))
        self._line = ""
