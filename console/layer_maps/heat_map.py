"""Draw a grid of layers and epochs as text: a bar in every cell, higher and warmer for larger values.

The bar's height (in ASCII, its character) shows the value, so nothing is lost without colour. The scale is logarithmic
because gradients differ by powers of ten.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

from console.charts.layer_grid import LayerGrid, epoch_name, figure
from console.charts.legend import boxed, notice
from console.text.formatting import BARS, BARS_IN_ASCII, cut
from console.text.status import counted

MOST_CELLS_A_LAYER = 6
ZERO, NOT_FINITE, NOT_RECORDED = "0", "!", "?"
TERMINAL_HEAT = (4, 12, 6, 2, 3, 11, 9, 1)
"""From cold to warm, of the sixteen colours that every terminal theme defines."""


@dataclass(frozen=True, slots=True)
class Scale:
    """Range of a map on a logarithmic scale."""

    low: float
    """Decimal logarithm of the smallest positive value, or a lower bound."""
    middle: float
    """Decimal logarithm of the median."""
    high: float

    @classmethod
    def of(cls, values: Sequence[float | None]) -> Scale | None:
        """Scale of values; None if none is positive and finite."""
        found = [math.log10(value) for value in values if value is not None and 0 < value < math.inf]
        return cls(min(found), statistics.median(found), max(found)) if found else None

    def in_round_numbers(self, limits: tuple[float, float] | None) -> Scale:
        """Widen to round numbers that include two positive limits, so that maps with the same ones compare.

        Whole powers of ten would leave up to two decades, and most of the colours, unused.
        """
        ends = [self.low, self.high, *(map(math.log10, limits) if limits is not None else ())]
        low, high = rounded(min(ends), up=False), rounded(max(ends), up=True)
        return Scale(low, self.middle, high if high > low else low + 1)

    def level(self, value: float, num_levels: int) -> int:
        """Level of a value, 0 for the smallest; a single value is in the middle."""
        span = self.high - self.low
        share = (math.log10(value) - self.low) / span if span > 0 else 0.5
        return min(int(share * num_levels), num_levels - 1)

    def outstanding(self, values: Sequence[float | None]) -> float | None:
        """Value to show for a cell that covers several: non-finite first, then zero, then the one furthest from the
        map's median on the logarithmic scale; None if nothing was recorded."""
        recorded = [value for value in values if value is not None]
        for special in (math.inf, 0.0):
            if special in recorded:
                return special
        return max(recorded, key=lambda value: abs(math.log10(value) - self.middle), default=None)


ROUND = (0.0, math.log10(2), math.log10(5), 1.0)
"""Decimal logarithms of the round numbers of a decade: 1, 2, 5 and 10."""
NEARLY = 1e-9
"""Logarithms this close are equal: rounding errors move no end of a scale."""


def rounded(logarithm: float, *, up: bool) -> float:
    """Decimal logarithm of the next round number above or below."""
    decade = math.floor(logarithm + NEARLY)
    share = logarithm - decade
    if up:
        return decade + next((one for one in ROUND if one >= share - NEARLY), 1.0)
    return decade + max(one for one in ROUND if one <= share + NEARLY)


@dataclass(frozen=True, slots=True)
class HeatMap:
    """A map as text, with the layers and epochs of its cells."""

    lines: list[str]
    left: int = 0
    """Cells before the first column of the map."""
    top: int = 0
    """Lines above its first row."""
    columns: tuple[range, ...] = ()
    """Layers, by position, of every column; several columns may show the same layer."""
    rows: tuple[range, ...] = ()
    """Epochs, by index in the grid, of every row."""

    def cells_of(self, epoch: int, layer: int) -> tuple[int, int, int] | None:
        """Line, first cell and number of cells that show a layer in an epoch; None if none do."""
        across = [column for column, shown in enumerate(self.columns) if layer in shown]
        down = [row for row, shown in enumerate(self.rows) if epoch in shown]
        if not across or not down:
            return None
        return self.top + down[0], self.left + across[0], len(across)

    def at(self, x: int, y: int) -> tuple[int, int] | None:
        """First epoch and layer that a cell shows; None outside the map."""
        column, row = x - self.left, y - self.top
        if not (0 <= column < len(self.columns) and 0 <= row < len(self.rows)):
            return None
        return self.rows[row].start, self.columns[column].start


def draw_heat_map(
    grid: LayerGrid,
    *,
    width: int,
    height: int,
    title: str,
    colours: Sequence[int] | None,
    unicode: bool,
    empty: str = "no gradients recorded yet",
    limits: tuple[float, float] | None = None,
    whose: str = "",
) -> HeatMap:
    """Draw layers across and epochs down, on a logarithmic scale; deterministic.

    Args:
        grid: Values to draw.
        width: Maximum cells of a line.
        height: Maximum lines.
        title: Clean text for the first line; the key goes beside it, or below if too long.
        colours: Of the 256, smallest value to largest; None draws without colour.
        unicode: Draw bars rather than ASCII.
        empty: Message for an empty grid.
        limits: Positive limits shared with other maps; None scales this map by itself.
        whose: Scope of the scale, named in the key; empty leaves it out.
    """
    bars = BARS if unicode else BARS_IN_ASCII
    scale = Scale.of([value for row in grid.values for value in row])
    scale = scale and scale.in_round_numbers(limits)
    if not grid.epochs:
        return HeatMap(boxed(notice([cut(title, width, unicode=unicode)], empty, width, height), height))
    widest = max(len(epoch_name(epoch)) for epoch in (grid.epochs[0], grid.epochs[-1]))
    room = width - widest - 1
    head = header(title, key(grid, scale, bars, whose), width, unicode=unicode)
    columns, rows = columns_of(len(grid.layers), room), rows_of(grid.epochs, height - len(head) - 1)
    foot = merge_note(columns, rows)
    if foot:
        rows = rows_of(grid.epochs, height - len(head) - 2)
        foot = merge_note(columns, rows)
    if room < 2 or not rows:
        return HeatMap(boxed(notice(head[:1], "too small for a map", width, height), height))
    lines = [*head, " " * (widest + 1) + stages(grid.layers, columns)]
    scale = scale or Scale(0.0, 0.0, 0.0)
    for shown in rows:
        values = [
            scale.outstanding([grid.values[epoch][layer] for epoch in shown for layer in column]) for column in columns
        ]
        label = epoch_name(grid.epochs[shown.start]).rjust(widest)
        lines.append(f"{label} {painted(values, scale, bars, colours)}")
    if foot:
        lines.append(cut(foot, width, unicode=unicode))
    return HeatMap(lines, widest + 1, len(head) + 1, columns, rows)


