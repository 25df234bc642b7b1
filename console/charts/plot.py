"""Draw curves as text; the only importer of plotext, which draws the lines, the markers and the frame.

Values become dots of the canvas here, because plotext fails at very large floats, draws huge ranges of a logarithmic
axis blank, and takes seconds for long curves: it receives only small numbers and single-cell characters, never data or
outside text. In plotext 5.3 a later curve erases the dots of an earlier one in a cell they share, so what matters most
is drawn last: raw curves and bands, then lines, then error bars and markers. Not thread-safe: plotext has one global
figure, and only the UI thread draws.
"""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import plotext
from rich.cells import cell_len

from console.charts.canvas import ASCII, BRAILLE, Grid, Marks, Placed, bar_cells, is_marked_throughout
from console.charts.curves import Curve, Floats, Numbers, decimate, finite_curve, smooth, zigzag
from console.charts.legend import (
    FRAME_IN_ASCII,
    Axis,
    Entry,
    ascii_marker,
    boxed,
    heading,
    notice,
    outside,
    set_into_axis,
    x_axis,
    y_axis,
)
from console.text.formatting import cut

__all__ = ["COLOURS", "Canvas", "Drawing", "Series", "draw", "smooth"]

Range = tuple[float, float]

COLOURS = {
    "black": 0, "red": 1, "green": 2, "yellow": 3, "blue": 4, "magenta": 5, "cyan": 6, "white": 7,
    "bright_black": 8, "bright_red": 9, "bright_green": 10, "bright_yellow": 11, "bright_blue": 12,
    "bright_magenta": 13, "bright_cyan": 14, "bright_white": 15,
}  # fmt: skip
"""Names of the sixteen colours that every terminal theme defines."""

LEAST_COLUMNS, LEAST_ROWS = 8, 2
"""Minimum legible size of a canvas."""
ROWS_OF_X_AXIS = 2
DOT = "."
"""Dot of an ASCII chart."""
POINTS_A_DOT_COLUMN, DENSE_COLUMNS = 2, 0.8
"""Curves with more points for each column of dots would fill them: their extremes are drawn in fewer columns, as a
share of the cells. They are as readable, and take a third of plotext's time."""
NO_COLOUR = "default"
"""plotext's name for the terminal's own colour; None would make plotext choose one."""
RUN = re.compile(r"((?:\x1b\[[\d;]+m)*)([^\x1b]+)\x1b\[0m")


@dataclass(frozen=True, eq=False, slots=True)
class Series:
    """A curve with its label, marker and colour."""

    label: str
    """Legend label; "" leaves the curve out of the legend."""
    x: Numbers = field(repr=False)
    """[N], any unit; sorted when drawn. Non-finite values are gaps."""
    y: Numbers = field(repr=False)
    """[N], any unit."""
    marker: str = "●"
    """One printable cell, drawn on every point if they are few, else at the end and at intervals."""
    colour: int | str | None = None
    """0 to 255, a name in COLOURS, or None for the terminal's own."""
    faint: bool = False
    """Draw below the others, as dim unmarked dots, as raw values behind a smoothed curve."""
    low: Numbers | None = field(default=None, repr=False)
    """[N], lower end of each point's error bar; None draws no error bars."""
    high: Numbers | None = field(default=None, repr=False)
    """[N], upper ends."""

    def __post_init__(self) -> None:
        if len(self.x) != len(self.y):
            raise ValueError(f"x and y must be equally long, got {len(self.x)} and {len(self.y)}")
        if (self.low is None) != (self.high is None):
            raise ValueError("low and high must be given together")
        if self.low is not None and self.high is not None and not len(self.low) == len(self.high) == len(self.x):
            raise ValueError(f"low and high must be as long as x, got {len(self.low)}, {len(self.high)}, {len(self.x)}")
        if len(self.marker) != 1 or not self.marker.isprintable() or cell_len(self.marker) != 1 or self.marker == " ":
            raise ValueError(f"marker must be one visible character of one cell, got {self.marker!r}")
        if isinstance(self.colour, str) and self.colour not in COLOURS:
            raise ValueError(f"colour must be one of {', '.join(COLOURS)}, got {self.colour!r}")
        if isinstance(self.colour, int) and not 0 <= self.colour <= 255:
            raise ValueError(f"colour must be in 0..255, got {self.colour}")

    @property
    def colour_index(self) -> int | None:
        return COLOURS[self.colour] if isinstance(self.colour, str) else self.colour


