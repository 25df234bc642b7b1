"""Base class of screens with charts: their keys, and coalesced redraws."""

from __future__ import annotations

import asyncio
import time

from textual import on
from textual.binding import Binding

from console.charts.styles import Options
from console.screens.base import ConsoleScreen
from console.tui.feed import CurvesChanged
from console.tui.session import Session
from console.widgets.chart import Chart

CHART_BINDINGS = [
    Binding("y", "log_y", "log y", id="chart.log-y"),
    Binding("x", "x_axis", "axis", id="chart.x-axis"),
    Binding("e", "smooth", "smoothing", show=False, id="chart.smoothing"),
    Binding("b", "single_seeds", "single seeds", show=False, id="chart.single-seeds"),
    Binding("X", "growing", "planned or growing x axis", show=False, id="chart.growing"),
    Binding("z", "zoom(0.5)", "zoom in", show=False, id="chart.zoom-in"),
    Binding("Z", "zoom(2)", "zoom out", show=False, id="chart.zoom-out"),
    Binding("left_square_bracket", "crosshair(-1)", "crosshair left", show=False, id="chart.crosshair-left"),
    Binding("right_square_bracket", "crosshair(1)", "crosshair right", show=False, id="chart.crosshair-right"),
    Binding("left_curly_bracket", "crosshair(-10)", "crosshair far left", show=False, id="chart.crosshair-far-left"),
    Binding("right_curly_bracket", "crosshair(10)", "crosshair far right", show=False, id="chart.crosshair-far-right"),
    Binding("l", "last_half", "last half", show=False, id="chart.last-half"),
    Binding("plus,equals_sign", "zoom_values(0.5)", "zoom y in", key_display="+", show=False, id="chart.zoom-y-in"),
    Binding("minus", "zoom_values(2)", "zoom y out", key_display="-", show=False, id="chart.zoom-y-out"),
    Binding("0", "show_all", "show all of the curves", show=False, id="chart.show-all"),
    Binding("w", "save", "save", show=False, id="chart.save"),
]
"""Included by every chart screen at the position they take in its key bar."""


