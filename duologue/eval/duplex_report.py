"""From the scores of many scenes to the figures of a report."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from statistics import fmean
from typing import TYPE_CHECKING, Any

import numpy as np

from duologue.audio.activity import FLOOR_DB, GAP_SECONDS
from duologue.eval.duplex_kinds import HEARD, KINDS, LONG, UNHEARD
from duologue.eval.duplex_score import GOES_ON_SECONDS, JUST_AFTER_SECONDS, SAME, Score, Turn, edits
from duologue.spoken_text import plain_words

if TYPE_CHECKING:
    from rich.table import Table

SILENT_WITHIN_SECONDS = 0.4  # of an interruption
Values = Callable[[list[Score]], list[float]]


@dataclass(frozen=True)
class Measure:
    """One figure: `values` of the scores of a kind, brought to one number. `target`: (">=" or "<=", number)."""

    kind: str
    title: str
    unit: str
    values: Values
    target: tuple[str, float] | None = None
    reduce: Callable[[list[float]], float] = fmean

    def of(self, scores: list[Score]) -> "Figure":
        values = self.values(scores)
        return Figure(round(self.reduce(values), 2) if values else None, len(values))


@dataclass(frozen=True)
class Figure:
    """`value` over `count` scenes, questions or words; None where there was none."""

    value: float | None
    count: int


@dataclass(frozen=True)
class Line:
    """A row of the table. `met`: whether the figure of heard phrasings reaches the target; None without either."""

    kind: str
    title: str
    unit: str
    target: str
    heard: Figure
    unheard: Figure
    met: bool | None


@dataclass
class DuplexReport:
    """What a model did in how many scenes. `minutes`: share of right answers in each minute of long conversations."""

    model: str
    lines: list[Line]
    scenes: dict[str, dict[str, Any]]
    minutes: list[float | None]
    frame_ms: dict[str, float] | None
    settings: dict[str, Any]
    scores: list[Score] = field(default_factory=list, repr=False)

    def value(self, kind: str, title: str, split: str = HEARD) -> float | None:
        """The figure of a row of the table."""
        line = next(line for line in self.lines if (line.kind, line.title) == (kind, title))
        return (line.heard if split == HEARD else line.unheard).value


# What is measured


def _turns(scores: Iterable[Score]) -> list[Turn]:
    return [turn for score in scores if score.counts for turn in score.turns]


def _percent(pick: Callable[[Turn], bool | None]) -> Values:
    def values(scores: list[Score]) -> list[float]:
        return [100.0 * found for turn in _turns(scores) if (found := pick(turn)) is not None]

    return values


def _of_scenes(pick: Callable[[Score], bool | None]) -> Values:
    def values(scores: list[Score]) -> list[float]:
        return [100.0 * found for score in scores if score.counts and (found := pick(score)) is not None]

    return values


def _responses(scores: list[Score]) -> list[float]:
    return [1000 * turn.response for turn in _turns(scores) if turn.response is not None]


def _silences(scores: list[Score]) -> list[float]:
    return [1000 * score.silent_after for score in scores if score.counts and score.silent_after is not None]


def _silent_in_time(score: Score) -> bool | None:
    return None if score.silent_after is None else score.silent_after <= SILENT_WITHIN_SECONDS


def _word_errors(pairs: Callable[[list[Score]], Iterable[tuple[str, str]]]) -> Values:
    """One value for each word of the texts, so that their mean is the error rate of them all in percent."""

    def values(scores: list[Score]) -> list[float]:
        found = [(plain_words(text).split(), plain_words(heard).split()) for text, heard in pairs(scores)]
        words = sum(len(text) for text, _ in found)
        wrong = sum(edits(heard, text) for text, heard in found)
        return [100 * wrong / words] * words if words else []

    return values


def _own_speech(scores: list[Score]) -> list[tuple[str, str]]:
    return [(turn.said, turn.asr) for turn in _turns(scores) if turn.asr is not None and turn.said]


def _captions(scores: list[Score]) -> list[tuple[str, str]]:
    return [score.heard for score in scores if score.heard is not None]


def _percentile(q: float) -> Callable[[list[float]], float]:
    return lambda values: float(np.percentile(values, q))


def _in_minute(which: int) -> Values:
    """Right answers in the first (0) or last (-1) minute of a conversation."""

    def values(scores: list[Score]) -> list[float]:
        found = []
        for score in scores:
            minutes = [int(turn.asked // 60) for turn in score.turns]
            chosen = (min, max)[which](minutes, default=0)
            found += [100.0 * t.right for t, m in zip(score.turns, minutes, strict=True) if m == chosen]
        return found

    return values


def _last(pick: Callable[[Turn], bool]) -> Values:
    """Of the last question of each scene; one that was never asked is answered wrongly."""
    return lambda scores: [
        100.0 * bool(score.turns and pick(score.turns[-1])) for score in scores if score.counts
    ]


_RIGHT = _percent(lambda turn: turn.right)
MEASURES = (
    Measure("turn", "takes the turn", "%", _percent(lambda t: t.response is not None), (">=", 98)),
    Measure("turn", "response, median", "ms", _responses, ("<=", 320), _percentile(50)),
    Measure("turn", "response, 90th percentile", "ms", _responses, None, _percentile(90)),
    Measure("turn", "response, 99th percentile", "ms", _responses, None, _percentile(99)),
    Measure("turn", "talks into the question", "%", _percent(lambda t: t.early)),
    Measure("turn", "right answer, text", "%", _RIGHT, (">=", 90)),
    Measure("turn", "right answer, ASR", "%", _percent(lambda t: t.right_asr), (">=", 85)),
    Measure("turn", "WER of its speech to its text", "%", _word_errors(_own_speech), ("<=", 10)),
    Measure("turn", "WER of the user's words", "%", _word_errors(_captions)),
    Measure("turn", "says that it does not know", "%", _percent(lambda t: t.unknown and not t.right), ("<=", 4)),
    Measure("conversation", "takes the turn", "%", _percent(lambda t: t.response is not None)),
    Measure("conversation", "right answer, text", "%", _RIGHT),
    Measure("conversation", "WER of the user's words", "%", _word_errors(_captions)),
    Measure("pause", "takes the turn inside it", "%", _of_scenes(lambda s: s.takes_in_pause), ("<=", 10)),
    Measure("pause", "right answer, text", "%", _RIGHT),
    Measure("interruption", "silent within 400 ms", "%", _of_scenes(_silent_in_time), (">=", 90)),
    Measure("interruption", "silent after, median", "ms", _silences, None, _percentile(50)),
    Measure("interruption", "silent after, 90th percentile", "ms", _silences, None, _percentile(90)),
    Measure("interruption", "new question answered", "%", _RIGHT, (">=", 80)),
    Measure("stop", "silent within 400 ms", "%", _of_scenes(_silent_in_time), (">=", 90)),
    Measure("stop", "silent after, median", "ms", _silences, None, _percentile(50)),
    Measure("stop", "answered", "%", _RIGHT),
    Measure("backchannel", "goes on", "%", _of_scenes(lambda s: s.goes_on), (">=", 80)),
    Measure("backchannel", "says all of its answer", "%", _of_scenes(lambda s: s.finished)),
    Measure("follow-up", "right answer, text", "%", _last(lambda t: t.right), (">=", 75)),
    Measure("recall", "right answer, text", "%", _last(lambda t: t.right), (">=", 75)),
    Measure("repetition", "says the same again", "%", _last(lambda t: t.right), (">=", 75)),
    Measure("correction", "right answer, text", "%", _last(lambda t: t.right), (">=", 75)),
    Measure("unknown", "says that it does not know", "%", _last(lambda t: t.unknown), (">=", 80)),
    Measure("unknown", "takes the turn", "%", _last(lambda t: t.response is not None)),
    Measure("half-heard", "right answer, text", "%", _last(lambda t: t.right)),
    Measure("third-party", "right answer, text", "%", _last(lambda t: t.right)),
    Measure("negation", "right answer, text", "%", _last(lambda t: t.right)),
    Measure("opener", "right answer, text", "%", _last(lambda t: t.right)),
    Measure("opener", "takes the turn", "%", _last(lambda t: t.response is not None), (">=", 98)),
    Measure("aside", "stays quiet", "%", _of_scenes(lambda s: s.quiet), (">=", 70)),
    Measure("aside", "next question answered", "%", _last(lambda t: t.right)),
    Measure("silence", "stays quiet", "%", _of_scenes(lambda s: s.quiet), (">=", 95)),
    Measure("noise", "stays quiet", "%", _of_scenes(lambda s: s.quiet), (">=", 95)),
    Measure("babble", "stays quiet", "%", _of_scenes(lambda s: s.quiet)),
    Measure(LONG, "right answer, first minute", "%", _in_minute(0)),
    Measure(LONG, "right answer, last minute", "%", _in_minute(-1)),
)  # fmt: skip


def make_report(
    model: str,
    scores: Sequence[Score],
    frame_ms: dict[str, float] | None = None,
    settings: dict[str, Any] | None = None,
) -> DuplexReport:
    """The figures of these scenes; kinds that were not played are left out."""
    kinds = [kind for kind in (*KINDS[::-1], LONG) if any(score.kind == kind for score in scores)]
    lines = [_line(measure, scores) for measure in MEASURES if measure.kind in kinds]
    counted = {kind: _counted([s for s in scores if s.kind == kind]) for kind in kinds}
    how = {
        "voiced_above_db": FLOOR_DB,
        "gap_s": GAP_SECONDS,
        "wrong_letters_of_a_right_answer": SAME,
        "just_after_a_pause_s": JUST_AFTER_SECONDS,
        "longest_silence_of_speech_that_goes_on_s": GOES_ON_SECONDS,
    }
    minutes = _by_minute([score for score in scores if score.kind == LONG])
    return DuplexReport(model, lines, counted, minutes, frame_ms, how | (settings or {}), list(scores))


def _line(measure: Measure, scores: Sequence[Score]) -> Line:
    mine = [score for score in scores if score.kind == measure.kind]
    heard = measure.of([score for score in mine if score.split != UNHEARD])
    unheard = measure.of([score for score in mine if score.split == UNHEARD])
    met = None
    if measure.target and heard.value is not None:
        sign, bound = measure.target
        met = heard.value >= bound if sign == ">=" else heard.value <= bound
    target = f"{measure.target[0]} {measure.target[1]:g}" if measure.target else ""
    return Line(measure.kind, measure.title, measure.unit, target, heard, unheard, met)


def _counted(scores: Sequence[Score]) -> dict[str, Any]:
    """How many scenes were played and counted, and why the others were not; quiet ones by the kind of noise."""
    found: dict[str, Any] = {"played": len(scores), "counted": sum(score.counts for score in scores)}
    for score in scores:
        if score.why:
            reasons = found.setdefault("not counted", {})
            reasons[score.why] = reasons.get(score.why, 0) + 1
    for detail in sorted({score.detail for score in scores if score.detail}):
        values = [bool(score.quiet) for score in scores if score.detail == detail]
        found.setdefault("quiet", {})[detail] = f"{sum(values)} of {len(values)}"
    return found


def _by_minute(scores: Sequence[Score]) -> list[float | None]:
    turns = [turn for score in scores for turn in score.turns]
    last = max((int(turn.asked // 60) for turn in turns), default=-1)
    minutes = [[turn.right for turn in turns if int(turn.asked // 60) == m] for m in range(last + 1)]
    return [round(100 * fmean(minute), 1) if minute else None for minute in minutes]


def tables(report: DuplexReport) -> "tuple[Table, str]":
    """The table of a report, and what else there is to say."""
    from rich.table import Table

    table = Table("", "")
    for title in ("target", "phrasings heard", "n", "unheard", "n"):
        table.add_column(title, justify="right")
    last = ""
    for line in report.lines:
        if line.kind != last and last:
            table.add_section()
        mark = {None: "", True: " [green]✓[/]", False: " [red]✗[/]"}[line.met]
        cells = [_cell(line.heard.value, line.unit) + mark, str(line.heard.count or "")]
        cells += [_cell(line.unheard.value, line.unit), str(line.unheard.count or "")]
        target = f"{line.target} {line.unit}" if line.target else ""
        table.add_row(line.kind if line.kind != last else "", line.title, target, *cells)
        last = line.kind
    return table, "\n".join(_notes(report))


def _notes(report: DuplexReport) -> Iterable[str]:
    yield (
        ", ".join(
            f"{kind} {found['counted']}"
            + (f" of {found['played']}" if found["counted"] < found["played"] else "")
            for kind, found in report.scenes.items()
        )
        + " scenes counted"
    )
    if report.minutes:
        yield "right answers, minute by minute: " + " ".join(
            "-" if m is None else f"{m:.0f}" for m in report.minutes
        )
    if report.frame_ms:
        times = ", ".join(f"{name} {ms:.1f}" for name, ms in report.frame_ms.items() if name != "threads")
        yield f"ms a frame, one conversation, {report.frame_ms['threads']:.0f} threads: {times}"


def _cell(value: float | None, unit: str) -> str:
    return "-" if value is None else f"{value:.0f} {unit}" if unit == "ms" else f"{value:.1f} {unit}"