@dataclass(frozen=True, slots=True)
class Canvas:
    """Position of the curves in a chart, for crosshairs and mouse."""

    left: int
    """Cells before its first column."""
    top: int
    """Lines above its first row."""
    columns: int
    rows: int
    x_limits: Range
    """x at the first and last column."""

    def x_at(self, column: int) -> float:
        """x at a column of the canvas."""
        low, high = self.x_limits
        return low + (high - low) * min(max(column, 0), self.columns - 1) / max(self.columns - 1, 1)

    def column_of(self, x: float) -> int:
        """Column of the canvas that shows x, or the nearest edge."""
        low, high = self.x_limits
        return min(max(round((x - low) / (high - low) * (self.columns - 1)), 0), self.columns - 1)


@dataclass(frozen=True, slots=True)
class Drawing:
    """A chart as text."""

    lines: list[str]
    canvas: Canvas | None
    """None if the chart shows a notice instead of curves."""


def draw(
    series: Sequence[Series],
    *,
    width: int,
    height: int,
    title: str,
    x_label: str = "",
    log_y: bool = False,
    colour: bool = True,
    unicode: bool = True,
    x_range: Range | None = None,
    y_range: Range | None = None,
    named: bool = True,
) -> Drawing:
    """Draw curves in a box of text, for any floats and any size; deterministic.

    Args:
        series: Later ones lie above earlier ones, all above the faint ones.
        width: Maximum cells of a line.
        height: Exact number of lines (none if below 1).
        title: Text for the first line; the legend goes beside it, or below if too long.
        x_label: Set into the x axis if there is space.
        log_y: Logarithmic y axis (base 10); zero and below are gaps.
        colour: Use ANSI colours; without, the text has no escape sequences.
        unicode: Use braille dots; without, everything including markers and labels is ASCII.
        x_range: Limits of x; None, or a bound that is not finite, takes the data's.
        y_range: Limits of y, in the data's unit even on a logarithmic axis.
        named: Whether to draw a legend.
    """
    width, height = max(width, 0), max(height, 0)
    markers = [one.marker if unicode else ascii_marker(one.marker, index) for index, one in enumerate(series)]
    head = heading(
        outside(title, unicode=unicode),
        legend(series, markers, width, colour=colour, unicode=unicode) if named else [],
        width,
        height,
        unicode=unicode,
    )
    curves = [finite_curve(one.x, one.y, log_y=log_y) for one in series]
    x_limits = limits([curve.x for curve in curves], x_range, least_apart=1.0)
    if x_limits is None:
        positive_only = log_y and any(np.isfinite(np.asarray(one.y, np.float64)).any() for one in series)
        why = "nothing above 0 for a log axis" if positive_only else "no data yet"
        return Drawing(boxed(notice(head, why, width, height), height), None)
    shown = curves
    if x_range is not None:
        shown = [within(curve, x_limits) for curve in curves]
        # Include the next point on either side, whose line enters the window.
        curves = [within(curve, x_limits, beyond=1) for curve in curves]
    ends = [end for one in series for end in bar_ends(one, x_limits, log_y=log_y)]
    y_limits = limits([*(curve.y for curve in shown), *ends], log_range(y_range) if log_y else y_range)
    if y_limits is None:
        return Drawing(boxed(notice(head, "no data in this range", width, height), height), None)

    rows = height - len(head) - ROWS_OF_X_AXIS
    up = y_axis(y_limits, max(rows, LEAST_ROWS), log=log_y)
    columns = width - up.widest - 1
    if columns < LEAST_COLUMNS or rows < LEAST_ROWS:
        return Drawing(boxed(notice(head, "too small for a chart", width, height), height), None)
    across = x_axis(x_limits, columns)
    grid = Grid(columns, rows, BRAILLE if unicode else ASCII, x_limits, y_limits)
    body = drawn(grid, series, curves, markers, across, up, colour=colour, log_y=log_y)
    body[rows] = set_into_axis(body[rows], outside(x_label, unicode=unicode), up.widest + 1, across)
    if not unicode:
        body = [line.translate(FRAME_IN_ASCII) for line in body]
    canvas = Canvas(up.widest + 1, len(head), columns, rows, x_limits)
    return Drawing(boxed([*head, *body], height), canvas)


