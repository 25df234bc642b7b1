"""Lines of a chart as strips of the screen, and what changed between two drawings."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

from rich.segment import Segment
from rich.style import Style
from textual.geometry import Region
from textual.strip import Strip

if TYPE_CHECKING:
    from console.charts.curves import Numbers
    from console.charts.plot import Canvas, Series

RUN_OF_ONE_LOOK = re.compile(r"((?:\x1b\[[\d;]+m)*)([^\x1b]*)(?:\x1b\[0m)?")


def is_same(before: Sequence[Series], after: Sequence[Series]) -> bool:
    """Return whether two sets of curves are equal in labels, markers, colours and points, including gaps."""
    import numpy as np

    def looks(one: Series) -> tuple[object, ...]:
        return one.label, one.marker, one.colour, one.faint, one.dashed, one.bars

    def are_equal(old: Numbers | None, new: Numbers | None) -> bool:
        if old is None or new is None:
            return old is new
        return np.array_equal(np.asarray(old, np.float64), np.asarray(new, np.float64), equal_nan=True)

    return len(before) == len(after) and all(
        looks(old) == looks(new)
        and all(are_equal(getattr(old, name), getattr(new, name)) for name in ("x", "y", "low", "high"))
        for old, new in zip(before, after, strict=True)
    )


@lru_cache(maxsize=512)
def style_of(codes: str) -> Style:
    """Convert SGR sequences to a style: one of 256 colours, and dim or not."""
    sequences = re.findall(r"\x1b\[([\d;]+)m", codes)
    colour = next((one.removeprefix("38;5;") for one in sequences if one.startswith("38;5;")), None)
    return Style(color=f"color({colour})" if colour is not None else None, dim="2" in sequences or None)


def segments(line: str) -> list[Segment]:
    """Split a line with ANSI sequences into segments of one style."""
    found = RUN_OF_ONE_LOOK.findall(line)
    return [Segment(text, style_of(codes) if codes else None) for codes, text in found if text]


def reversed_cells(strip: Strip, start: int, end: int) -> Strip:
    """Show the cells from start to end in reverse video."""
    parts = [strip.crop(0, start), strip.crop(start, end), strip.crop(end, strip.cell_length)]
    return Strip.join([parts[0], parts[1].apply_style(Style(reverse=True)), parts[2]])


def overlaid(strip: Strip, segments: Sequence[Segment], canvas: Canvas, column: int) -> Strip:
    """Lay a line of a box over the curves, at the edge of the canvas that is farther from a column."""
    over = Strip(segments)
    at_left = column - canvas.left >= canvas.columns / 2
    start = canvas.left if at_left else canvas.left + canvas.columns - over.cell_length
    end = start + over.cell_length
    return Strip.join([strip.crop(0, start), over, strip.crop(end, strip.cell_length)])


def changed_region(row: int, old: str, new: str, width: int) -> Region:
    """Return the region from the first to the last differing cell of a line; each is one character wide."""
    before, after = cells_of(old, width), cells_of(new, width)
    differing = [column for column in range(width) if before[column] != after[column]]
    if not differing:
        return Region(0, row, 1, 1)
    return Region(differing[0], row, differing[-1] - differing[0] + 1, 1)


def cells_of(line: str, width: int) -> list[tuple[str, str]]:
    """Return the character and style of every cell."""
    found = [(character, codes) for codes, text in RUN_OF_ONE_LOOK.findall(line) for character in text]
    return [*found, *[(" ", "")] * width][:width]


def plain(text: str, *, unicode: bool) -> str:
    """Return text for a border: without markup, and ASCII if the terminal shows nothing else."""
    text = text.replace("[", "(").replace("]", ")")
    return text if unicode else text.replace("·", "|").encode("ascii", "replace").decode()
