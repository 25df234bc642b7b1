"""Limits of axes, and the part of the curves between them."""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence

import numpy as np

from console.charts.curves import Curve, Floats, finite_curve
from console.charts.series import Reference, Series

Range = tuple[float, float]

ROOM_FOR_REFERENCES = 0.15
"""Fraction of the y range by which a reference line may extend it."""


def limits(values: Sequence[Floats], wanted: Range | None, *, least_apart: float = 0.0) -> Range | None:
    """Limits of an axis, never equal: those wanted, else the data's; None without data."""
    shown = [one for one in values if len(one)]
    if not shown:
        return None
    own = float(min(one.min() for one in shown)), float(max(one.max() for one in shown))
    bounds = [
        float(bound) if math.isfinite(bound) else instead for bound, instead in zip(wanted or own, own, strict=True)
    ]
    low, high = min(bounds), max(bounds)
    if low == high:
        apart = max(abs(low) / 10, least_apart, sys.float_info.min) if low else 1.0
        low, high = max(low - apart, -sys.float_info.max), min(high + apart, sys.float_info.max)
    return low, high


def log_range(wanted: Range | None) -> Range | None:
    """Decimal logarithms of a range; NaN for a bound without one."""
    if wanted is None:
        return None
    low, high = (math.log10(bound) if 0 < bound < math.inf else math.nan for bound in wanted)
    return low, high


def within(curve: Curve, x_limits: Range, *, beyond: int = 0) -> Curve:
    """Slice of a curve between two x, with `beyond` extra points at either end."""
    first = max(int(np.searchsorted(curve.x, x_limits[0], "left")) - beyond, 0)
    end = int(np.searchsorted(curve.x, x_limits[1], "right")) + beyond
    return Curve(curve.x[first:end], curve.y[first:end], curve.starts[first:end])


def bar_ends(one: Series, x_limits: Range, *, log_y: bool) -> list[Floats]:
    """Values at the ends of a series' error bars within limits of x."""
    if one.low is None or one.high is None:
        return []
    return [within(finite_curve(one.x, ends, log_y=log_y), x_limits).y for ends in (one.low, one.high)]


def with_references(own: Range | None, references: Sequence[Reference], *, log_y: bool) -> Range | None:
    """Extend the limits of y to horizontal reference lines that lie near them."""
    if own is None:
        return None
    low, high = own
    room = ROOM_FOR_REFERENCES * (high / 2 - low / 2) * 2
    for one in references:
        place = height_of(one, log_y=log_y)
        if place is not None and own[0] - room <= place <= own[1] + room:
            low, high = min(low, place), max(high, place)
    return low, high


def height_of(reference: Reference, *, log_y: bool) -> float | None:
    """Place of a horizontal reference line on the y axis; None if it is vertical or has no place."""
    if reference.y is None or not math.isfinite(reference.y) or (log_y and reference.y <= 0):
        return None
    return math.log10(reference.y) if log_y else reference.y
