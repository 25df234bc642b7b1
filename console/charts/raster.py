"""Rasterise curves: set dots on a fine grid, several to a cell, and map cells to glyphs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from console.charts.curves import Curve, fractions

Ints = NDArray[np.int64]

FREE = -1
"""Marks a cell without a series."""
SMALLEST_MARKER_GAP = 12
MARKERS_A_CURVE = 6
LEAST_BEFORE_END = 3
STIPPLE, STIPPLE_SLANT = 4, 2
"""A faint curve sets one dot in STIPPLE, shifted by STIPPLE_SLANT from row to row."""


@dataclass(frozen=True, slots=True)
class DotStyle:
    """Layout of the dots in a cell and their glyphs."""

    bits: NDArray[np.int64]
    """[rows, columns] of a cell, lowest row first: bit of each dot."""
    glyphs: str
    """Glyph for every sum of bits."""


BRAILLE = DotStyle(
    np.array([[0x40, 0x80], [0x04, 0x20], [0x02, 0x10], [0x01, 0x08]]),
    "".join(chr(0x2800 + mask) for mask in range(256)),
)
ASCII = DotStyle(np.array([[1], [2]]), " .':")


def trace(across: Ints, up: Ints, starts: NDArray[np.bool_]) -> tuple[Ints, Ints]:
    """Dots of straight lines through points, separately for each part.

    Args:
        across: [N], column of each point.
        up: [N], row of each point, 0 at the bottom.
        starts: [N], true if no line leads to the point.

    Returns:
        Columns and rows of the dots, [M] each, including the points.
    """
    joined = np.flatnonzero(~starts[1:]) if len(starts) else np.zeros(0, np.int64)
    right, rise = across[joined + 1] - across[joined], up[joined + 1] - up[joined]
    steps = np.maximum(np.abs(right), np.abs(rise))
    total = int(steps.sum())
    line = np.repeat(np.arange(len(joined)), steps)
    step = np.arange(total) - np.repeat(np.cumsum(steps) - steps, steps)
    share = step / np.maximum(steps[line], 1)
    columns = np.rint(across[joined][line] + share * right[line]).astype(np.int64)
    rows = np.rint(up[joined][line] + share * rise[line]).astype(np.int64)
    return np.concatenate([columns, across]), np.concatenate([rows, up])


class Raster:
    """Grid of cells on which curves are painted one after another."""

    def __init__(self, columns: int, rows: int, style: DotStyle) -> None:
        self.columns, self.rows, self.style = columns, rows, style
        self.dot_rows, self.dot_columns = len(style.bits), len(style.bits[0])
        self.masks = np.zeros((rows, columns), np.int64)
        self.owners = np.full((rows, columns), FREE)
        self.faint = np.zeros((rows, columns), np.bool_)
        self.markers = np.full((rows, columns), FREE)

    @property
    def width(self) -> int:
        """Width in dots."""
        return self.columns * self.dot_columns

    @property
    def height(self) -> int:
        """Height in dots."""
        return self.rows * self.dot_rows

    def place(self, curve: Curve, x_range: tuple[float, float], y_range: tuple[float, float]) -> tuple[Ints, Ints]:
        """Column and row, in dots, of every point of a curve; points outside the ranges fall outside the grid."""
        across = np.rint(fractions(curve.x, *x_range) * (self.width - 1)).astype(np.int64)
        up = np.rint(fractions(curve.y, *y_range) * (self.height - 1)).astype(np.int64)
        return across, up

    def paint(self, owner: int, columns: Ints, rows: Ints, *, faint: bool = False) -> Ints:
        """Set dots; where curves meet, both show and the later one colours the cell.

        Args:
            owner: Index of the series.
            columns: [M], in dots; those outside the grid are skipped.
            rows: [M], in dots.
            faint: Draw stippled; later curves that are not faint replace this one where they cross.

        Returns:
            [rows, columns], bits set by this curve alone.
        """
        inside = (columns >= 0) & (columns < self.width) & (rows >= 0) & (rows < self.height)
        if faint:
            # Stippled, because noise would fill whole areas and hide the smoothed curve without colour.
            inside &= (columns + STIPPLE_SLANT * rows) % STIPPLE == 0
        dots = np.zeros((self.height, self.width), np.bool_)
        dots[rows[inside], columns[inside]] = True
        cells = dots.reshape(self.rows, self.dot_rows, self.columns, self.dot_columns)
        masks: Ints = np.einsum("rdce,de->rc", cells, self.style.bits)
        touched = masks > 0
        if not faint:
            self.masks[touched & self.faint] = 0
        self.faint[touched] = faint
        self.masks |= masks
        self.owners[touched] = owner
        return masks

    def mark(self, owner: int, column: int, row: int) -> bool:
        """Mark a cell for a series; return False if the cell is taken or outside the grid."""
        if not (0 <= column < self.columns and 0 <= row < self.rows) or self.markers[row, column] != FREE:
            return False
        self.markers[row, column] = self.owners[row, column] = owner
        return True

    def mark_along(self, owner: int, masks: Ints, *, offset: float) -> None:
        """Mark a long curve at its end and at intervals.

        Args:
            owner: Index of the series.
            masks: [rows, columns], bits set by its curve.
            offset: Fraction of an interval to start later, 0 <= offset < 1, so that markers of overlapping curves
                alternate.
        """
        passed = np.flatnonzero(masks.any(axis=0)).tolist()
        if not passed:
            return
        any(self._mark_on(owner, masks, column) for column in passed[:-SMALLEST_MARKER_GAP:-1])
        gap = max(SMALLEST_MARKER_GAP, self.columns // MARKERS_A_CURVE)
        end = passed[-1] - LEAST_BEFORE_END
        for wanted in range(int((0.25 + offset) * gap), end, gap):
            any(self._mark_on(owner, masks, column) for column in range(wanted, min(wanted + 3, end)))

    def _mark_on(self, owner: int, masks: Ints, column: int) -> bool:
        """Mark the curve in a column, in the middle of its rise there."""
        rows = np.flatnonzero(masks[:, column])
        return len(rows) > 0 and self.mark(owner, column, int(rows[len(rows) // 2]))
