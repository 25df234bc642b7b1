"""Draw curves as text; the only importer of plotext, which draws the lines, the markers and the frame.

Values become dots of the canvas here, because plotext fails at very large floats, draws huge ranges of a logarithmic
axis blank, and takes seconds for long curves: it receives only small numbers and single-cell characters, never data or
outside text. In plotext 5.3 a later curve erases the dots of an earlier one in a cell they share, so what matters most
is drawn last: raw curves and bands, then lines, then error bars and markers. Not thread-safe: plotext has one global
figure, and only the UI thread draws.
"""

from __future__ import annotations

import re
from collections.abc import Container, Sequence
from dataclasses import dataclass, field

import numpy as np
import plotext
from rich.cells import cell_len

from console.charts.canvas import (
    ASCII,
    BRAILLE,
    VERTICAL,
    Cell,
    Grid,
    Marks,
    Placed,
    band_dots,
    bar_cells,
    dashes,
    is_marked_throughout,
    reference_cells,
)
from console.charts.curves import Curve, decimate, finite_curve, smooth, zigzag
from console.charts.legend import (
    FRAME_IN_ASCII,
    Axis,
    Entry,
    Name,
    ascii_marker,
    boxed,
    fits_at_edge,
    heading,
    names_in,
    notice,
    outside,
    set_at_edge,
    set_into_axis,
    x_axis,
    y_axis,
)
from console.charts.limits import Range, bar_ends, height_of, limits, log_range, with_references, within
from console.charts.series import COLOURS, Reference, Series
from console.text.formatting import cut

__all__ = ["COLOURS", "Canvas", "Drawing", "Range", "Reference", "Series", "draw", "smooth"]

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
    names: list[Name] = field(default_factory=list)
    """Places of the curves' names in the lines, for the mouse."""


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
    names_above: bool = True,
    references: Sequence[Reference] = (),
    hidden: Container[str] = (),
) -> Drawing:
    """Draw curves in a box of text, for any floats and any size; deterministic.

    Args:
        series: Later ones lie above earlier ones, all above the faint ones and the bands.
        width: Maximum cells of a line.
        height: Exact number of lines (none if below 1).
        title: Text for the first line.
        x_label: Set into the x axis if there is space.
        log_y: Logarithmic y axis (base 10); zero and below are gaps.
        colour: Use ANSI colours; without, the text has no escape sequences.
        unicode: Use braille dots; without, everything including markers and labels is ASCII.
        x_range: Limits of x; None, or a bound that is not finite, takes the data's.
        y_range: Limits of y, in the data's unit even on a logarithmic axis.
        named: Whether to name the curves: at the right edge beside their ends if there is room, else above.
        names_above: Whether to name them above where there is no room at the edge.
        references: Faint lines to compare with.
        hidden: Labels of curves that are named but not drawn.
    """
    width, height = max(width, 0), max(height, 0)
    markers = [one.marker if unicode else ascii_marker(one.marker, index) for index, one in enumerate(series)]
    entries = legend(series, markers, width, hidden, colour=colour, unicode=unicode) if named else []
    lines_named = [outside(one.label, unicode=unicode) for one in references if one.y is not None] if named else []
    edge = fits_at_edge(entries, lines_named, width, height)
    clean_title = outside(title, unicode=unicode)
    above = heading(clean_title, entries if names_above or edge else [], width, height, unicode=unicode)
    head = heading(clean_title, [], width, height, unicode=unicode) if edge else above
    # Hidden curves keep their place in the lists, which gives them their markers.
    curves = [
        finite_curve((), ()) if one.is_hidden(hidden) else finite_curve(one.x, one.y, log_y=log_y) for one in series
    ]
    x_limits = limits([curve.x for curve in curves], x_range, least_apart=1.0)
    if x_limits is None:
        why = why_empty(series, hidden, log_y=log_y)
        return Drawing(boxed(notice(above, why, width, height), height), None, names_in(above, entries))
    shown = curves
    if x_range is not None:
        shown = [within(curve, x_limits) for curve in curves]
        # Include the next point on either side, whose line enters the window.
        curves = [within(curve, x_limits, beyond=1) for curve in curves]
    ends = [end for one in series if not one.is_hidden(hidden) for end in bar_ends(one, x_limits, log_y=log_y)]
    y_limits = limits([*(curve.y for curve in shown), *ends], log_range(y_range) if log_y else y_range)
    if y_range is None:
        y_limits = with_references(y_limits, references, log_y=log_y)
    if y_limits is None:
        why = "no data in this range"
        return Drawing(boxed(notice(above, why, width, height), height), None, names_in(above, entries))

    rows = height - len(head) - ROWS_OF_X_AXIS
    up = y_axis(y_limits, max(rows, LEAST_ROWS), log=log_y)
    columns = width - up.widest - 1 - edge
    if columns < LEAST_COLUMNS or rows < LEAST_ROWS:
        return Drawing(boxed(notice(head, "too small for a chart", width, height), height), None)
    across = x_axis(x_limits, columns)
    grid = Grid(columns, rows, BRAILLE if unicode else ASCII, x_limits, y_limits)
    drawn_series = [one for one in series if not one.is_hidden(hidden)]
    kept = [index for index, one in enumerate(series) if not one.is_hidden(hidden)]
    body = drawn(
        grid,
        drawn_series,
        [curves[index] for index in kept],
        [markers[index] for index in kept],
        across,
        up,
        references,
        colour=colour,
        log_y=log_y,
        label_levels=named and not edge,
    )
    body[rows] = set_into_axis(body[rows], outside(x_label, unicode=unicode), up.widest + 1, across)
    if not unicode:
        body = [line.translate(FRAME_IN_ASCII) for line in body]
    names = names_in(head, entries)
    if edge:
        wanted = [(last_row(grid, curves[entry.index]), entry) for entry in entries]
        levels = [grid.row_of(height_of(one, log_y=log_y)) for one in references if one.y is not None]
        wanted += [
            (row, Entry(" ", label, None, dim=colour))
            for row, label in zip(levels, lines_named, strict=True)
            if row is not None
        ]
        names = set_at_edge(body, wanted, rows, up.widest + 2 + columns, first_line=len(head))
    return Drawing(boxed([*head, *body], height), Canvas(up.widest + 1, len(head), columns, rows, x_limits), names)


