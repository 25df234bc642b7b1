"""Curves of several runs: limits that stay put, and what is read off."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from console.charts import Series
from console.overlay import readings, round_limits


def test_limits_stay_while_a_curve_grows():
    """A chart that grows redraws the new end of its curves, not all of itself."""
    seen = {round_limits([list(range(1, end))], whole=True) for end in range(70, 80)}

    assert seen == {(1.0, 80.0)}


@given(st.lists(st.floats(min_value=0, max_value=1e200), min_size=1))
def test_limits_hold_all_values(values: list[float]):
    """Rounding goes outwards."""
    limits = round_limits([values])

    assert limits is not None
    assert limits[0] <= min(values) * (1 + 1e-9)
    assert max(values) <= limits[1] * (1 + 1e-9)


@given(st.lists(st.floats()))
def test_limits_never_fail(values: list[float]):
    """Any floats at all: some have no round limits, and the chart takes the data's own."""
    limits = round_limits([values])

    assert limits is None or all(map(math.isfinite, limits))


def test_readings_take_the_nearest_point_of_every_curve():
    """Gaps are passed over, and faint curves are not read."""
    first = Series("a", [1, 2, 3], [10.0, math.nan, 30.0])
    second = Series("b", [1, 5], [7.0, 8.0])
    faint = Series("", [1, 2, 3], [0.0, 0.0, 0.0], faint=True)

    found = readings([first, faint, second], 2.4)

    assert [(one.label, x, y) for one, x, y in found] == [("a", 3.0, 30.0), ("b", 1.0, 7.0)]
