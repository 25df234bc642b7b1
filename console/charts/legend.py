"""Surroundings of a chart's curves: title, legend, axes, and the notice shown when there is nothing to draw."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from rich.cells import cell_len

from console.charts import axes
from console.text.formatting import clean, cut

ASCII_MARKERS = dict(zip("■▲◆●▼▽□△◇○▶▪▴◈•▾", "#^*ovy%A+O>n/=cw", strict=True))
FRAME_IN_ASCII = str.maketrans("─│┌┐└┘├┤┬┴┼", "-|+++++++++")
ROWS_A_LEGEND_ROW = 6
"""Chart rows for each row of legend allowed: curves matter more than names."""
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

    @property
    def cells(self) -> int:
        return cell_len(self.marker) + 1 + cell_len(self.label)

    def __str__(self) -> str:
        marker = self.marker if self.colour is None else f"\x1b[38;5;{self.colour}m{self.marker}\x1b[0m"
        return f"{marker} {self.label}"


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
    """Lay out title and legend: on one line if they fit, else the legend below.

    Args:
        title: Clean text.
        entries: Legend entries; those that do not fit are counted in the title.
        width: Cells.
        height: Lines of the whole chart.
        unicode: Whether to mark cuts with an ellipsis rather than ASCII.
    """
    rows = pack(entries, width)
    if len(rows) == 1 and cell_len(title) + 3 + row_cells(rows[0]) <= width:
        return [title + " " * (width - cell_len(title) - row_cells(rows[0])) + row_text(rows[0])]
    shown = rows[: height // ROWS_A_LEGEND_ROW]
    left_out = len(entries) - sum(map(len, shown))
    if left_out:
        title = f"{title}  (+{left_out} not named)" if title else ""
    first = cut(title, width, unicode=unicode)
    return [*([first] if first else []), *map(row_text, shown)]


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
