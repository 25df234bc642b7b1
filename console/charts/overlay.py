"""Curves of several runs in one chart: smoothing, limits and readings."""

from __future__ import annotations

import math
import shutil
import sys
from collections.abc import Container, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from console.charts.metrics import Axis, History, Metric, points, read_history
from console.charts.plot import Drawing, Range, Reference, Series, draw, smooth
from console.charts.seeds import Mean, Network, counted, mean_curve, networks
from console.charts.styles import TERMINAL_COLOURS, Look, Options, looks
from console.text.formatting import clean, supports_colour, supports_unicode
from engine.index.queries import Reader
from engine.runs.run import Run
from engine.spec.recipes import Schedule

ROUND_SHARES = (0.12, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5, 0.6, 0.8, 1.0)
"""Fractions of a power of ten to which limits are rounded, so that a growing curve seldom rescales the chart."""
STEPS_OF_A_RANGE = 8


def overlay(
    runs: Sequence[Run],
    histories: Mapping[str, History],
    metric: Metric,
    options: Options,
    colours: Sequence[int | str],
) -> list[Series]:
    """Build the curves of a chart, one for each network, in the order in which they are drawn.

    With more than one seed, a network is the mean over its seeds with a band of ± one standard deviation, and its label
    says how many seeds that are: `n=3`, or `n=2 of 3` if one is not in the mean. The mean is over the seeds that
    succeeded, or while there are none, over those still training, up to the epoch that all of them have reached. Every
    other seed with data is drawn faintly on its own, and a copy of a run not at all. A single seed, and every run if
    the options ask for single seeds, is a curve with the run's name. With smoothing, the values of a single seed stay
    visible as faint dots.
    """
    look_of = looks(runs, colours)
    behind: list[Series] = []
    drawn: list[Series] = []
    for network in networks(runs):
        mean = None
        if not options.single_seeds and len(network.runs) > 1:
            mean = mean_curve(counted(network.runs, histories), histories, metric, options.axis)
        in_mean = () if mean is None else mean.runs
        for run in (*network.runs, *network.copies) if options.single_seeds else network.runs:
            if run not in in_mean:
                below, curve = curves_of_run(run, histories, metric, options, look_of[run.id])
                behind += below
                if mean is None:
                    drawn.append(curve)
                elif len(curve.x):
                    behind.append(replace(curve, label="", faint=True, belongs_to=label_of(network, mean)))
        if mean is not None:
            drawn.append(curve_of_mean(network, mean, metric, options, look_of[network.runs[0].id]))
    return [*behind, *drawn]


def curves_of_run(
    run: Run, histories: Mapping[str, History], metric: Metric, options: Options, look: Look
) -> tuple[list[Series], Series]:
    """Raw values of a smoothed run, if any, and the run's curve."""
    x, y = points(run, histories.get(run.id, History()), metric, options.axis)
    smoothing = smoothing_of(metric, options)
    name = clean(run.name)
    raw = [Series("", x, y, look.marker, look.colour, faint=True, belongs_to=name)] if smoothing else []
    return raw, Series(name, x, smooth(y, smoothing), marker=look.marker, colour=look.colour, dashed=look.dashed)


def curve_of_mean(network: Network, mean: Mean, metric: Metric, options: Options, look: Look) -> Series:
    """Curve of a network's mean; its band lies around the values before smoothing."""
    has_band = len(mean.runs) > 1
    return Series(
        label_of(network, mean),
        mean.x,
        smooth(mean.y, smoothing_of(metric, options)),
        marker=look.marker,
        colour=look.colour,
        dashed=look.dashed,
        low=mean.y - mean.std if has_band else None,
        high=mean.y + mean.std if has_band else None,
    )


def label_of(network: Network, mean: Mean) -> str:
    """Label of a mean: the network and the number of seeds, and of how many if some are not in it."""
    n, of = len(mean.runs), len(network.runs)
    return f"{network.label} n={n}" + (f" of {of}" if n < of else "")


