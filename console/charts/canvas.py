"""Dots and cells of a canvas: where curves, error bars and markers lie on it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from console.charts.curves import Curve, Floats, Numbers, fractions, inside

Ints = NDArray[np.int64]
Cell = tuple[int, int]
"""Column, and row from the bottom."""

COLUMNS_A_MARKED_POINT = 3
"""With at least this many columns from point to point, every point is marked."""
SMALLEST_MARKER_GAP = 12
MARKERS_A_CURVE = 6
LEAST_BEFORE_END = 3
NEAR = 2
"""Columns by which a marker may move to find a free cell."""
DASH, DASH_GAP = 6, 4
"""Dots of a dash and between dashes."""
BAND_COLUMNS, BAND_ROWS = 4, 4
"""Dots from one dot inside a band to the next."""
EDGE_COLUMNS = 2
"""Dots from one dot on the edge of a band to the next."""
VERTICAL, HORIZONTAL = "┊", "┈"
"""Characters of reference lines."""
BAR, TOP_CAP, LOW_CAP = "│", "┬", "┴"


@dataclass(frozen=True, slots=True)
class DotStyle:
    """Number of dots in a cell."""

    columns: int
    rows: int


BRAILLE = DotStyle(2, 4)
ASCII = DotStyle(1, 1)


@dataclass(frozen=True, slots=True)
class Placed:
    """Points in dots of the canvas, in parts not joined by lines."""

    across: Ints
    """[N], from the left."""
    up: Ints
    """[N], from the bottom."""
    starts: NDArray[np.bool_]
    """[N], true at the first point of a part."""


@dataclass(frozen=True, slots=True)
class Grid:
    """A canvas of cells with dots in them, and the values at its edges."""

    columns: int
    rows: int
    style: DotStyle
    x_limits: tuple[float, float]
    """x at the first and the last dot."""
    y_limits: tuple[float, float]
    """y at the lowest and the highest dot; decimal logarithms on a logarithmic axis."""

    @property
    def width(self) -> int:
        """Width in dots."""
        return self.columns * self.style.columns

    @property
    def height(self) -> int:
        """Height in dots."""
        return self.rows * self.style.rows

    def place(self, curve: Curve) -> Placed:
        """Place a curve on the dots, without what lies outside the canvas."""
        scaled = Curve(fractions(curve.x, *self.x_limits), fractions(curve.y, *self.y_limits), curve.starts)
        shown = inside(scaled)
        across = np.rint(shown.x * (self.width - 1)).astype(np.int64)
        up = np.rint(shown.y * (self.height - 1)).astype(np.int64)
        return Placed(across, up, shown.starts)

    def coordinates(self, curve: Placed, *, joined: bool = True) -> tuple[list[float | None], list[float | None]]:
        """Coordinates of dots in cells, such that plotext rounds each to its dot; None separates the parts."""
        x = curve.across * ((self.columns - 1) / max(self.width - 1, 1))
        y = curve.up * ((self.rows - 1) / max(self.height - 1, 1))
        gaps = np.flatnonzero(curve.starts)[1:].tolist() if joined else []
        found: list[list[float | None]] = []
        for values in (x, y):
            first, *others = (part.tolist() for part in np.split(values, gaps))
            found.append(first + [value for part in others for value in (None, *part)])
        return found[0], found[1]

    def row_of(self, y: float | None) -> int | None:
        """Row of a value, given as on the axis; None outside the canvas."""
        if y is None or not self.y_limits[0] <= y <= self.y_limits[1]:
            return None
        share = float(fractions(np.array([y]), *self.y_limits)[0])
        return round(share * (self.height - 1)) // self.style.rows

    def cells(self, curve: Placed) -> list[Cell]:
        """Cells of a curve's points."""
        columns, rows = curve.across // self.style.columns, curve.up // self.style.rows
        return list(zip(columns.tolist(), rows.tolist(), strict=True))


