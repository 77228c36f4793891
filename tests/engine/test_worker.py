"""The thread on which a recogniser or a synthesiser runs, with an engine that counts."""

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import pytest

from duologue.engine import worker as module
from duologue.engine.batcher import TRIES, Busy
from duologue.engine.worker import Worker

PATIENCE = 20.0


@dataclass
class Counter:
    """Gives the numbers up to `last`."""

    last: int
    ended: bool = False
    error: str | None = None
    now: int = 0


@dataclass
class Engine:
    slots: int = 2
    items: list[Counter] = field(default_factory=list)
    fails: bool = False
    error: BaseException = field(default_factory=lambda: ValueError("on purpose"))
    rebuilt: int = 0
    beyond_repair: bool = False
    hangs: threading.Event | None = None

    @property
    def busy(self) -> bool:
        return any(not item.ended for item in self.items)

    def tick(self) -> Iterator[tuple[Counter, int]]:
        if self.fails:
            raise self.error
        if self.hangs is not None:
            self.hangs.wait(PATIENCE)
        for item in [item for item in self.items if not item.ended]:
            item.now += 1
            item.ended = item.now >= item.last
            yield item, item.now

    def rebuild(self) -> None:
        self.rebuilt += 1
        if self.beyond_repair:
            raise ValueError("not this time")
        self.items, self.fails = [], False


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.005)


@pytest.fixture
def worker() -> Iterator[Worker[Counter]]:
    worker: Worker[Counter] = Worker(Engine())
    worker.start()
    yield worker
    worker.close()


def run(worker: Worker[Counter], last: int) -> tuple[Counter, list[int | None], threading.Event]:
    given: list[int | None] = []
    over = threading.Event()

    def sink(what: int | None) -> None:
        given.append(what)
        if what is None:
            over.set()

    item = worker.open(lambda: Counter(last), sink)
    worker.post(lambda: worker.engine.items.append(item))  # pyright: ignore[reportAttributeAccessIssue]
    return item, given, over


def test_each_gets_its_own_to_the_end(worker: Worker[Counter]) -> None:
    first, second = run(worker, 3), run(worker, 5)
    assert first[2].wait(PATIENCE)
    assert second[2].wait(PATIENCE)
    assert first[1] == [1, 2, 3, None]
    assert second[1] == [1, 2, 3, 4, 5, None]
    assert worker.used == 0


def test_what_is_posted_does_not_keep_those_waiting_who_are_under_way(worker: Worker[Counter]) -> None:
    item, _, _ = run(worker, 10**9)
    seen: list[int] = []

    def slow() -> None:
        seen.append(item.now)
        time.sleep(0.005)

    for _ in range(40):
        worker.post(slow)
    until(lambda: len(seen) == 40)
    worker.drop(item)
    assert len(set(seen)) > 3


def test_no_more_than_its_slots(worker: Worker[Counter]) -> None:
    items = [run(worker, 10**9) for _ in range(2)]
    with pytest.raises(Busy):
        run(worker, 1)
    worker.drop(items[0][0])
    _, given, over = run(worker, 1)
    assert over.wait(PATIENCE)
    assert given == [1, None]


def test_who_is_dropped_hears_no_more_and_is_ended(worker: Worker[Counter]) -> None:
    item, given, _ = run(worker, 10**9)
    worker.drop(item)
    end = time.monotonic() + PATIENCE
    while not item.ended and time.monotonic() < end:
        time.sleep(0.01)
    assert item.ended
    seen = len(given)
    time.sleep(0.05)
    assert len(given) == seen
    assert None not in given


def test_a_step_that_fails_ends_everybody_and_the_engine_starts_afresh(worker: Worker[Counter]) -> None:
    runs = [run(worker, 10**9) for _ in range(2)]

    def fail() -> None:
        worker.engine.fails = True  # pyright: ignore[reportAttributeAccessIssue]

    worker.post(fail)
    for item, given, over in runs:
        assert over.wait(PATIENCE)
        assert item.error == "the model failed"
        assert given[-1] is None
    until(lambda: worker.ready)
    assert worker.engine.rebuilt == 1  # pyright: ignore[reportAttributeAccessIssue]
    _, given, over = run(worker, 2)
    assert over.wait(PATIENCE)
    assert given == [1, 2, None]


class Panic(BaseException):
    """As a library written in Rust raises it."""


def test_after_failures_in_a_row_it_gives_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "RETRY_SECONDS", (0.001, 0.001))
    engine = Engine(fails=True, error=Panic(), beyond_repair=True)
    worker: Worker[Counter] = Worker(engine)
    assert not worker.gave_up
    worker.start()
    item, _, over = run(worker, 3)
    assert over.wait(PATIENCE)
    assert item.error
    until(lambda: worker.gave_up)
    assert engine.rebuilt == TRIES - 1
    assert not worker.ready
    with pytest.raises(Busy):
        run(worker, 1)
    worker.close()


def test_a_tick_that_hangs_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "STUCK_SECONDS", 0.05)
    monkeypatch.setattr(module, "HUNG_SECONDS", 0.5)
    engine = Engine(hangs=threading.Event())
    worker: Worker[Counter] = Worker(engine)
    worker.start()
    run(worker, 3)
    until(lambda: not worker.ready)
    until(lambda: worker.gave_up)
    assert engine.hangs is not None
    engine.hangs.set()
    worker.close()


def test_an_action_that_fails_costs_nobody(worker: Worker[Counter]) -> None:
    worker.post(lambda: 1 / 0)
    _, given, over = run(worker, 2)
    assert over.wait(PATIENCE)
    assert given == [1, 2, None]


def test_closing_ends_all() -> None:
    worker: Worker[Counter] = Worker(Engine())
    worker.start()
    item, given, over = run(worker, 10**9)
    worker.close()
    assert over.wait(PATIENCE)
    assert item.error == "the server is being restarted"
    assert given[-1] is None
    with pytest.raises(Busy):
        run(worker, 1)
