"""Prepare curves for drawing: drop what cannot be shown, decimate to the screen's columns, smooth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Numbers = Sequence[float] | NDArray[Any]

FARTHEST = 1e6
"""Largest fraction of an axis; farther points would lie as far outside every chart."""


@dataclass(frozen=True, slots=True)
class Curve:
    """Finite points sorted by x, in parts not joined by lines."""

    x: Floats
    """[N], non-decreasing."""
    y: Floats
    """[N]; decimal logarithms on a logarithmic axis."""
    starts: NDArray[np.bool_]
    """[N], true at the first point of a part."""


def finite_curve(x: Numbers, y: Numbers, *, log_y: bool = False) -> Curve:
    """Keep the points that an axis can show; others (NaN, infinity, no logarithm) become gaps.

    Args:
        x: [N]; sorted here if necessary, since a curve is a function of x.
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
    """Map values linearly to 0 at low and 1 at high, for any finite floats with low < high."""
    with np.errstate(all="ignore"):
        if not np.isfinite(high - low):
            values, low, high = values / 4, low / 4, high / 4
        return np.clip((values - low) / (high - low), -FARTHEST, FARTHEST)


def decimate(curve: Curve, columns: int, x_range: tuple[float, float]) -> Curve:
    """Keep the lowest and highest point of every column and the curve's ends, in order.

    The result draws exactly like the whole curve, since a column shows only its extremes.

    Args:
        curve: [N] points.
        columns: Number of distinguishable columns.
        x_range: Values at the first and last column.

    Returns:
        At most two points for each column of each part, plus the two ends.
    """
    size = len(curve.x)
    if size <= 2:
        return curve
    column = np.rint(fractions(curve.x, *x_range) * (columns - 1)).astype(np.int64)
    opens = curve.starts.copy()
    opens[0] = True  # even if cut out of a longer curve
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


def zigzag(curve: Curve, columns: int, x_range: tuple[float, float]) -> Curve:
    """Let a decimated curve rise in every other column and fall between, which shortens the lines from one to the next.

    Args:
        curve: [N] points, at most two in most columns.
        columns: Number of columns; the order within one is not distinguishable.
        x_range: Values at the first and last column.
    """
    column = np.rint(fractions(curve.x, *x_range) * (columns - 1)).astype(np.int64)
    paired = (column[1:] == column[:-1]) & ~curve.starts[1:]
    paired[1:] &= ~paired[:-1]
    first = np.flatnonzero(paired)
    low, high = np.minimum(curve.y[first], curve.y[first + 1]), np.maximum(curve.y[first], curve.y[first + 1])
    rises = column[first] % 2 == 0
    y = curve.y.copy()
    y[first], y[first + 1] = np.where(rises, low, high), np.where(rises, high, low)
    return Curve(curve.x, y, curve.starts)


def inside(curve: Curve) -> Curve:
    """Cut a curve, given as fractions of both axes, to the box from 0 to 1: lines end where they cross its edges."""
    across, up, starts = cut_to_unit(curve.x, curve.y, curve.starts)
    up, across, starts = cut_to_unit(up, across, starts)
    return Curve(across, up, starts)


def cut_to_unit(values: Floats, others: Floats, starts: NDArray[np.bool_]) -> tuple[Floats, Floats, NDArray[np.bool_]]:
    """Cut lines through points to 0 <= value <= 1.

    Args:
        values: [N], coordinate to cut.
        others: [N], the other coordinate, interpolated at the cuts.
        starts: [N], true if no line leads to the point.

    Returns:
        Both coordinates and the starts of what is left, [M] each.
    """
    if not len(values) or (values.min() >= 0 and values.max() <= 1):
        return values, others, starts
    places = [np.arange(len(values), dtype=np.float64)]
    crossings = [values]
    across = [others]
    for edge in (0.0, 1.0):
        before, after = values[:-1], values[1:]
        # A point beyond 1 is above both edges, so a line that passes through the whole range crosses each once.
        crosses = np.flatnonzero(((before > edge) != (after > edge)) & ~starts[1:])
        share = (edge - before[crosses]) / (after[crosses] - before[crosses])
        places.append(crosses + share)
        crossings.append(np.full(len(crosses), edge))
        across.append(others[:-1][crosses] + share * (others[1:] - others[:-1])[crosses])
    place = np.concatenate(places)
    order = np.argsort(place, kind="stable")
    values, others = np.concatenate(crossings)[order], np.concatenate(across)[order]
    starts = np.concatenate([starts, np.zeros(len(order) - len(starts), np.bool_)])[order]
    shown = (values >= 0) & (values <= 1)
    starts[1:] |= ~shown[:-1]
    return values[shown], others[shown], starts[shown]


def smooth(y: Numbers, weight: float) -> Floats:
    """Exponential moving average, bias-corrected; non-finite values are kept but do not enter the average.

    Args:
        y: [N], any unit.
        weight: Weight of the past, 0 (no smoothing) <= weight < 1.

    Returns:
        float64, [N].

    Raises:
        ValueError: weight lies outside its range.

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