class ChartScreen(ConsoleScreen):
    """A screen with charts that share their axis, scale, smoothing, zoom and crosshair.

    Args:
        session: Shared by all screens.
        options: Initial drawing options.
        crosshair: Initial x position of the crosshair; None hides it.
    """

    def __init__(self, session: Session, options: Options, crosshair: float | None = None) -> None:
        super().__init__(session)
        self.options = options
        self.crosshair = crosshair
        self.hidden: frozenset[str] = frozenset()
        """Labels of curves that are switched off."""
        self._is_stale = False
        """Whether a redraw is scheduled."""
        self._is_reading = False
        """Whether metrics are being read slice by slice."""

    def watched_runs(self) -> list[str]:
        """Return the ids of the runs whose metrics this screen needs."""
        raise NotImplementedError

    def show_runs(self) -> None:
        """Update everything about the runs except the charts."""
        raise NotImplementedError

    def show_curves(self) -> None:
        """Draw the charts."""
        raise NotImplementedError

    def chart(self, id: str, *, named: bool = False) -> Chart:
        """Create a chart for this terminal; if `named`, with names above where they do not fit beside the curves."""
        return Chart(unicode=self.session.has_unicode, colour=self.session.has_colour, named=named, id=id)

    def update_runs(self) -> None:
        self.session.watch(self.watched_runs())
        self.show_runs()
        self.draw_soon()

    async def read_rest(self) -> None:
        """Read the rest of the metrics, with a turn for keys and frames after every slice; then show them."""
        feed = self.session.feed
        while self.is_shown and feed.has_unread:
            await asyncio.sleep(0)
            if not self.session.read_slice():
                # The next look tells when it can be read again.
                break
        self._is_reading = False
        if self.is_shown and not feed.has_unread:
            self.update_runs()

    @on(CurvesChanged)
    @on(Chart.SizeChanged)
    def draw_soon(self) -> None:
        """Schedule one redraw of the charts, after pending messages and layout changes."""
        if not self._is_stale:
            self._is_stale = True
            self.call_after_refresh(self._draw)

    def _draw(self) -> None:
        self._is_stale = False
        if not self.is_shown:
            return
        # Load runs that have appeared since, so that this draw includes them.
        self.session.watch(self.watched_runs())
        if self.session.feed.has_unread:
            if not self._is_reading:
                self._is_reading = True
                self.run_worker(self.read_rest())
            return
        for chart in self.query(Chart):
            chart.hidden = self.hidden
        self.show_curves()

    @property
    def is_shown(self) -> bool:
        """Whether this screen is visible; a covered one draws when it becomes active again."""
        # Textual always counts the one beneath as current.
        return self.app.screen is self or (self.is_current and self.app.screen.is_modal)

    def draw_with(self, options: Options, crosshair: float | None) -> None:
        """Change the options and the crosshair, and redraw."""
        self.options, self.crosshair = options, crosshair
        self.draw_soon()

    def chosen_chart(self) -> Chart:
        """Return the focused chart, or the topmost visible one."""
        if isinstance(self.focused, Chart) and self.focused.is_on_screen:
            return self.focused
        charts = list(self.query(Chart))
        return next((chart for chart in charts if chart.is_on_screen), charts[0])

    @on(Chart.Pointed)
    def point(self, message: Chart.Pointed) -> None:
        self.draw_with(self.options, message.x)

    @on(Chart.Toggled)
    def toggle_curve(self, message: Chart.Toggled) -> None:
        self.hidden ^= {message.label}
        self.draw_soon()

    def action_last_half(self) -> None:
        """Show the last half of the curves, with the y axis fitted to it."""
        self.show_whole_y()
        self.draw_with(self.options.with_window(self.chosen_chart().last_half()), self.crosshair)

    def action_zoom_values(self, factor: float) -> None:
        """Zoom the y axis of the focused or topmost chart."""
        self.chosen_chart().zoom_values(factor)
        self.draw_soon()

    def action_show_all(self) -> None:
        """Undo all zooming and switch all curves on; the crosshair stays."""
        self.show_whole_y()
        self.hidden = frozenset()
        self.draw_with(self.options.with_window(None), self.crosshair)

    def show_whole_y(self) -> None:
        """Undo the zoom of all y axes."""
        for chart in self.query(Chart):
            chart.y_range = None

    def action_crosshair(self, columns: int) -> None:
        """Move the crosshair of all charts."""
        self.chosen_chart().action_move_crosshair(columns)

    def action_log_y(self) -> None:
        """Toggle a logarithmic y axis."""
        self.draw_with(self.options.with_other_scale(), self.crosshair)

    def action_x_axis(self) -> None:
        """Switch the x axis between epochs, steps and time."""
        self.draw_with(self.options.with_next_axis(), None)

    def action_smooth(self) -> None:
        """Cycle through smoothing strengths; raw curves stay visible in the background."""
        self.draw_with(self.options.with_next_smoothing(), self.crosshair)

    def action_single_seeds(self) -> None:
        """Toggle between means over seeds and single seeds."""
        self.draw_with(self.options.with_other_seeds(), self.crosshair)

    def action_growing(self) -> None:
        """Toggle between an x axis as long as planned and one that grows with the data."""
        self.draw_with(self.options.with_other_end(), self.crosshair)

    def action_zoom(self, factor: float) -> None:
        """Zoom around the crosshair, or towards the right end without one."""
        window = self.chosen_chart().zoomed(factor)
        self.draw_with(self.options.with_window(window), self.crosshair)

    def action_save(self) -> None:
        """Save the focused or topmost chart as SVG and text, and show the paths."""
        from console.charts.svg import chart_as_svg

        chart, session = self.chosen_chart(), self.session
        if chart.is_empty:
            self.notify("nothing to save: the chart has no curves yet", severity="warning")
            return
        width, height = max(chart.size.width, 60), max(chart.size.height, 16)
        stem = time.strftime("chart-%Y%m%d-%H%M%S")
        as_text = session.save_text(f"{stem}.txt", "\n".join(chart.as_lines(width=width, height=height, colour=False)))
        lines = chart.as_lines(width=width, height=height, colour=True)
        as_svg = session.save_text(f"{stem}.svg", chart_as_svg(lines, width=width, theme=self.app.current_theme))
        if as_text is not None and as_svg is not None:
            self.notify(f"written: {as_svg} and {as_text.name}", markup=False, timeout=8)

    def save_shown_text(self, name: str, text: str) -> None:
        """Save text shown in place of a chart, and show its path."""
        if (path := self.session.save_text(name, text)) is not None:
            self.notify(f"written: {path}", markup=False)
