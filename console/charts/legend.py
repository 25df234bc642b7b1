"""Surroundings of a chart's curves: title, legend, axes, and the notice shown when there is nothing to draw."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from rich.cells import cell_len

from console.charts import axes
from console.text.formatting import clean, cut

ASCII_MARKERS = dict(zip("■▲◆●▼▽□△◇○▶▪▴◈•▾", "#^*ovy%A+O>n/=cw", strict=True))
FRAME_IN_ASCII = str.maketrans("─│┌┐└┘├┤┬┴┼┊┈", "-|+++++++++:.")
ROWS_A_LEGEND_ROW = 6
"""Chart rows for each row of legend allowed: curves matter more than names."""
LEAST_LABEL = 4
"""Cells to which labels are cut when there are many."""
LEAST_CHART_ROWS = 8
"""Lines of a chart that names leave free: title, axis and some rows."""
LEAST_CELLS_BESIDE_NAMES = 52
"""Width of a chart beside names at its edge: with less, they go above."""
ESCAPES = re.compile(r"\x1b\[[\d;]*m")
ROWS_A_TICK = 3
LEAST_TICKS = 3
"""Minimum on a linear y axis, even if they crowd: fewer do not show a scale."""
ROWS_A_LOG_TICK = 2
"""Denser than linear ticks, since some candidates are dropped as not round."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry of a legend."""

    marker: str
    label: str
    colour: int | None
    dim: bool = False
    index: int = 0
    """Position of its curve among all."""
    names: str = ""
    """Label of the curve as given, uncut."""

    @property
    def cells(self) -> int:
        return cell_len(self.marker) + 1 + cell_len(self.label)

    def __str__(self) -> str:
        if self.dim:
            return f"\x1b[2m{self.marker} {self.label}\x1b[0m"
        marker = self.marker if self.colour is None else f"\x1b[38;5;{self.colour}m{self.marker}\x1b[0m"
        return f"{marker} {self.label}"

    def shortened(self, cells: int, *, unicode: bool) -> Entry:
        """The entry with a label of at most so many cells."""
        return replace(self, label=cut(self.label, cells, unicode=unicode))


@dataclass(frozen=True, slots=True)
class Name:
    """Place of a curve's name in a drawing."""

    label: str
    """Label of the curve."""
    line: int
    left: int
    """First cell."""
    right: int
    """Cell after the last."""


@dataclass(frozen=True, slots=True)
class Axis:
    """Positions and labels of an axis's ticks."""

    cells: list[int]
    """Columns from the left or rows from the bottom, ascending."""
    labels: list[str]

    @property
    def widest(self) -> int:
        return max(map(len, self.labels), default=0)


def outside(text: str, *, unicode: bool) -> str:
    """Make untrusted text safe to draw."""
    text = clean(text).strip()
    return text if unicode else text.encode("ascii", "replace").decode()


def ascii_marker(marker: str, index: int) -> str:
    """ASCII stand-in for a marker, or a letter by position if it has none."""
    return marker if marker.isascii() else ASCII_MARKERS.get(marker, chr(ord("a") + index % 26))


def heading(title: str, entries: Sequence[Entry], width: int, height: int, *, unicode: bool) -> list[str]:
    """Lay out title and legend: on one line if they fit, else the legend below, with labels cut until all have room.

    Args:
        title: Clean text.
        entries: Legend entries.
        width: Cells.
        height: Lines of the whole chart.
        unicode: Whether to mark cuts with an ellipsis rather than ASCII.
    """
    rows = pack(entries, width)
    if len(rows) == 1 and cell_len(title) + 3 + row_cells(rows[0]) <= width:
        return [title + " " * (width - cell_len(title) - row_cells(rows[0])) + row_text(rows[0])]
    longest = max((cell_len(entry.label) for entry in entries), default=0)
    for cells in range(longest - 1, LEAST_LABEL - 1, -1):
        if len(rows) <= height // ROWS_A_LEGEND_ROW:
            break
        rows = pack([entry.shortened(cells, unicode=unicode) for entry in entries], width)
    first = cut(title, width, unicode=unicode)
    # Where even short labels do not fit, names matter more than rows of the chart, down to its least height.
    return [*([first] if first else []), *map(row_text, rows[: max(height - LEAST_CHART_ROWS, 0)])]


def fits_at_edge(entries: Sequence[Entry], references: Sequence[str], width: int, height: int) -> int:
    """Cells for the names of curves and lines at the right edge, with the space before them; 0 without room for all."""
    widest = max([*(entry.cells for entry in entries), *(2 + cell_len(label) for label in references)], default=0)
    num = len(entries) + len(references)
    has_room = width - widest - 1 >= LEAST_CELLS_BESIDE_NAMES and 2 <= num <= height - LEAST_CHART_ROWS
    return widest + 1 if has_room else 0


def set_at_edge(
    lines: list[str], wanted: Sequence[tuple[int | None, Entry]], rows: int, left: int, *, first_line: int
) -> list[Name]:
    """Set names at the right edge of a chart's rows, each as near as possible to its curve's end, in order of height.

    Args:
        lines: Rows of the chart from the top, changed in place.
        wanted: Row of each name from the bottom, or None for one without a curve, which comes last.
        rows: Number of rows with room for names, at least as many as names.
        left: First cell of the names.
        first_line: Line of the first row in the drawing.

    Returns:
        Places of the curves' names.
    """
    lines_wanted = [(rows if row is None else rows - 1 - row, entry) for row, entry in wanted]
    ordered = sorted(lines_wanted, key=lambda one: one[0])
    found: list[Name] = []
    for line, (_, entry) in zip(apart([line for line, _ in ordered], rows), ordered, strict=True):
        before = cell_len(ESCAPES.sub("", lines[line]))
        lines[line] += " " * (left - before) + str(entry)
        if entry.names:
            found.append(Name(entry.names, first_line + line, left, left + entry.cells))
    return found


