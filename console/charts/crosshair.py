"""Places where a crosshair can stand, and windows around it in round numbers."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from console.charts.curves import Floats
from console.charts.series import Series

Range = tuple[float, float]


def positions(series: Sequence[Series], within: Range, *, whole: bool) -> Floats:
    """Ascending x of all points in a range, of the curves that are not faint.

    Args:
        series: Curves of a chart.
        within: Visible range of x.
        whole: Take whole numbers alone while there are any: a run is within an epoch only until it ends.
    """
    found = []
    for one in series:
        xs, ys = np.asarray(one.x, np.float64), np.asarray(one.y, np.float64)
        if not one.faint:
            found.append(xs[np.isfinite(xs) & np.isfinite(ys)])
    every = np.unique(np.concatenate(found)) if found else np.empty(0)
    every = every[(every >= within[0]) & (every <= within[1])]
    round_ones = every[every == np.rint(every)]
    return round_ones if whole and len(round_ones) else every


def nearest(places: Floats, x: float) -> int:
    """Index of the place nearest to an x."""
    return int(np.argmin(np.abs(places - x)))


def window_around(middle: float, width: float, data: Range) -> Range | None:
    """Window of about a width around a place, in whole numbers and within the data; None if it would show all."""
    least, most = data
    unit = 1.0 if most - least >= 4 else 10.0 ** math.floor(math.log10(max(most - least, 1e-9)) - 1)
    width = max(round(width / unit), 2) * unit
    if width >= most - least:
        return None
    # Whole numbers of units, so that a crosshair between them leaves them whole.
    low = round((middle - width / 2) / unit) * unit
    low = min(max(low, math.ceil(least / unit) * unit), math.ceil((most - width) / unit) * unit)
    return low, low + width


def visible_values(series: Sequence[Series], within: Range) -> Range | None:
    """Lowest and highest value of the curves in a range of x; None without any."""
    found = []
    for one in series:
        xs, ys = np.asarray(one.x, np.float64), np.asarray(one.y, np.float64)
        if not one.faint:
            found.append(ys[np.isfinite(ys) & (xs >= within[0]) & (xs <= within[1])])
    values = np.concatenate(found) if found else np.empty(0)
    return (float(values.min()), float(values.max())) if len(values) else None


def values_around(middle: float | None, shown: Range, factor: float) -> Range:
    """Range of values after zooming by a factor around a value, or from the lowest one up, in round numbers."""
    low, high = shown
    height = (high - low) * factor
    if not height > 0 or not math.isfinite(height):
        return shown
    bottom = low if middle is None else middle - height / 2
    unit = 10.0 ** (math.floor(math.log10(height)) - 1)
    return math.floor(bottom / unit) * unit, math.ceil((bottom + height) / unit) * unit