class Marks:
    """Markers on curves, at most one in a cell."""

    def __init__(self, grid: Grid) -> None:
        self._grid = grid
        self._owners: dict[Cell, int] = {}

    def of(self, owner: int) -> list[Cell]:
        """Cells marked for a curve."""
        return [cell for cell, other in self._owners.items() if other == owner]

    def add(self, owner: int, curve: Curve, placed: Placed, *, offset: float) -> None:
        """Mark every point of a curve if they are few, else its end and points at intervals.

        Args:
            owner: Index of the curve.
            curve: All its points.
            placed: Those within the canvas.
            offset: Fraction of an interval to start later, 0 <= offset < 1, so that markers of overlapping curves
                alternate.
        """
        if is_marked_throughout(curve, self._grid):
            placed = self._grid.place(Curve(curve.x, curve.y, np.ones(len(curve.x), np.bool_)))
            for cell in self._grid.cells(placed):
                self._owners.setdefault(cell, owner)
        elif len(placed.across):
            cells = self._grid.cells(placed)
            columns = placed.across // self._grid.style.columns
            last = int(columns[-1])
            first = int(np.searchsorted(columns, last - SMALLEST_MARKER_GAP, "right"))
            self._mark(owner, cells[:first:-1] or cells[-1:])
            gap = max(SMALLEST_MARKER_GAP, self._grid.columns // MARKERS_A_CURVE)
            for wanted in range(int((0.25 + offset) * gap), last - LEAST_BEFORE_END, gap):
                first, end = np.searchsorted(columns, [wanted, min(wanted + NEAR, last - LEAST_BEFORE_END) + 1])
                self._mark(owner, cells[first:end])

    def _mark(self, owner: int, cells: Sequence[Cell]) -> None:
        """Mark the first free cell."""
        free = next((cell for cell in cells if cell not in self._owners), None)
        if free is not None:
            self._owners[free] = owner


def is_marked_throughout(curve: Curve, grid: Grid) -> bool:
    """Whether a curve's points lie so far apart that each is marked."""
    if len(curve.x) < 2:
        return True
    first, last = fractions(curve.x[[0, -1]], *grid.x_limits) * grid.columns
    return bool((len(curve.x) - 1) * COLUMNS_A_MARKED_POINT <= last - first + 1)


def bar_cells(grid: Grid, x: Numbers, low: Numbers, high: Numbers, *, log_y: bool) -> dict[str, list[Cell]]:
    """Cells of error bars by character: solid between the two caps, which lie outside the canvas if their value does.

    Args:
        grid: The canvas.
        x: [N].
        low: [N], lower ends; on a logarithmic axis, an end of zero or below lies under the canvas.
        high: [N], upper ends.
        log_y: Whether y is drawn by its decimal logarithm.
    """
    xs, lows, highs = (np.asarray(values, np.float64) for values in (x, low, high))
    if log_y:
        with np.errstate(divide="ignore", invalid="ignore"):
            lows, highs = np.log10(np.maximum(lows, 0.0)), np.log10(np.maximum(highs, 0.0))
    shown = np.isfinite(xs) & ~np.isnan(lows) & ~np.isnan(highs) & (highs > -np.inf)
    across = fractions(xs[shown], *grid.x_limits)
    cells: dict[str, list[Cell]] = {BAR: [], TOP_CAP: [], LOW_CAP: []}
    for share, bottom, top in zip(across, bar_rows(grid, lows[shown]), bar_rows(grid, highs[shown]), strict=True):
        if not 0 <= share <= 1:
            continue
        column = round(float(share) * (grid.width - 1)) // grid.style.columns
        for row in range(max(bottom + 1, 0), min(top, grid.rows)):
            cells[BAR].append((column, row))
        if bottom < top:
            cells[TOP_CAP] += [(column, top)] if 0 <= top < grid.rows else []
            cells[LOW_CAP] += [(column, bottom)] if 0 <= bottom < grid.rows else []
    return cells


def reference_cells(grid: Grid, x: float | None, y: float | None) -> dict[str, list[Cell]]:
    """Cells of a reference line by character: a vertical one at x, or a horizontal one at y, if within the canvas."""
    if x is not None and grid.x_limits[0] <= x <= grid.x_limits[1]:
        share = float(fractions(np.array([x]), *grid.x_limits)[0])
        column = round(share * (grid.width - 1)) // grid.style.columns
        return {VERTICAL: [(column, row) for row in range(grid.rows)]}
    if x is None and (row := grid.row_of(y)) is not None:
        return {HORIZONTAL: [(column, row) for column in range(grid.columns)]}
    return {}


def bar_rows(grid: Grid, values: Floats) -> list[int]:
    """Row of each value; -1 below the canvas, and the number of rows above it."""
    shares = fractions(np.clip(values, -1e308, 1e308), *grid.y_limits)
    rows = np.rint(shares * (grid.height - 1)) // grid.style.rows
    return np.clip(rows, -1, grid.rows).astype(np.int64).tolist()  # type: ignore[no-any-return]


def dashes(curve: Placed) -> Placed:
    """Cut lines into dashes along their length, so that a spike loses no more than a gap; single points stay."""
    if len(curve.across) < 2:
        return curve
    rise, run = np.abs(np.diff(curve.up)), np.abs(np.diff(curve.across))
    steps = np.where(curve.starts[1:], 0, np.maximum(rise, run))
    length = np.concatenate([[0.0], np.cumsum(steps)])
    period = DASH + DASH_GAP
    begins = np.arange(0, length[-1], period)
    cuts = np.concatenate([begins[1:], begins + DASH])
    cuts = cuts[cuts < length[-1]]
    part = np.cumsum(curve.starts)
    places = np.concatenate([length, cuts])
    order = np.argsort(places, kind="stable")
    after = np.searchsorted(length, cuts, "right")
    parts = np.concatenate([part, part[np.minimum(after, len(part) - 1)]])[order]
    at = places[order]
    across = np.concatenate([curve.across, np.rint(np.interp(cuts, length, curve.across)).astype(np.int64)])[order]
    up = np.concatenate([curve.up, np.rint(np.interp(cuts, length, curve.up)).astype(np.int64)])[order]
    middle = (at[1:] + at[:-1]) / 2
    starts = np.ones(len(at), np.bool_)
    starts[1:] = (middle % period >= DASH) | (parts[1:] != parts[:-1])
    is_single = np.bincount(parts)[parts] == 1
    shown = (at % period <= DASH) | is_single
    return Placed(across[shown], up[shown], starts[shown])


def band_dots(grid: Grid, low: Curve, high: Curve) -> Placed:
    """Dots of a band between two curves: its edges, and sparse ones inside.

    Args:
        grid: The canvas.
        low: Lower edge; where it has no value, such as a logarithm below zero, the band reaches the canvas's edge.
        high: Upper edge, which limits where there is a band.
    """
    column = np.arange(grid.width)
    bottom, top = edge_rows(grid, low, column), edge_rows(grid, high, column)
    bottom = np.where(np.isnan(bottom), -1.0, bottom)
    columns, rows = np.meshgrid(column, np.arange(grid.height), indexing="ij")
    inside_it = (rows > bottom[:, None]) & (rows < top[:, None])
    sparse = (columns % BAND_COLUMNS == 0) & ((rows + columns // BAND_COLUMNS % 2 * 2) % BAND_ROWS == 0)
    edge = (rows == bottom[:, None]) | (rows == top[:, None])
    shown = ~np.isnan(top)[:, None] & ((inside_it & sparse) | (edge & (columns % EDGE_COLUMNS == 0)))
    across, up = np.nonzero(shown)
    return Placed(across, up, np.ones(len(across), np.bool_))


def edge_rows(grid: Grid, curve: Curve, columns: Ints) -> Floats:
    """Row of an edge, in dots, in each column; NaN where it has no value."""
    x = fractions(curve.x, *grid.x_limits) * (grid.width - 1)
    y = np.rint(fractions(curve.y, *grid.y_limits) * (grid.height - 1))
    rows = np.full(len(columns), np.nan)
    for part in np.split(np.arange(len(x)), np.flatnonzero(curve.starts)[1:]):
        if len(part):
            first, last = x[part[0]], x[part[-1]]
            within = (columns >= np.rint(first)) & (columns <= np.rint(last))
            rows[within] = np.rint(np.interp(columns[within], x[part], y[part]))
    return rows
