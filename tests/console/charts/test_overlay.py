"""Curves of several runs: stable limits, and readings at the crosshair."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from console.charts.overlay import common_range, readings, round_limits
from console.charts.plot import Series
from console.charts.styles import Options


def test_limits_stay_while_a_curve_grows():
    """A growing chart redraws only the new ends of its curves."""
    curves = [Series("a", list(range(1, end)), [0.0] * (end - 1)) for end in range(70, 80)]

    assert {common_range([curve], Options()) for curve in curves} == {(0.0, 80.0)}
    assert [round_limits([[2.11, top]]) for top in (2.53, 2.55, 2.57)] == [pytest.approx((2.1, 2.58))] * 3


def test_two_charts_share_the_axis_of_the_longer_curve():
    """Values in the same column belong together."""
    first, second = Series("a", [1, 2], [1.0, 1.0]), Series("b", [1, 7], [1.0, 1.0])

    assert common_range([first, second], Options()) == (0.0, 8.0)
    assert common_range([Series("a", [], [])], Options()) is None


@given(st.lists(st.floats(min_value=0, max_value=1e200), min_size=1))
def test_limits_hold_all_values(values: list[float]):
    """Rounding goes outwards."""
    limits = round_limits([values])

    if limits is not None:
        assert limits[0] <= min(values) * (1 + 1e-9)
        assert max(values) <= limits[1] * (1 + 1e-9)
        assert limits[1] - limits[0] <= 1.5 * (max(values) - min(values))


@given(st.lists(st.floats()))
def test_limits_never_fail(values: list[float]):
    """For any floats: without round limits, the chart uses the data's."""
    limits = round_limits([values])

    assert limits is None or all(map(math.isfinite, limits))


def test_readings_take_the_nearest_point_of_every_curve():
    """Gaps are skipped, and faint curves are not read."""
    first = Series("a", [1, 2, 3], [10.0, math.nan, 30.0])
    second = Series("b", [1, 5], [7.0, 8.0])
    faint = Series("", [1, 2, 3], [0.0, 0.0, 0.0], faint=True)

    found = readings([first, faint, second], 2.4)

    assert [(one.label, x, y) for one, x, y in found] == [("a", 3.0, 30.0), ("b", 1.0, 7.0)]
    assert readings([first, faint, second], 2.0, exact=True) == []
    assert [one.label for one, _, _ in readings([first, faint, second], 3.0, exact=True)] == ["a"]


def test_a_curve_is_not_read_past_its_end():
    """Its last value is not its value there, however near."""
    long, short = Series("a", [1, 100], [1.0, 2.0]), Series("b", [1, 79], [7.0, 8.0])

    assert [one.label for one, _, _ in readings([long, short], 80.0)] == ["a"]
