"""Chart widget that repaints only what has changed."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, ClassVar

from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.binding import Binding, BindingType
from textual.geometry import Region
from textual.message import Message
from textual.strip import Strip
from textual.widget import Widget

from console.charts.styles import Options
from console.text.formatting import cut

if TYPE_CHECKING:
    from console.charts.curves import Numbers
    from console.charts.plot import Canvas, Reference, Series

RUN_OF_ONE_LOOK = re.compile(r"((?:\x1b\[[\d;]+m)*)([^\x1b]*)(?:\x1b\[0m)?")


class Chart(Widget, can_focus=True):
    """Curves on axes, with a crosshair that reads the value of every curve."""

    HELP = (
        "Curves of the runs beside it: marked ones, or else the selected run's experiment."
        " Click, or use the arrow keys, to put a crosshair there; it reads every curve at that place."
        " Zoom shows half of the range around it."
    )

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("left", "move_crosshair(-1)", "crosshair left", show=False, id="chart.left"),
        Binding("right", "move_crosshair(1)", "crosshair right", show=False, id="chart.right"),
        Binding("shift+left", "move_crosshair(-10)", "crosshair far left", show=False, id="chart.far-left"),
        Binding("shift+right", "move_crosshair(10)", "crosshair far right", show=False, id="chart.far-right"),
    ]

    class Pointed(Message):
        """The user moved the crosshair to an x; None removes it."""

        def __init__(self, x: float | None) -> None:
            super().__init__()
            self.x = x

    class SizeChanged(Message):
        """The chart was resized or came into view; call `show` again."""

    def __init__(
        self, *, unicode: bool, colour: bool, named: bool = True, id: str | None = None, classes: str | None = None
    ) -> None:
        super().__init__(id=id, classes=classes)
        self._unicode = unicode
        self._named = named
        self._x_range: tuple[float, float] | None = None
        self._x_label: str | None = None
        self._references: Sequence[Reference] = ()
        self._colour = colour
        self._series: Sequence[Series] = ()
        self._options = Options()
        self._title = ""
        self._drawn: tuple[Sequence[Series], tuple[object, ...]] | None = None
        """Curves and other inputs of the current drawing; None before the first."""
        self._lines: list[str] = []
        self._canvas: Canvas | None = None
        self._crosshair: float | None = None
        self._column: int | None = None
        """Column of the crosshair as last drawn."""
        self._labels = ("", "")
        self._base_style = Style.null()

    @property
    def is_empty(self) -> bool:
        """Whether no curve has a point yet."""
        return not any(len(one.x) for one in self._series)

    def show(
        self,
        series: Sequence[Series],
        options: Options,
        *,
        title: str,
        crosshair: float | None = None,
        x_range: tuple[float, float] | None = None,
        x_label: str | None = None,
        references: Sequence[Reference] = (),
    ) -> None:
        """Draw at the current size if the result would differ, and repaint changed cells.

        Args:
            series: All curves, with all their points.
            options: Drawing options.
            title: Title of the chart.
            crosshair: x position of the crosshair; None hides it.
            x_range: Range of the x axis unless zoomed, for charts that share one; None fits the data.
            x_label: Label of the x axis; None uses that of the options.
            references: Faint lines to compare with.
        """
        self._x_range, self._x_label, self._references = x_range, x_label, tuple(references)
        self._series, self._options, self._title, self._crosshair = series, options, title, crosshair
        width, height = self.content_size
        # On a hidden tab, the chart is drawn once it comes into view.
        if width <= 0 or height <= 0 or not self.is_on_screen:
            return
        column_before = self._column
        if not self._is_up_to_date(width, height):
            self._draw(width, height)
        self._column = self.crosshair_column()
        self.label_border()
        if self._column != column_before:
            self.refresh()

    def as_lines(self, *, width: int, height: int, colour: bool) -> list[str]:
        """Render the chart with title and legend, for a file or the clipboard."""
        from console.charts.overlay import draw_overlay

        return draw_overlay(
            [*self._series],
            self._options,
            width=width,
            height=height,
            title=f"{self._title}  {self._options.summary(self._x_label)}",
            colour=colour,
            unicode=self._unicode,
            x_range=self._x_range,
            x_label=self._x_label,
            references=self._references,
        ).lines

    def _inputs(self, width: int, height: int) -> tuple[object, ...]:
        """Return everything a drawing depends on, except the curves."""
        return width, height, self._options, self._x_range, self._x_label, self._references

    def _is_up_to_date(self, width: int, height: int) -> bool:
        """Return whether drawing again would give the same lines."""
        if self._drawn is None:
            return False
        series, inputs = self._drawn
        return inputs == self._inputs(width, height) and is_same(series, self._series)

    def _draw(self, width: int, height: int) -> None:
        # Importing numpy and plotext takes 0.1 s; the first frame does not wait for it.
        from console.charts.overlay import draw_overlay

        drawing = draw_overlay(
            self._series,
            self._options,
            width=width,
            height=height,
            colour=self._colour,
            unicode=self._unicode,
            steady=True,
            x_range=self._x_range,
            names_above=self._named,
            x_label=self._x_label,
            references=self._references,
        )
        before, self._lines = self._lines, drawing.lines
        self._canvas = drawing.canvas
        self._drawn = self._series, self._inputs(width, height)
        if len(before) != len(self._lines):
            self.refresh()
            return
        changed = [index for index, (old, new) in enumerate(zip(before, self._lines, strict=True)) if old != new]
        if changed:
            self.refresh(*(changed_region(index, before[index], self._lines[index], width) for index in changed))

    def label_border(self) -> None:
        """Set title and crosshair values in the border, only if changed: setting them repaints everything."""
        labels = self.title_text(), self.reading_text()
        if labels != self._labels:
            self._labels = labels
            self.border_title, self.border_subtitle = (plain(label, unicode=self._unicode) for label in labels)

    def title_text(self) -> str:
        return self.within_border(f"{self._title} · {self._options.summary(self._x_label)}")

    def within_border(self, text: str) -> str:
        return cut(text, max(self.size.width - 4, 8), unicode=self._unicode)

    def reading_text(self) -> str:
        """Format the value of every curve at the crosshair; empty without one."""
        if self._crosshair is None:
            return ""
        from console.charts.overlay import readings

        found = readings(self._series, self._crosshair)
        unit = self._x_label or self._options.axis.label
        at = f"{unit} {found[0][1]:.4g}: " if found else f"{unit} {self._crosshair:.4g}"
        at += "smoothed " if found and self._options.smoothing else ""
        return self.within_border(at + "  ".join(f"{one.marker} {y:.4g}" for one, _, y in found))

    def zoomed(self, factor: float) -> tuple[float, float] | None:
        """Return the x range after zooming by a factor; None shows all.

        Args:
            factor: Size relative to the current range, which is centred on the crosshair or ends with the curves.
        """
        if self._canvas is None:
            return self._options.window
        low, high = self._canvas.x_limits
        least = min((float(one.x[0]) for one in self._series if len(one.x)), default=low)
        most = max((float(one.x[-1]) for one in self._series if len(one.x)), default=high)
        width = (min(high, most) - low) * factor
        middle = min(high, most) - width / 2 if self._crosshair is None else self._crosshair
        left, right = max(middle - width / 2, least), min(middle + width / 2, most)
        return None if right - left >= most - least or right <= left else (left, right)

    def crosshair_column(self) -> int | None:
        """Return the crosshair's column, counted from the chart's left edge."""
        if self._canvas is None or self._crosshair is None:
            return None
        return self._canvas.left + self._canvas.column_of(self._crosshair)

    def render_lines(self, crop: Region) -> list[Strip]:
        # Cached because Textual recomputes it at each access, once per line.
        self._base_style = self.rich_style
        return super().render_lines(crop)

    def render_line(self, y: int) -> Strip:
        width = self.content_size.width
        if y >= len(self._lines):
            return Strip.blank(width, self._base_style)
        strip = Strip(segments(self._lines[y])).adjust_cell_length(width)
        column, canvas = self.crosshair_column(), self._canvas
        if column is not None and canvas is not None and canvas.top <= y < canvas.top + canvas.rows:
            strip = reversed_cells(strip, column, column + 1)
        return strip.apply_style(self._base_style)

    def on_resize(self) -> None:
        self.post_message(self.SizeChanged())

    def on_show(self) -> None:
        self.post_message(self.SizeChanged())

    def on_click(self, event: events.Click) -> None:
        if self._canvas is not None:
            at = event.get_content_offset(self)
            if at is not None:
                self.post_message(self.Pointed(self._canvas.x_at(at.x - self._canvas.left)))

    def action_move_crosshair(self, columns: int) -> None:
        """Move the crosshair by columns; the first move puts it at the last drawn point."""
        if self._canvas is None:
            return
        if self._crosshair is None:
            self.post_message(self.Pointed(self.last_x(self._canvas)))
        else:
            self.post_message(self.Pointed(self._canvas.x_at(self._canvas.column_of(self._crosshair) + columns)))

    def last_x(self, canvas: Canvas) -> float:
        """Return the largest x of a curve's point within the axis; the right edge if there is none."""
        low, high = canvas.x_limits
        drawn = (float(x) for one in self._series for x, y in zip(one.x, one.y, strict=True) if math.isfinite(y))
        return max((x for x in drawn if low <= x <= high), default=high)


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
