"""The curve of responses and false cut-offs, on curves whose readings were worked out by hand."""

from pathlib import Path

import pytest

from duologue.errors import InputError
from duologue.eval.duplex_score import Score, Turn
from duologue.eval.frontier import Point, cutoffs_at, draw_frontier, point_of, response_at

CURVE = [Point(-2, 40.0, 160.0, 100.0), Point(0, 10.0, 200.0, 100.0), Point(2, 2.0, 600.0, 90.0)]


def turn(response: float | None) -> Turn:
    return Turn("plus-000", "Two.", 1.0, "Two.", True, response, False)


def score(takes_in_pause: bool | None, response: float | None) -> Score:
    return Score("pause-000", "pause", "heard", takes_in_pause=takes_in_pause, turns=[turn(response)])


def test_a_point_of_its_scenes():
    scenes = [score(False, 0.2), score(False, 0.4), score(False, None), score(True, 0.1)]
    point = point_of(1.0, scenes)
    # Whoever began inside the pause has not answered the question's end: its response does not count.
    assert point == Point(1.0, 25.0, pytest.approx(300.0), pytest.approx(200 / 3))


def test_scenes_without_a_pause_are_no_point():
    with pytest.raises(InputError, match="has a pause"):
        point_of(0.0, [score(None, 0.2)])


def test_a_curve_is_read_between_its_points():
    assert cutoffs_at(CURVE, 300.0) == pytest.approx(10 - 8 * 100 / 400)
    assert response_at(CURVE, 5.0) == pytest.approx(200 + 400 * 5 / 8)


def test_a_curve_that_never_comes_so_far():
    assert cutoffs_at(CURVE, 100.0) is None
    assert response_at(CURVE, 1.0) is None
    assert response_at([Point(0, 0.0, None, 0.0)]) is None


def test_the_fastest_of_all_points_that_are_good_enough():
    assert response_at([*CURVE, Point(4, 1.0, 900.0, 50.0)], 20.0) == pytest.approx(160 + 40 * 2 / 3)


def test_a_picture(tmp_path: Path):
    pytest.importorskip("matplotlib")
    draw_frontier(tmp_path / "curve.png", "nano", CURVE)
    assert (tmp_path / "curve.png").stat().st_size > 5000
