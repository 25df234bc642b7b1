"""Curves of several runs in one chart: smoothing, limits and readings."""

from __future__ import annotations

import math
import shutil
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from console.charts.metrics import Axis, History, Metric, points, read_history
from console.charts.plot import Drawing, Range, Series, draw, smooth
from console.charts.styles import TERMINAL_COLOURS, Options, looks
from console.text.formatting import clean, supports_colour, supports_unicode
from engine.index.queries import Reader
from engine.runs.run import Run

ROUND_SHARES = (0.3, 0.4, 0.5, 0.6, 0.8, 1.0)
"""Fractions of a power of ten to which limits are rounded, so that a growing curve seldom rescales the chart."""
STEPS_OF_A_RANGE = 8
SLACK_OF_A_READING = 0.02
"""Fraction of the x range by which the crosshair may overshoot a curve's end and still read it."""


def overlay(
    runs: Sequence[Run],
    histories: Mapping[str, History],
    metric: Metric,
    options: Options,
    colours: Sequence[int | str],
) -> list[Series]:
    """Build a series for each run, in the order of the colours; with smoothing, raw values are drawn faintly below."""
    drawn: list[Series] = []
    look_of = looks(runs, colours)
    for run in runs:
        look = look_of[run.id]
        x, y = points(run, histories.get(run.id, History()), metric, options.axis)
        smoothing = 0.0 if metric.name == "learning-rate" else options.smoothing
        if smoothing:
            drawn.append(Series("", x, y, marker=look.marker, colour=look.colour, faint=True))
        drawn.append(Series(clean(run.name), x, smooth(y, smoothing), marker=look.marker, colour=look.colour))
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
    x_range: Range | None = None,
    named: bool = True,
    x_label: str | None = None,
) -> Drawing:
    """Draw the series of an overlay; arguments not listed are those of `plot.draw`.

    Args:
        options: Axis, logarithm and window.
        steady: Round the limits, for a chart that is redrawn as it grows.
        x_range: Visible range if there is no window; None takes the data's.
        x_label: Overrides the name of the x axis.
    """
    window = options.window or x_range
    y_range = None
    if steady:
        window = window or common_range(series, options)
        y_range = None if options.log_y or options.window else round_limits([one.y for one in series])
    return draw(
        series,
        width=width,
        height=height,
        title=title,
        x_label=x_label or options.axis.label,
        log_y=options.log_y,
        colour=colour,
        unicode=unicode,
        x_range=window,
        y_range=y_range,
        named=named,
    )


def common_range(series: Sequence[Series], options: Options) -> Range | None:
    """Range from 0 to the largest x of all curves, rounded up so that it seldom changes as they grow.

    Args:
        series: Curves of one chart, or of several that share their x axis.
        options: Gives the axis; at least 2 epochs or steps are shown.
    """
    greatest = [float(xs[np.isfinite(xs)].max(initial=0.0)) for xs in (np.asarray(one.x, np.float64) for one in series)]
    if not greatest or not 0 < max(greatest) < 1e300:
        return None
    return 0.0, max(round_up(max(greatest)), 0.0 if options.axis is Axis.TIME else 2.0)


def round_limits(values: Sequence[Sequence[float] | np.ndarray]) -> Range | None:
    """Minimum and maximum of all finite values, rounded outwards to a fraction of their distance."""
    finite = [array[np.isfinite(array)] for array in (np.asarray(one, np.float64) for one in values)]
    finite = [one for one in finite if len(one)]
    if not finite:
        return None
    low, high = min(float(one.min()) for one in finite), max(float(one.max()) for one in finite)
    if not 0 <= low < high < 1e300 or high - low < 1e-12 * high:
        return None
    step = round_up((high - low) / STEPS_OF_A_RANGE)
    return math.floor(low / step) * step, math.ceil(high / step) * step


def round_up(value: float) -> float:
    """Round up to 1, 3, 4, 5, 6 or 8 times a power of ten."""
    if value <= 0:
        return 0.0
    power = 10.0 ** math.ceil(math.log10(value))
    return next((share * power for share in ROUND_SHARES if share * power >= value * (1 - 1e-12)), power * 10)


def readings(series: Sequence[Series], x: float) -> list[tuple[Series, float, float]]:
    """Read off the point nearest to an x of every curve that reaches it and is not faint: series, x and y."""
    found = []
    ends = [float(np.max(one.x)) for one in series if len(one.x)]
    slack = SLACK_OF_A_READING * max(ends, default=0.0)
    for one in series:
        xs, ys = np.asarray(one.x, np.float64), np.asarray(one.y, np.float64)
        shown = np.isfinite(xs) & np.isfinite(ys)
        if not one.faint and shown.any():
            nearest = int(np.argmin(np.abs(xs[shown] - x)))
            if not xs[shown].min() - slack <= x <= xs[shown].max() + slack:
                continue
            found.append((one, float(xs[shown][nearest]), float(ys[shown][nearest])))
    return found


MAX_LINES = 30


def chart(
    reader: Reader,
    runs: Sequence[Run],
    metric: Metric,
    axis: Axis = Axis.EPOCH,
    *,
    log_y: bool = False,
    width: int | None = None,
    height: int | None = None,
) -> str:
    """Chart for stdout; None takes the terminal's size, or 80x24 without a terminal."""
    size = shutil.get_terminal_size()
    options = Options(axis=axis, log_y=log_y)
    histories = {run.id: read_history(reader, run) for run in runs}
    drawing = draw_overlay(
        overlay(runs, histories, metric, options, TERMINAL_COLOURS),
        options,
        width=width or size.columns,
        height=height or min(size.lines - 2, MAX_LINES),
        title=metric.title + (" (log)" if log_y else ""),
        colour=supports_colour(sys.stdout),
        unicode=supports_unicode(sys.stdout),
    )
    return "\n".join(drawing.lines)


def curves_document(reader: Reader, runs: Sequence[Run], metric: Metric, axis: Axis) -> dict[str, Any]:
    """JSON document of a chart's points."""
    drawn = [(run, *points(run, read_history(reader, run), metric, axis)) for run in runs]
    return {
        "metric": metric.name,
        "x_axis": axis.value,
        "curves": [{"run": run.id, "name": run.name, "x": x, "y": y} for run, x, y in drawn],
    }