def smoothing_of(metric: Metric, options: Options) -> float:
    """Smoothing of a metric: a learning rate is exact."""
    return 0.0 if metric.name == "learning-rate" else options.smoothing


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
    names_above: bool = True,
    x_label: str | None = None,
    references: Sequence[Reference] = (),
    hidden: Container[str] = (),
    y_range: Range | None = None,
) -> Drawing:
    """Draw the series of an overlay; arguments not listed are those of `plot.draw`.

    Args:
        options: Axis, logarithm and window.
        steady: Round the limits, for a chart that is redrawn as it grows.
        x_range: Visible range if there is no window; None takes the data's.
        x_label: Overrides the name of the x axis.
        y_range: Visible values; None fits the data.
    """
    window = options.window or x_range
    if steady:
        window = window or common_range(series, options)
        y_range = (
            y_range
            if y_range or options.log_y or options.window
            else round_limits([values for one in series for values in (one.y, one.low, one.high) if values is not None])
        )
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
        names_above=names_above,
        references=references,
        hidden=hidden,
    )


def planned_range(runs: Sequence[Run], series: Sequence[Series], options: Options) -> Range | None:
    """Range of the x axis from the first epoch or step to the last one planned for any of the runs.

    The data's range over time, which is not planned, and where the options ask for an axis that grows.

    Args:
        runs: Runs of the chart.
        series: Their curves, or those of several charts that share their x axis.
        options: Give the axis.
    """
    if options.axis is Axis.EPOCH:
        ends = [run.spec.recipe.epochs for run in runs]
    else:
        ends = [run.total_steps for run in runs if run.total_steps and options.axis is Axis.STEP]
    if options.growing or not ends:
        return common_range(series, options)
    # Before two epochs are done, curves begin within the first.
    firsts = [float(np.nanmin(one.x)) for one in series if len(one.x) and np.isfinite(one.x).any()]
    begins_at_one = options.axis is Axis.EPOCH and min(firsts, default=1.0) >= 1 and max(ends) > 1
    return (1.0 if begins_at_one else 0.0), float(max(ends))


def rate_drops(runs: Sequence[Run], options: Options) -> list[Reference]:
    """Vertical lines where the learning rate of a step schedule drops; none if the runs' schedules differ."""
    recipes = {run.spec.recipe.epochs: run.spec.recipe for run in runs}
    schedules = {(one.schedule, one.drops, one.drop_factor, one.learning_rate, one.epochs) for one in recipes.values()}
    if len(schedules) != 1 or options.axis is Axis.TIME:
        return []
    (recipe,) = recipes.values()
    total = recipe.epochs if options.axis is Axis.EPOCH else max((run.total_steps or 0 for run in runs), default=0)
    if recipe.schedule is not Schedule.STEP or not total:
        return []
    return [
        Reference(f"lr {recipe.learning_rate * recipe.drop_factor**number:.3g}", x=drop * total)
        for number, drop in enumerate(recipe.drops, 1)
    ]


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
    """Round up to one of the shares of a power of ten."""
    if value <= 0:
        return 0.0
    power = 10.0 ** math.ceil(math.log10(value))
    return next((share * power for share in ROUND_SHARES if share * power >= value * (1 - 1e-12)), power * 10)


def readings(series: Sequence[Series], x: float, *, exact: bool = False) -> list[tuple[Series, float, float]]:
    """Read every curve that is not faint and reaches an x: series, x and y of its nearest point.

    Args:
        series: Curves of a chart.
        x: Place of the crosshair.
        exact: Read only curves with a point there, as for an epoch, which another one cannot stand for.
    """
    found = []
    for one in series:
        xs, ys = np.asarray(one.x, np.float64), np.asarray(one.y, np.float64)
        shown = np.isfinite(xs) & np.isfinite(ys)
        xs, ys = xs[shown], ys[shown]
        if not one.faint and len(xs) and xs.min() <= x <= xs.max():
            nearest = int(np.argmin(np.abs(xs - x)))
            if not exact or xs[nearest] == x:
                found.append((one, float(xs[nearest]), float(ys[nearest])))
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
    series = overlay(runs, histories, metric, options, TERMINAL_COLOURS)
    drawing = draw_overlay(
        series,
        options,
        width=width or size.columns,
        height=height or min(size.lines - 2, MAX_LINES),
        title=metric.title + (" (log)" if log_y else ""),
        colour=supports_colour(sys.stdout),
        unicode=supports_unicode(sys.stdout),
        x_range=planned_range(runs, series, options),
        references=rate_drops(runs, options),
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