def apart(wanted: Sequence[int], rows: int) -> list[int]:
    """Different lines in 0..rows-1 near the wanted ones, which ascend; overlapping groups spread around their mean."""
    groups: list[list[int]] = []
    for line in wanted:
        groups.append([line])
        while len(groups) > 1 and start(groups[-2], rows) + len(groups[-2]) > start(groups[-1], rows):
            last = groups.pop()
            groups[-1] += last
    return [start(group, rows) + place for group in groups for place in range(len(group))]


def start(group: Sequence[int], rows: int) -> int:
    """First line of a group of names that are set below one another around the mean of their wanted lines."""
    middle = sum(group) / len(group)
    return min(max(round(middle - (len(group) - 1) / 2), 0), rows - len(group))


def names_in(head: Sequence[str], entries: Sequence[Entry]) -> list[Name]:
    """Places of the names in a heading, whose labels may be cut."""
    found: list[Name] = []
    for line, text in enumerate(head):
        plain = ESCAPES.sub("", text)
        at = 0
        for entry in entries[len(found) :]:
            left = plain.find(f"{entry.marker} {entry.label[: LEAST_LABEL - 1]}", at)
            if left < 0:
                break
            at = left + 1
            end = plain.find("  ", left)
            cells = cell_len(plain[:left]), cell_len(plain if end < 0 else plain[:end])
            found.append(Name(entry.names, line, *cells))
    return found


def pack(entries: Sequence[Entry], width: int) -> list[list[Entry]]:
    """Pack entries into rows of a width; an entry wider than a row is left out."""
    rows: list[list[Entry]] = []
    for entry in entries:
        if entry.cells > width:
            continue
        if rows and row_cells([*rows[-1], entry]) <= width:
            rows[-1].append(entry)
        else:
            rows.append([entry])
    return rows


def row_cells(row: Sequence[Entry]) -> int:
    """Width of a legend row in cells."""
    return sum(entry.cells + 2 for entry in row) - 2


def row_text(row: Sequence[Entry]) -> str:
    """Text of a legend row."""
    return "  ".join(map(str, row))


def notice(head: list[str], why: str, width: int, height: int) -> list[str]:
    """Heading with a centred message in place of a chart."""
    head = head[: max(height - 1, 0)]
    above = max((height - len(head) - 1) // 2, 0)
    return [*head, *[""] * above, why[:width].center(width).rstrip()]


def boxed(lines: list[str], height: int) -> list[str]:
    """Pad or cut to `height` lines."""
    return [*lines, *[""] * height][:height]


def y_axis(limits: tuple[float, float], rows: int, *, log: bool) -> Axis:
    """Ticks of the y axis at round values; `limits` are decimal logarithms if `log`."""
    most = max(rows // (ROWS_A_LOG_TICK if log else ROWS_A_TICK), 2)
    if log:
        values = axes.log_ticks(*limits, most)
        return labelled(values, axes.log_labels(values), limits, rows)
    found = Axis([], [])
    for closer in range(most, max(rows, most) + 1):
        values = axes.linear_ticks(*limits, closer)
        axis = labelled(values, axes.labels(values), limits, rows)
        found = max(found, axis, key=lambda one: len(one.cells))
        if len(found.cells) >= LEAST_TICKS:
            break
    return found


def x_axis(limits: tuple[float, float], columns: int) -> Axis:
    """Ticks of the x axis at round values, as many as keep their labels apart."""
    for most in range(max(columns // 8, 2), 1, -1):
        values = axes.linear_ticks(*limits, most)
        axis = labelled(values, axes.labels(values), limits, columns)
        gaps = [right - left for left, right in pairwise(axis.cells)]
        if min(gaps, default=columns) >= axis.widest + 3:
            return axis
    return Axis(axis.cells[:1], axis.labels[:1])


def labelled(values: list[float], labels: list[str], limits: tuple[float, float], cells: int) -> Axis:
    """Place labels in cells; of two with the same cell or label, keep the first."""
    by_cell: dict[int, str] = {}
    low, high = limits
    for value, label in zip(values, labels, strict=True):
        # Quarters, because the distance between the limits may overflow.
        share = (value / 4 - low / 4) / (high / 4 - low / 4) if high - low > 1e-300 else float(value > low)
        cell = min(max(round(share * (cells - 1)), 0), cells - 1)
        if label not in by_cell.values():
            by_cell.setdefault(cell, label)
    return Axis(list(by_cell), list(by_cell.values()))


def set_into_axis(line: str, label: str, offset: int, axis: Axis) -> str:
    """Set the label into the x axis, in the last gap between ticks that is wide enough, if any.

    Args:
        line: Without escape sequences.
        label: Clean text.
        offset: Cells before the first column.
        axis: Ticks of the axis.
    """
    if not label:
        return line
    marks = [-1, *axis.cells, len(line) - offset]
    for left, right in reversed(list(pairwise(marks))):
        room = right - left - 1
        if room >= cell_len(label) + 3:
            start = offset + left + 1 + (room - cell_len(label) - 2) // 2
            return f"{line[:start]} {label} {line[start + cell_len(label) + 2 :]}"
    return line
