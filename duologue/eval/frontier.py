"""Response latency against false cut-offs (answering in a pause inside a turn): one curve per model.

A bias on PAD's logit moves a model along its curve: a higher bias makes it wait longer. eot-bench compares systems by
two numbers from this curve: false cut-offs at a response of 300 ms, and the response at 5 % false cut-offs.
"""

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from statistics import median
from typing import Any

import numpy as np

from duologue.data.script import Script
from duologue.errors import InputError
from duologue.eval.duplex import evaluate_duplex, read_library
from duologue.eval.duplex_scenes import ClipLibrary
from duologue.eval.duplex_score import Score
from duologue.eval.options import EvalFrontier
from duologue.eval.picture import check_picture
from duologue.eval.result import Result, write_result
from duologue.files import atomic_write, check_writable
from duologue.progress import progress
from duologue.types import StrPath
from duologue.weights import load

RESPONSE_MS, CUTOFFS = 300.0, 5.0  # the two operating points of eot-bench; cut-offs in %


@dataclass(frozen=True)
class Point:
    """The result with one bias. `cutoffs`: % of pauses inside a question in which the model starts to answer;
    `response_ms`: median time from the end of a question to the start of the answer (None: no answer); `taken`: % of
    questions that were answered."""

    pad_bias: float
    cutoffs: float
    response_ms: float | None
    taken: float


def run_frontier(options: EvalFrontier) -> list[Point]:
    """Measure the curve and write the requested files. InputError before any work if an input is missing."""
    if options.scenes < 1 or options.slots < 1 or not options.biases:
        raise InputError("--scenes and --slots are numbers from 1 up, --biases at least one number")
    if options.json is not None:
        check_writable(options.json)
    if options.png is not None:
        check_picture(options.png)
    library = read_library(options.set, Script.read(options.script), voices=options.voices)
    model = load(options.model)
    with progress("talking", 1.0) as advance:
        points = measure_frontier(
            model, library, options.biases, scenes=options.scenes, slots=options.slots, seed=options.seed,
            advance=advance,
        )  # fmt: skip
    if options.json is not None:
        write_result(options.json, frontier_result(model.name, points, options.scenes))
    if options.png is not None:
        draw_frontier(options.png, model.name, points)
    return points


def measure_frontier(
    model: Any,
    library: ClipLibrary,
    biases: Sequence[float],
    *,
    scenes: int = 100,
    slots: int = 16,
    seed: int = 0,
    advance: Callable[[float], object] = lambda share: None,
) -> list[Point]:
    """Run the same questions with a pause inside once per bias, which is added to the model's own. InputError if the
    clips lack audio for them."""
    points = []
    for bias in sorted(biases):
        sampling = replace(model.sampling, pad_bias=model.sampling.pad_bias + bias)
        report = evaluate_duplex(
            model, library, scenes=scenes, kinds=["pause"], slots=slots, seed=seed, sampling=sampling,
            time_frames=0, advance=lambda share: advance(share / len(biases)),
        )  # fmt: skip
        points.append(point_of(bias, report.scores))
    return points


def point_of(bias: float, scores: Sequence[Score]) -> Point:
    """The point of one bias, from the scores of scenes with a pause."""
    pauses = [score.takes_in_pause for score in scores if score.takes_in_pause is not None]
    turns = [turn for score in scores if not score.takes_in_pause for turn in score.turns]
    responses = [turn.response for turn in turns if turn.response is not None]
    if not pauses:
        raise InputError("none of the scenes has a pause inside a question")
    taken = 100 * len(responses) / len(turns) if turns else 0.0
    return Point(
        bias, 100 * sum(pauses) / len(pauses), 1000 * median(responses) if responses else None, taken
    )


def cutoffs_at(points: Sequence[Point], response_ms: float = RESPONSE_MS) -> float | None:
    """The lowest rate of false cut-offs (%) with a median response of at most `response_ms`; None if all are slower."""
    return _least(_pairs(points), response_ms)


def response_at(points: Sequence[Point], cutoffs: float = CUTOFFS) -> float | None:
    """The fastest median response (ms) with at most `cutoffs` % false cut-offs; None if all points have more."""
    return _least([(y, x) for x, y in _pairs(points)], cutoffs)


def frontier_result(name: str, points: Sequence[Point], scenes: int) -> Result:
    """The points, and the two numbers that sum the curve up, in the schema of all evaluations."""
    result = Result("frontier", name, settings={"scenes": scenes})
    for point in points:
        bias = f"bias {point.pad_bias:+g}"
        result.add(f"{bias}: false cut-offs", point.cutoffs, "%")
        result.add(f"{bias}: median response", point.response_ms, "ms")
        result.add(f"{bias}: turns taken", point.taken, "%")
    result.add(f"false cut-offs at {RESPONSE_MS:.0f} ms", cutoffs_at(points), "%")
    result.add(f"response at {CUTOFFS:.0f} % false cut-offs", response_at(points), "ms")
    return result


def _pairs(points: Sequence[Point]) -> list[tuple[float, float]]:
    return [(p.response_ms, p.cutoffs) for p in points if p.response_ms is not None]


def _least(pairs: Sequence[tuple[float, float]], most: float) -> float | None:
    """The smallest y with x <= `most`, interpolating linearly between adjacent points."""
    pairs = sorted(pairs)
    found = [y for x, y in pairs if x <= most]
    for (x0, y0), (x1, y1) in pairwise(pairs):
        if x0 < most < x1:
            found.append(float(np.interp(most, [x0, x1], [y0, y1])))
    return min(found, default=None)


def draw_frontier(path: StrPath, name: str, points: Sequence[Point]) -> None:
    """Plots the curve of the model `name` into a .png, .svg or .pdf file. InputError without matplotlib, or if the
    file cannot be written."""
    check_picture(path)
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 4.4), dpi=110, layout="constrained")
    axes = figure.subplots()
    pairs = _pairs(points)
    axes.plot([y for _, y in pairs], [x for x, _ in pairs], "o-", label=name)
    for point in points:
        if point.response_ms is not None:
            axes.annotate(f"{point.pad_bias:+g}", (point.cutoffs, point.response_ms), fontsize=8,
                          textcoords="offset points", xytext=(6, 5))  # fmt: skip
    axes.axvline(CUTOFFS, color="0.7", linewidth=0.8)
    axes.axhline(RESPONSE_MS, color="0.7", linewidth=0.8)
    axes.set(xlabel="pauses taken for the end of a turn (%)", ylabel="median response (ms)")
    axes.set_xlim(left=0)
    axes.set_ylim(bottom=0)
    axes.legend(frameon=False)
    axes.set_title("Response against false cut-offs, by the bias on PAD", fontsize=10)
    with atomic_write(path) as temporary, warnings.catch_warnings():
        figure.savefig(temporary)
