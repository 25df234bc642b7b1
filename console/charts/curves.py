"""What a curve is before it is drawn: its finite parts, thinned to what the columns of a screen can show."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Numbers = Sequence[float] | NDArray[Any]


@dataclass(frozen=True, slots=True)
class Curve:
    """Finite points, in the order of x, in parts that no line joins."""

    x: Floats
    """[N], never falling."""
    y: Floats
    """[N]; the decimal logarithm where the axis is logarithmic."""
    starts: NDArray[np.bool_]
    """[N], true where a part starts: no line leads to this point."""


def finite_curve(x: Numbers, y: Numbers, *, log_y: bool = False) -> Curve:
    """The points that an axis can show; all others (NaN, infinity, and what has no logarithm) become gaps.

    Args:
        x: [N]; sorted here where it is not, since a curve is a function of x.
        y: [N].
        log_y: Take the decimal logarithm of y; zero and below are gaps.
    """
    x_values, y_values = np.asarray(x, np.float64), np.asarray(y, np.float64)
    shown = np.isfinite(x_values) & np.isfinite(y_values)
    if log_y:
        shown &= y_values > 0
    starts = np.zeros(len(shown), np.bool_)
    starts[1:] = shown[1:] & ~shown[:-1]
    x_values, y_values, starts = x_values[shown], y_values[shown], starts[shown]
    if log_y:
        y_values = np.log10(y_values)
    if np.any(x_values[1:] < x_values[:-1]):
        order = np.argsort(x_values, kind="stable")
        x_values, y_values, starts = x_values[order], y_values[order], starts[order]
    starts[:1] = True
    return Curve(x_values, y_values, starts)


def fractions(values: Floats, low: float, high: float) -> Floats:
    """Where values stand between two limits, 0 at low and 1 at high, for any finite floats with low < high."""
    with np.errstate(all="ignore"):
        if not np.isfinite(high - low):
            values, low, high = values / 4, low / 4, high / 4
        return np.clip((values - low) / (high - low), -8.0, 9.0)


def decimate(curve: Curve, columns: int, x_range: tuple[float, float]) -> Curve:
    """The lowest and the highest point of every column, and the ends of the curve, in their order.

    The drawing of the result is that of the whole, for a column shows no more of it than its extremes.

    Args:
        curve: [N] points.
        columns: How many can be told apart.
        x_range: What the first and the last column stand for.

    Returns:
        At most two points for each column of each part, and two.
    """
    size = len(curve.x)
    if size <= 2:
        return curve
    column = np.rint(fractions(curve.x, *x_range) * (columns - 1)).astype(np.int64)
    opens = curve.starts.copy()
    opens[0] = True  # also where the curve was cut out of a longer one
    opens[1:] |= column[1:] != column[:-1]
    first = np.flatnonzero(opens)
    if len(first) == size:
        return curve
    lengths = np.diff(first, append=size)
    kept = np.zeros(size, np.bool_)
    kept[[0, -1]] = True
    for extreme in (np.minimum, np.maximum):
        at = np.flatnonzero(curve.y == np.repeat(extreme.reduceat(curve.y, first), lengths))
        group = np.searchsorted(first, at, side="right")
        kept[at[np.flatnonzero(np.diff(group, prepend=-1))]] = True
    part = np.cumsum(curve.starts)[kept]
    starts = np.diff(part, prepend=-1) != 0
    return Curve(curve.x[kept], curve.y[kept], starts)


def smooth(y: Numbers, weight: float) -> Floats:
    """Exponential moving average, corrected for its start at zero; what is not finite stays, and counts for nothing.

    Args:
        y: [N], any unit.
        weight: Of the past, 0 (no smoothing) <= weight < 1.

    Returns:
        float64, [N].

    Raises:
        ValueError: the weight lies outside its range, with which the average would never move or not be one.

    Source: TensorBoard's scalar chart (vz_line_chart2, resmoothDataset), the correction is Adam's
    (Kingma and Ba 2015, section 3).
    """
    if not 0 <= weight < 1:
        raise ValueError(f"weight must be at least 0 and below 1, got {weight}")
    values = np.array(y, np.float64)
    finite = np.flatnonzero(np.isfinite(values))
    if weight == 0 or not len(finite):
        return values
    averages = accumulate(
        values[finite].tolist(), lambda past, value: weight * past + (1 - weight) * value, initial=0.0
    )
    seen = np.arange(1, len(finite) + 1)
    with np.errstate(over="ignore", under="ignore"):
        values[finite] = np.fromiter(averages, np.float64, len(finite) + 1)[1:] / (1 - weight**seen)
    return values
