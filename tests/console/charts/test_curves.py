"""Decimation keeps what a chart shows; smoothing is a weighted mean."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from console.charts.curves import decimate, finite_curve
from console.charts.plot import smooth
from tests.console.charts.drawn import floats


@settings(max_examples=150, deadline=None)
@given(
    y=st.lists(st.floats(-1e6, 1e6) | st.just(math.nan), min_size=1, max_size=300),
    columns=st.integers(1, 60),
)
def test_decimation_keeps_ends_and_extremes_of_every_column(y: list[float], columns: int):
    """Single-step spikes matter in a loss curve."""
    curve = finite_curve(range(len(y)), y)
    if not len(curve.x):
        return
    low, high = float(curve.x[0]), max(float(curve.x[-1]), curve.x[0] + 1.0)

    kept = decimate(curve, columns, (low, high))

    points = list(zip(kept.x.tolist(), kept.y.tolist(), strict=True))
    assert points == sorted(set(points) & set(zip(curve.x.tolist(), curve.y.tolist(), strict=True)))
    assert points[0] == (curve.x[0], curve.y[0])
    assert points[-1] == (curve.x[-1], curve.y[-1])
    column = np.rint((curve.x - low) / (high - low) * (columns - 1))
    kept_column = np.rint((kept.x - low) / (high - low) * (columns - 1))
    for one in np.unique(column):
        inside, left = curve.y[column == one], kept.y[kept_column == one]
        assert (left.min(), left.max()) == (inside.min(), inside.max())
    parts = int(curve.starts.sum())
    assert int(kept.starts.sum()) == parts
    assert len(points) <= 2 * (columns + parts) + 2


def test_smoothing_is_tensorboards():
    """People compare curves across tools; the same weight must mean the same."""
    y = [3.0, 1.0, math.nan, 4.0, 1.0]
    past, weights, expected = 0.0, 0.0, []
    for value in y:
        if math.isnan(value):
            expected.append(value)
            continue
        past = 0.6 * past + 0.4 * value
        weights = 0.6 * weights + 0.4
        expected.append(past / weights)

    assert smooth(y, 0.6) == pytest.approx(expected, nan_ok=True)


@given(y=st.lists(floats, max_size=50), weight=st.floats(0, 0.999))
def test_smoothing_keeps_length_gaps_and_bounds(y: list[float], weight: float):
    """A mean lies between its values, and gaps keep their place."""
    result = smooth(y, weight)
    values = np.array(y)
    finite = np.isfinite(values)

    assert len(result) == len(y)
    assert np.array_equal(result[~finite], values[~finite], equal_nan=True)
    if finite.any() and np.abs(values[finite]).max() < 1e300:
        slack = 1e-9 * np.abs(values[finite]).max() + 1e-300
        assert result[finite].min() >= values[finite].min() - slack
        assert result[finite].max() <= values[finite].max() + slack


@pytest.mark.parametrize("weight", [-0.1, 1.0, math.nan])
def test_smoothing_refuses_weights_that_are_no_average(weight: float):
    """At 1 only the past would count, and there is none."""
    with pytest.raises(ValueError, match="at least 0 and below 1"):
        smooth([1.0], weight)
