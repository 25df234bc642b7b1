"""Chart widget that repaints only what has changed."""

from __future__ import annotations

import math
from collections.abc import Sequence
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
from console.widgets.reading import box, lines_of
from console.widgets.strips import changed_region, is_same, overlaid, plain, reversed_cells, segments

if TYPE_CHECKING:
    from console.charts.legend import Name
    from console.charts.plot import Canvas, Reference, Series


class Chart(Widget, can_focus=True):
    """Curves on axes, with a crosshair that reads the value of every curve."""

    HELP = (
        "Curves of the runs beside it: marked ones, or else the selected run's experiment."
        " Click, or use the arrow keys, to put a crosshair on a point; a box on the other side names the value of every"
        " curve there, the best first. Zoom shows half of the range around it. Click a name beside the curves, or"
        " choose it with up and down and press space, to switch its curve off or on."
    )

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("left", "move_crosshair(-1)", "crosshair left", show=False, id="chart.left"),
        Binding("right", "move_crosshair(1)", "crosshair right", show=False, id="chart.right"),
        Binding("shift+left", "move_crosshair(-10)", "crosshair far left", show=False, id="chart.far-left"),
        Binding("shift+right", "move_crosshair(10)", "crosshair far right", show=False, id="chart.far-right"),
        Binding("home", "move_crosshair(-1000000)", "crosshair to the first point", show=False, id="chart.first"),
        Binding("end", "move_crosshair(1000000)", "crosshair to the last point", show=False, id="chart.last"),
        Binding("up", "choose_curve(-1)", "curve before", show=False, id="chart.curve-before"),
        Binding("down", "choose_curve(1)", "next curve", show=False, id="chart.curve"),
        Binding("space", "toggle_curve", "curve on/off", show=False, id="chart.toggle-curve"),
    ]

    class Pointed(Message):
        """The user moved the crosshair to an x; None removes it."""

        def __init__(self, x: float | None) -> None:
            super().__init__()
            self.x = x

    class Toggled(Message):
        """The user switched a curve off or on."""

        def __init__(self, label: str) -> None:
            super().__init__()
            self.label = label

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
        self._box: list[list[Segment]] = []
        """Values at the crosshair, drawn over the curves on its other side."""
        self._names: Sequence[Name] = ()
        self._chosen = -1
        """Curve chosen by key, as an index into those with a name; -1 for none."""
        self.hidden: frozenset[str] = frozenset()
        """Labels of curves that are switched off."""
        self.y_range: tuple[float, float] | None = None
        """Visible values; None fits the data."""
        self._highest_first = False
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
        highest_first: bool = False,
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
            highest_first: Whether higher values are better, and are listed first.
        """
        if title != self._title:
            self.y_range = None
        self._highest_first = highest_first
        self._x_range, self._x_label, self._references = x_range, x_label, tuple(references)
        self._series, self._options, self._title, self._crosshair = series, options, title, None
        width, height = self.content_size
        # On a hidden tab, the chart is drawn once it comes into view.
        if width <= 0 or height <= 0 or not self.is_on_screen:
            return
        before = self._column, self._box
        if not self._is_up_to_date(width, height):
            self._draw(width, height)
        self._crosshair = self.snapped(crosshair)
        self._column, self._box = self.crosshair_column(), self.reading_box()
        self.label_border()
        if (self._column, self._box) != before:
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
            hidden=self.hidden,
            y_range=self.y_range,
        ).lines

    def _inputs(self, width: int, height: int) -> tuple[object, ...]:
        """Return everything a drawing depends on, except the curves."""
        where = self._options, self._x_range, self._x_label, self.y_range
        return width, height, *where, self._references, self.hidden

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
            hidden=self.hidden,
            y_range=self.y_range,
        )
        before, self._lines = self._lines, drawing.lines
        self._canvas, self._names = drawing.canvas, drawing.names
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
        y_range = "" if self.y_range is None else f" · y {self.y_range[0]:.4g} to {self.y_range[1]:.4g}"
        return self.within_border(f"{self._title} · {self._options.summary(self._x_label)}{y_range}")

    def within_border(self, text: str) -> str:
        return cut(text, max(self.size.width - 4, 8), unicode=self._unicode)

    @property
    def _unit(self) -> str:
        return self._x_label or self._options.axis.label

    def shown_series(self) -> list[Series]:
        """Return the curves that are not switched off."""
        return [one for one in self._series if not one.is_hidden(self.hidden)]

    def positions(self, within: tuple[float, float] | None = None) -> Sequence[float]:
        """Return the x where the crosshair can stand: points of the curves within a range, else the visible one."""
        from console.charts.crosshair import positions

        limits = within or (self._canvas.x_limits if self._canvas is not None else None)
        if limits is None:
            return ()
        return positions(self.shown_series(), limits, whole=self._unit == "epoch").tolist()  # type: ignore[no-any-return]

    def snapped(self, x: float | None) -> float | None:
        """Return the point nearest to an x; None without any."""
        if x is None or not (places := self.positions()):
            return None
        return min(places, key=lambda place: abs(place - x))

    def found(self) -> list[tuple[Series, float, float]]:
        """Read the curves at the crosshair."""
        from console.charts.overlay import readings

        if self._crosshair is None:
            return []
        return readings(self.shown_series(), self._crosshair, exact=self._unit in ("epoch", "depth"))

    def place_text(self) -> str:
        """Say where the crosshair is; values that are nearest, not exact, say so."""
        x, unit = self._crosshair, self._unit
        if x is None:
            return ""
        if unit == "epoch" and x != round(x):
            text = f"epoch {int(x) + 1}, {x % 1:.0%} done"
        else:
            text = f"{unit} {x:.0f}" if x == round(x) or x > 100 else f"{unit} {x:.3g}"
        if any(at != x for _, at, _ in self.found()):
            text = f"near {text}"
        return f"{text}, smoothed" if self._options.smoothing else text

    def reading_box(self) -> list[list[Segment]]:
        """Lay out the values of all curves at the crosshair, in at most half of the canvas."""
        from console.charts.legend import ascii_marker

        canvas, found = self._canvas, self.found()
        if canvas is None or self._crosshair is None:
            return []
        markers = {
            id(one): one.marker if self._unicode else ascii_marker(one.marker, index)
            for index, one in enumerate(self._series)
        }
        lines = lines_of(found, markers, highest_first=self._highest_first)
        column = canvas.column_of(self._crosshair)
        room = max(column, canvas.columns - column - 1) - 1
        return box(self.place_text(), lines, room, canvas.rows, unicode=self._unicode, colour=self._colour)

    def reading_text(self) -> str:
        """Return the curve chosen by key, or else where the crosshair is if the box has no room."""
        labels = self.curve_labels()
        if 0 <= self._chosen < len(labels):
            label = labels[self._chosen]
            return self.within_border(f"space {'shows' if label in self.hidden else 'hides'} {label}")
        return self.within_border(self.place_text()) if self._crosshair is not None and not self._box else ""

    def curve_labels(self) -> list[str]:
        """Return the labels of the curves that can be switched off."""
        return list(dict.fromkeys(one.label for one in self._series if one.label and not one.faint))

    def data_range(self) -> tuple[float, float] | None:
        """Return the least and greatest x of the curves; None without points."""
        places = self.positions((-math.inf, math.inf))
        return (places[0], places[-1]) if places else None

    def zoomed(self, factor: float) -> tuple[float, float] | None:
        """Return the x range after zooming by a factor, in round numbers; None shows all.

        Args:
            factor: Size relative to the current range, which is centred on the crosshair or ends with the curves.
        """
        from console.charts.crosshair import window_around

        data = self.data_range()
        if self._canvas is None or data is None:
            return self._options.window
        low, high = max(self._canvas.x_limits[0], data[0]), min(self._canvas.x_limits[1], data[1])
        width = (high - low) * factor
        return window_around(high - width / 2 if self._crosshair is None else self._crosshair, width, data)

    def last_half(self) -> tuple[float, float] | None:
        """Return the range of the last half of the points' x, in round numbers."""
        from console.charts.crosshair import window_around

        if (data := self.data_range()) is None:
            return None
        width = (data[1] - data[0]) / 2
        return window_around(data[1] - width / 2, width, data)

    def zoom_values(self, factor: float) -> None:
        """Zoom the y axis around the values at the crosshair, or from the lowest value up; the next `show` draws it."""
        from console.charts.crosshair import values_around, visible_values

        if self._canvas is None or (data := visible_values(self.shown_series(), self._canvas.x_limits)) is None:
            return
        values = [y for _, _, y in self.found()]
        middle = sum(values) / len(values) if values else None
        wanted = values_around(middle, self.y_range or data, factor)
        self.y_range = None if wanted[1] - wanted[0] > data[1] - data[0] else wanted

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
            row = y - canvas.top
            if row < len(self._box):
                strip = overlaid(strip, self._box[row], canvas, column)
        return strip.apply_style(self._base_style)

    def on_resize(self) -> None:
        self.post_message(self.SizeChanged())

    def on_show(self) -> None:
        self.post_message(self.SizeChanged())

    def on_click(self, event: events.Click) -> None:
        at = event.get_content_offset(self)
        if self._canvas is None or at is None:
            return
        for name in self._names:
            if name.line == at.y and name.left <= at.x < name.right:
                self.post_message(self.Toggled(name.label))
                return
        x = self.snapped(self._canvas.x_at(at.x - self._canvas.left))
        if x is not None:
            self.post_message(self.Pointed(x))

    def action_move_crosshair(self, points: int) -> None:
        """Move the crosshair by points; the first move puts it at the last one, or at the first to go there."""
        places = self.positions()
        if not places:
            return
        if self._crosshair is None:
            place = 0 if points < -len(places) else len(places) - 1
        else:
            place = places.index(self._crosshair) + points
        self.post_message(self.Pointed(places[min(max(place, 0), len(places) - 1)]))

    def action_choose_curve(self, step: int) -> None:
        """Choose the next curve, to switch it off or on; after the last, none."""
        self._chosen = (self._chosen + 1 + step) % (len(self.curve_labels()) + 1) - 1
        self.label_border()

    def action_toggle_curve(self) -> None:
        """Switch the chosen curve off or on; without a choice, choose the first."""
        labels = self.curve_labels()
        if 0 <= self._chosen < len(labels):
            self.post_message(self.Toggled(labels[self._chosen]))
        else:
            self.action_choose_curve(1)
