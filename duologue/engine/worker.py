"""A recogniser or a synthesiser on its own thread, for callers that must not block. Callers never touch the engine:
they post functions, which run between two ticks.
"""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any, Generic, Protocol, TypeVar

from duologue.engine.batcher import (
    HUNG_SECONDS,
    HUNG_START_SECONDS,
    RETRY_SECONDS,
    STUCK_SECONDS,
    TRIES,
    Busy,
)

log = logging.getLogger(__name__)
Sink = Callable[[Any], object]  # gets the outputs of an item, and None at its end
CLOSE_SECONDS = 5.0  # seconds that `close` waits for a tick
ACT_SECONDS = 0.02  # seconds of posted functions between two ticks


class Item(Protocol):
    ended: bool
    error: str | None


T = TypeVar("T", bound=Item)


class Engine(Protocol):
    """`engine.recognise.Recogniser` and `engine.speak.Synthesiser`."""

    slots: int

    @property
    def busy(self) -> bool: ...

    def tick(self) -> Iterable[tuple[Any, Any]]: ...

    def rebuild(self) -> None: ...


class Worker(Generic[T]):
    """Ticks while there is anything to do. A tick that raises ends every item and restarts the engine; after ten
    failures in a row it gives up."""

    def __init__(self, engine: Engine):
        self.engine = engine
        self._actions: deque[Callable[[], object]] = deque()
        self._watched: dict[int, tuple[T, Sink]] = {}
        self._news, self._stopping = threading.Event(), False
        self._lock = threading.Lock()  # of `_watched`
        self._failures, self._broken = 0, False
        self._busy: tuple[float, float] | None = None  # since when it computes, and how long it may at most
        self._thread = threading.Thread(target=self._run, name="duologue-speech", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        """End every item, and the thread."""
        self._stopping = True
        self._news.set()
        if self._thread.is_alive():
            self._thread.join(CLOSE_SECONDS)
        self._end_all("the server is being restarted")

    @property
    def ready(self) -> bool:
        """Whether it runs: no failure, no tick that hangs, a living thread, no shutdown."""
        return not (self._broken or self._stopping or self._computes_for(STUCK_SECONDS) or self.gave_up)

    @property
    def gave_up(self) -> bool:
        """Whether it has stopped for good."""
        dead = self._thread.ident is not None and not self._stopping and not self._thread.is_alive()
        return dead or self._failures >= TRIES or self._computes_for(None)

    def _computes_for(self, seconds: float | None) -> bool:
        busy = self._busy
        return busy is not None and time.monotonic() - busy[0] > (busy[1] if seconds is None else seconds)

    @property
    def used(self) -> int:
        """Number of slots in use."""
        with self._lock:
            return len(self._watched)

    def open(self, make: Callable[[], T], sink: Sink) -> T:
        """Add an item, created on this thread; `sink` is called on the worker's. Raises Busy if no slot is free."""
        with self._lock:
            if self._stopping or self._broken or len(self._watched) >= self.engine.slots:
                raise Busy("no slot is free")
            item = make()
            self._watched[id(item)] = item, sink
        self._news.set()
        return item

    def post(self, action: Callable[[], object]) -> None:
        """Call a function on an item, in the order of posting."""
        self._actions.append(action)
        self._news.set()

    def drop(self, item: T) -> None:
        """Cancel an item."""

        def end() -> None:
            item.ended = True

        with self._lock:
            self._watched.pop(id(item), None)
        self.post(end)

    def _run(self) -> None:
        while not self._stopping and not self.gave_up:
            self._news.clear()
            try:
                if self._broken:
                    self._compute(self.engine.rebuild, HUNG_START_SECONDS)
                    self._broken = False
                self._act()
                if self.engine.busy:
                    self._compute(self._tick, HUNG_SECONDS)
                    self._failures = 0
                    self._end_those_that_are()
                    continue
            except BaseException:  # a panic in a library written in Rust is no Exception
                self._fail()
                continue
            self._end_those_that_are()
            if not self._actions:
                self._news.wait(1.0)

    def _compute(self, action: Callable[[], object], most: float) -> None:
        self._busy = time.monotonic(), most
        try:
            action()
        finally:
            self._busy = None

    def _tick(self) -> None:
        for item, what in self.engine.tick():
            self._give(item, what)

    def _fail(self) -> None:
        self._broken, self._failures = True, self._failures + 1
        log.exception("a step failed: everything under way ends, the engine restarts")
        self._end_all("the model failed")
        if self._failures >= TRIES:
            log.critical("it has failed %d times in a row and gives up", self._failures)
        elif self._failures > 1:
            time.sleep(min(RETRY_SECONDS[0] * 2 ** (self._failures - 2), RETRY_SECONDS[1]))

    def _act(self) -> None:
        until = time.monotonic() + ACT_SECONDS
        while self._actions and time.monotonic() < until:
            action = self._actions.popleft()
            try:
                action()
            except Exception:  # affects this item only
                log.exception("what a client asked for failed")

    def _give(self, item: T, what: Any) -> None:
        with self._lock:
            watched = self._watched.get(id(item))
        if watched is not None:
            try:
                watched[1](what)
            except RuntimeError:  # its event loop has closed
                item.ended = True

    def _end_those_that_are(self) -> None:
        with self._lock:
            over = [item for item, _ in self._watched.values() if item.ended]
        for item in over:
            self._give(item, None)
            with self._lock:
                self._watched.pop(id(item), None)

    def _end_all(self, error: str) -> None:
        with self._lock:
            items = [item for item, _ in self._watched.values()]
        for item in items:
            item.error, item.ended = item.error or error, True
        self._end_those_that_are()