def why_empty(series: Sequence[Series], hidden: Container[str], *, log_y: bool) -> str:
    """Reason for a chart without curves."""
    with_data = [one for one in series if np.isfinite(np.asarray(one.y, np.float64)).any()]
    if with_data and all(one.is_hidden(hidden) for one in with_data):
        return "all curves are switched off"
    return "nothing above 0 for a log axis" if log_y and with_data else "no data yet"


def last_row(grid: Grid, curve: Curve) -> int | None:
    """Row of a curve's last point within the canvas; None if it has none."""
    cells = grid.cells(grid.place(curve))
    return cells[-1][1] if cells else None


def legend(
    series: Sequence[Series],
    markers: Sequence[str],
    width: int,
    hidden: Container[str],
    *,
    colour: bool,
    unicode: bool,
) -> list[Entry]:
    """Legend entries; a label takes at most half of the width."""
    entries = []
    for index, (one, marker) in enumerate(zip(series, markers, strict=True)):
        label = cut(outside(one.label, unicode=unicode), min(width - 2, max(width // 2, 16)), unicode=unicode)
        if label and not one.faint:
            is_hidden = one.is_hidden(hidden)
            shown = one.colour_index if colour and not is_hidden else None
            text = f"({label})" if is_hidden else label
            entries.append(Entry(marker, text, shown, colour and is_hidden, index, one.label))
    return entries


def drawn(
    grid: Grid,
    series: Sequence[Series],
    curves: Sequence[Curve],
    markers: Sequence[str],
    across: Axis,
    up: Axis,
    references: Sequence[Reference],
    *,
    colour: bool,
    log_y: bool,
    label_levels: bool,
) -> list[str]:
    """Draw curves and axes with plotext's global figure; `label_levels` names horizontal lines on the canvas."""
    start_figure(grid, across, up)
    for reference in references:
        draw_reference(grid, reference, named=reference.y is None or label_levels, colour=colour, log_y=log_y)
    colours = [one.colour_index if colour and one.colour_index is not None else NO_COLOUR for one in series]
    parts = [grid.place(thinned(grid, curve)) for curve in curves]
    strong = [index for index, one in enumerate(series) if not one.faint]
    for index, one in enumerate(series):
        if one.faint:
            dots(grid, parts[index], look=colours[index], dim=colour)
    for index in strong:
        one = series[index]
        if one.low is not None and one.high is not None and not one.bars:
            edges = [finite_curve(one.x, edge, log_y=log_y) for edge in (one.low, one.high)]
            dots(grid, band_dots(grid, *edges), look=colours[index], dim=colour)
    for index in strong:
        # In ASCII, a line of markers would hide which of its points were measured.
        glyph = DOT if is_marked_throughout(curves[index], grid) else markers[index]
        curve = dashes(parts[index]) if series[index].dashed and grid.style is BRAILLE else parts[index]
        line(grid, curve, "braille" if grid.style is BRAILLE else glyph, colours[index])
    marks = Marks(grid)
    for turn, index in enumerate(strong):
        one = series[index]
        if one.low is not None and one.high is not None and one.bars:
            for glyph, cells in bar_cells(grid, one.x, one.low, one.high, log_y=log_y).items():
                at_cells(cells, glyph, colours[index])
        marks.add(index, curves[index], parts[index], offset=turn / len(strong))
    for index in strong:
        at_cells(marks.of(index), markers[index], colours[index])
    # plotext ends every run of equal looks with a reset, even if nothing was set.
    lines = RUN.sub(lambda run: run[0] if run[1] else run[2], plotext.build()).splitlines()
    return [line.rstrip() for line in lines]


def draw_reference(grid: Grid, reference: Reference, *, named: bool, colour: bool, log_y: bool) -> None:
    """Draw a reference line, with its label beside its top or on its right end."""
    label = outside(reference.label, unicode=grid.style is BRAILLE) if named else ""
    for glyph, cells in reference_cells(grid, reference.x, height_of(reference, log_y=log_y)).items():
        at_cells(cells, glyph, NO_COLOUR, dim=colour)
        column, row = cells[-1]
        first = column + 2 if glyph == VERTICAL else column + 1 - len(label)
        # Only characters of one cell each, and only where the whole label fits.
        if cell_len(label) == len(label) and 0 <= first <= grid.columns - len(label):
            for place, character in enumerate(label, first):
                at_cells([(place, row)], character, NO_COLOUR, dim=colour)


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


def at_cells(cells: Sequence[Cell], glyph: str, colour: int | str, *, dim: bool = False) -> None:
    """Put a character into cells."""
    if cells:
        style = {"style": "dim"} if dim else {}
        plotext.scatter([column for column, _ in cells], [row for _, row in cells], marker=glyph, color=colour, **style)
