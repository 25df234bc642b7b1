"""Box inside a chart that names the value of every curve at the crosshair."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rich.segment import Segment
from rich.style import Style

from console.text.formatting import cells, cut, cut_in_the_middle

if TYPE_CHECKING:
    from console.charts.series import Series

    Found = Sequence[tuple[Series, float, float]]

LEAST_NAME = 6
"""Cells of a name; a narrower box names nothing."""
MOST_COLUMNS = 3


@dataclass(frozen=True, slots=True)
class Line:
    """A curve's marker, name and value."""

    marker: str
    colour: int | None
    name: str
    value: str


def lines_of(found: Found, markers: Mapping[int, str], *, highest_first: bool) -> list[Line]:
    """Name the values at the crosshair, the best first; a mean with its standard deviation.

    Args:
        found: Curves with their x and y.
        markers: Marker of each curve as drawn, by its `id`.
        highest_first: Whether higher values are better.
    """
    lines = []
    for one, x, y in sorted(found, key=lambda each: each[2], reverse=highest_first):
        value = f"{y:.4g}"
        if one.high is not None:
            at = next((index for index, other in enumerate(one.x) if other == x), None)
            if at is not None:
                value += f" ± {(one.high[at] - one.low[at]) / 2:.2g}" if one.low is not None else ""
        lines.append(Line(markers[id(one)], one.colour_index, one.label, value))
    return lines


def box(head: str, lines: Sequence[Line], width: int, rows: int, *, unicode: bool, colour: bool) -> list[list[Segment]]:
    """Lay out a box of at most a width and a number of rows; lines that do not fit are counted in the last one.

    Args:
        head: First line: where the crosshair is.
        lines: Values.
        width: Cells.
        rows: Lines.
        unicode: Whether to draw with more than ASCII.
        colour: Whether markers have colours.

    Returns:
        Segments of each line, all equally wide; none if there is no room for a name and its value.
    """
    values = [line.value if unicode else line.value.replace("±", "+-") for line in lines]
    widest = max(map(cells, values), default=0)
    names = max((cells(line.name) for line in lines), default=0)
    per_column = max(rows - 1, 1)
    columns = max(1, min(-(-len(lines) // per_column), (width - 2) // (widest + LEAST_NAME + 4), MOST_COLUMNS))
    room = (width - 2 - 2 * (columns - 1)) // columns - widest - 3
    if lines and (room < LEAST_NAME or rows < 2):
        return []
    name_width = min(room, names)
    shown = len(lines) if len(lines) <= per_column * columns else per_column * columns - 1
    left_out = len(lines) - shown
    each = 2 + name_width + 1 + widest
    texts: list[list[Segment]] = []
    for line, value in zip(lines[:shown], values, strict=False):
        style = Style(color=f"color({line.colour})") if colour and line.colour is not None else None
        name = cut_in_the_middle(line.name, name_width, unicode=unicode)
        text = f" {name}{' ' * (name_width - cells(name))} {' ' * (widest - cells(value))}{value}"
        texts.append([Segment(line.marker, style), Segment(text)])
    if left_out:
        texts.append([Segment(cut(f"+{left_out} more", each, unicode=unicode).ljust(each))])
    num = -(-len(texts) // columns)
    side = "│" if unicode else "|"
    inner = max(each * columns + 2 * (columns - 1) if lines else 0, min(cells(head), width - 2))
    head = cut(head, inner, unicode=unicode)
    found = [[Segment(f"{side}{head}{' ' * (inner - cells(head))}{side}")]]
    for row in range(num):
        parts: list[Segment] = []
        for column in range(columns):
            index = column * num + row
            gap = [Segment("  ")] if column else []
            parts += [*gap, *(texts[index] if index < len(texts) else [Segment(" " * each)])]
        pad = inner - each * columns - 2 * (columns - 1)
        found.append([Segment(side), *parts, Segment(" " * pad + side)])
    return found