def painted(values: Sequence[float | None], scale: Scale, bars: str, colours: Sequence[int] | None) -> str:
    """Render a line of cells, coloured once for each run of equal ones."""
    text = []
    for (character, colour), run in groupby(cell(value, scale, bars, colours) for value in values):
        cells = character * len(list(run))
        text.append(cells if colour is None else f"\x1b[38;5;{colour}m{cells}\x1b[0m")
    return "".join(text)


def cell(value: float | None, scale: Scale, bars: str, colours: Sequence[int] | None) -> tuple[str, int | None]:
    """Character and colour of a value."""
    if value is None:
        return NOT_RECORDED, None
    if not math.isfinite(value):
        return NOT_FINITE, None
    if value <= 0:
        return ZERO, None
    return bars[scale.level(value, len(bars))], colours[scale.level(value, len(colours))] if colours else None


def columns_of(num_layers: int, room: int) -> tuple[range, ...]:
    """Layers of every column: several columns to a layer or several layers to a column, spread evenly."""
    if room < 1:
        return ()
    if num_layers <= room:
        repeats = min(MOST_CELLS_A_LAYER, room // num_layers)
        return tuple(range(layer, layer + 1) for layer in range(num_layers) for _ in range(repeats))
    return tuple(spread(num_layers, room))


def rows_of(epochs: Sequence[int], lines: int) -> tuple[range, ...]:
    """Epochs of every row, by index; initialisation has its own row."""
    if lines < 1 or not epochs:
        return ()
    if len(epochs) <= lines:
        return tuple(range(index, index + 1) for index in range(len(epochs)))
    first = 1 if epochs[0] == 0 and lines > 1 else 0
    merged = (range(part.start + first, part.stop + first) for part in spread(len(epochs) - first, lines - first))
    return (*([range(1)] if first else []), *merged)


def spread(num: int, parts: int) -> Iterator[range]:
    """Split `num` indices into consecutive parts of nearly equal size."""
    for part in range(parts):
        yield range(part * num // parts, (part + 1) * num // parts)


def merge_note(columns: Sequence[range], rows: Sequence[range]) -> str:
    """Note that cells cover several values; empty if none does."""
    counts = ((max(map(len, columns), default=1), "layers"), (max(map(len, rows), default=1), "epochs"))
    most = [f"{count} {what}" for count, what in counts if count > 1]
    return f"a cell covers up to {' by '.join(most)} and shows the value furthest from the median" if most else ""


def key(grid: LayerGrid, scale: Scale | None, bars: str, whose: str = "") -> str:
    """Key to the characters: the ends of the scale and the special signs that occur."""
    parts = []
    if scale is not None:
        kind = f"log, {whose}" if whose else "log"
        parts += [f"{bars[0]} {figure(10**scale.low)}", f"{bars[-1]} {figure(10**scale.high)} ({kind})"]
    values = {value for row in grid.values for value in row}
    missing = sum(all(value is None for value in row) for row in grid.values)
    if 0.0 in values:
        parts.append(f"{ZERO} zero")
    if math.inf in values:
        parts.append(f"{NOT_FINITE} not finite or none")
    if None in values:
        parts.append(f"{NOT_RECORDED} not recorded" + (f" ({counted(missing, 'epoch')})" if missing else ""))
    return "  ".join(parts)


def header(title: str, key: str, width: int, *, unicode: bool) -> list[str]:
    """Title and key on one line if they fit, else on two."""
    if len(title) + 2 + len(key) <= width:
        return [title + " " * (width - len(title) - len(key)) + key]
    return [cut(title, width, unicode=unicode), cut(key, width, unicode=unicode)]


def stages(layers: Sequence[str], columns: Sequence[range]) -> str:
    """Names of stem, stages and head above their first cells, as far as space allows."""
    line = [" "] * len(columns)
    firsts: dict[str, int] = {}
    for column, shown in enumerate(columns):
        firsts.setdefault(layers[shown.start].split(".")[0], column)
    # The head is the last, narrow column, so its name is right-aligned.
    firsts["head"] = max(len(columns) - len("head"), 0)
    for name, column in sorted(firsts.items(), key=lambda item: (item[0] != "head", item[0] == "stem", -item[1])):
        end = column + len(name)
        if end <= len(columns) and all(cell == " " for cell in line[max(column - 1, 0) : end + 1]):
            line[column:end] = name
    return "".join(line).rstrip()