def legend(series: Sequence[Series], markers: Sequence[str], width: int, *, colour: bool, unicode: bool) -> list[Entry]:
    """Legend entries; a label takes at most half of the width."""
    entries = []
    for one, marker in zip(series, markers, strict=True):
        label = cut(outside(one.label, unicode=unicode), min(width - 2, max(width // 2, 16)), unicode=unicode)
        if label and not one.faint:
            entries.append(Entry(marker, label, one.colour_index if colour else None))
    return entries


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


def drawn(
    grid: Grid,
    series: Sequence[Series],
    curves: Sequence[Curve],
    markers: Sequence[str],
    across: Axis,
    up: Axis,
    *,
    colour: bool,
    log_y: bool,
) -> list[str]:
    """Draw curves and axes with plotext's global figure."""
    start_figure(grid, across, up)
    colours = [one.colour_index if colour and one.colour_index is not None else NO_COLOUR for one in series]
    parts = [grid.place(thinned(grid, curve)) for curve in curves]
    strong = [index for index, one in enumerate(series) if not one.faint]
    for index, one in enumerate(series):
        if one.faint:
            dots(grid, parts[index], look=colours[index], dim=colour)
    for index in strong:
        # In ASCII, a line of markers would hide which of its points were measured.
        glyph = DOT if is_marked_throughout(curves[index], grid.columns) else markers[index]
        line(grid, parts[index], "braille" if grid.style is BRAILLE else glyph, colours[index])
    marks = Marks(grid)
    for turn, index in enumerate(strong):
        one = series[index]
        if one.low is not None and one.high is not None:
            for glyph, cells in bar_cells(grid, one.x, one.low, one.high, log_y=log_y).items():
                at_cells(cells, glyph, colours[index])
        marks.add(index, curves[index], parts[index], offset=turn / len(strong))
    for index in strong:
        at_cells(marks.of(index), markers[index], colours[index])
    # plotext ends every run of equal looks with a reset, even if nothing was set.
    lines = RUN.sub(lambda run: run[0] if run[1] else run[2], plotext.build()).splitlines()
    return [line.rstrip() for line in lines]


def thinned(grid: Grid, curve: Curve) -> Curve:
    """Extremes of a curve in every column of dots, or in fewer columns if it is so dense that it would fill them."""
    if len(curve.x) <= POINTS_A_DOT_COLUMN * grid.width:
        return decimate(curve, grid.width, grid.x_limits)
    columns = int(DENSE_COLUMNS * grid.columns)
    return zigzag(decimate(curve, columns, grid.x_limits), columns, grid.x_limits)


def start_figure(grid: Grid, across: Axis, up: Axis) -> None:
    """Clear the figure and give it a frame and ticks; its coordinates are cells of the canvas."""
    plotext.clear_figure()
    plotext.theme("clear")
    plotext.limit_size(False, False)
    plotext.plot_size(grid.columns + up.widest + 1, grid.rows + ROWS_OF_X_AXIS)
    plotext.xaxes(True, False)
    plotext.yaxes(True, False)
    plotext.xlim(0, grid.columns - 1)
    plotext.ylim(0, grid.rows - 1)
    plotext.xticks(across.cells, across.labels)
    plotext.yticks(up.cells, up.labels)


def line(grid: Grid, curve: Placed, marker: str, colour: int | str) -> None:
    """Draw the lines of a curve; None breaks a line in plotext."""
    if len(curve.across):
        x, y = grid.coordinates(curve)
        plotext.plot(x, y, marker=marker, color=colour)


def dots(grid: Grid, curve: Placed, *, look: int | str, dim: bool) -> None:
    """Draw unconnected dots, which plotext can dim, unlike lines."""
    if len(curve.across):
        x, y = grid.coordinates(curve, joined=False)
        style = {"style": "dim"} if dim else {}
        plotext.scatter(x, y, marker="braille" if grid.style is BRAILLE else DOT, color=look, **style)


def at_cells(cells: Sequence[tuple[int, int]], glyph: str, colour: int | str) -> None:
    """Put a character into cells, given as column and row from the bottom."""
    if cells:
        plotext.scatter([column for column, _ in cells], [row for _, row in cells], marker=glyph, color=colour)
