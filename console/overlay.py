"""Curves of several runs in one chart: what is smoothed, which part is shown, what is read off."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from console.charts import Drawing, Range, Series, draw, smooth
from console.formatting import clean
from console.looks import Options, looks
from console.metrics import Axis, History, Metric, points
from engine.run import Run

ROUND_SHARES = (0.3, 0.4, 0.5, 0.6, 0.8, 1.0)
"""Of a power of ten: the limits of an axis move in such steps, so that a growing curve does not redraw the chart."""


def overlay(
    runs: Sequence[Run],
    histories: Mapping[str, History],
    metric: Metric,
    options: Options,
    colours: Sequence[int | str],
    *,
    named: bool = True,
) -> list[Series]:
    """A curve a run; a smoothed one has its raw values faint behind it.

    Args:
        runs: In the order of their colours.
        histories: Of the runs, by id; one that is missing has no points yet.
        metric: What is drawn.
        options: Axis and smoothing.
        colours: Names, or numbers of the 256 colours.
        named: Whether the legend names the curves.
    """
    drawn: list[Series] = []
    look_of = looks(runs, colours)
    for run in runs:
        look = look_of[run.id]
        x, y = points(run, histories.get(run.id, History()), metric, options.axis)
        label = clean(run.name) if named else ""
        if options.smoothing and metric.name != "learning-rate":
            drawn.append(Series("", x, y, marker=look.marker, colour=look.colour, faint=True))
            drawn.append(Series(label, x, smooth(y, options.smoothing), marker=look.marker, colour=look.colour))
        else:
            drawn.append(Series(label, x, y, marker=look.marker, colour=look.colour))
    return drawn


def draw_overlay(
    series: Sequence[Series],
    options: Options,
    *,
    width: int,
    height: int,
    colour: bool,
    unicode: bool,
    title: str = "",
    steady: bool = False,
) -> Drawing:
    """The chart of an overlay.

    Args:
        series: What `overlay` made.
        options: Axis, logarithm and window.
        width: Cells.
        height: Lines.
        colour: Use ANSI colours.
        unicode: Braille dots rather than ASCII.
        title: Above the chart, beside the legend.
        steady: Let the limits move in round steps, for a chart that is drawn again and again while it grows.
    """
    window = options.window
    y_range = None
    if steady:
        window = window or round_limits([one.x for one in series], whole=options.axis is not Axis.TIME)
        y_range = None if options.log_y or options.window else round_limits([one.y for one in series])
    return draw(
        series,
        width=width,
        height=height,
        title=title,
        x_label=options.axis.label,
        log_y=options.log_y,
        colour=colour,
        unicode=unicode,
        x_range=window,
        y_range=y_range,
    )


def round_limits(values: Sequence[Sequence[float] | np.ndarray], *, whole: bool = False) -> Range | None:
    """Least and greatest of all values, the greatest rounded up, so that it changes seldom while values are added.

    Args:
        values: Sequences of numbers; what is not finite counts for nothing.
        whole: Whether the values are counts, whose limit is at least 2.
    """
    finite = [array[np.isfinite(array)] for array in (np.asarray(one, np.float64) for one in values)]
    finite = [one for one in finite if len(one)]
    if not finite:
        return None
    low, high = min(float(one.min()) for one in finite), max(float(one.max()) for one in finite)
    if not 0 <= low <= high < 1e300:
        return None
    return (low if whole else round_down(low)), max(round_up(high), 2.0 if whole else 0.0)


def round_up(value: float) -> float:
    """The next of 1, 3, 4, 5, 6, 8 times a power of ten."""
    if value <= 0:
        return 0.0
    power = 10.0 ** math.ceil(math.log10(value))
    return next((share * power for share in ROUND_SHARES if share * power >= value * (1 - 1e-12)), power * 10)


def round_down(value: float) -> float:
    """The last of 1, 3, 4, 5, 6, 8 times a power of ten; 0 for what is below all that matters."""
    if value <= 1e-12:
        return 0.0
    power = 10.0 ** math.floor(math.log10(value)) * 10
    return next((share * power for share in reversed(ROUND_SHARES) if share * power <= value), power / 10)


def readings(series: Sequence[Series], x: float) -> list[tuple[Series, float, float]]:
    """Of every curve that is not faint, the point nearest to an x: the curve, its x and its y."""
    found = []
    for one in series:
        xs, ys = np.asarray(one.x, np.float64), np.asarray(one.y, np.float64)
        shown = np.isfinite(xs) & np.isfinite(ys)
        if not one.faint and shown.any():
            nearest = int(np.argmin(np.abs(xs[shown] - x)))
            found.append((one, float(xs[shown][nearest]), float(ys[shown][nearest])))
    return found
