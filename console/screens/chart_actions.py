"""What can be done to the charts of any screen: the same keys everywhere."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, cast

from textual.binding import Binding

from console.charts.styles import Options
from console.widgets.chart import Chart

if TYPE_CHECKING:
    from textual.screen import Screen

    from console.app import ConsoleApp
    from console.screens.base import ConsoleScreen


class ChartActions:
    """Keys for scale, axis, smoothing, zoom, crosshair and saving; a screen may keep the options elsewhere."""

    CHART_BINDINGS: ClassVar[list[Binding]] = [
        Binding("y", "log_y", "log y", id="chart.log-y"),
        Binding("x", "x_axis", "axis", id="chart.x-axis"),
        Binding("e", "smooth", "smoothing", show=False, id="chart.smoothing"),
        Binding("z", "zoom(0.5)", "zoom in", show=False, id="chart.zoom-in"),
        Binding("Z", "zoom(2)", "zoom out", show=False, id="chart.zoom-out"),
        Binding("left_square_bracket", "crosshair(-1)", "crosshair left", show=False, id="chart.crosshair-left"),
        Binding("right_square_bracket", "crosshair(1)", "crosshair right", show=False, id="chart.crosshair-right"),
        Binding("w", "save", "save", show=False, id="chart.save"),
    ]

    _options = Options()
    _crosshair: float | None = None

    def chart_options(self) -> Options:
        """How the charts are drawn now."""
        return self._options

    def crosshair(self) -> float | None:
        """Where on the x axis the crosshair is; None where there is none."""
        return self._crosshair

    def set_chart_options(self, options: Options, crosshair: float | None) -> None:
        """Draw the charts so, with the crosshair there."""
        self._options, self._crosshair = options, crosshair
        cast("ConsoleScreen", self).draw_soon()

    @property
    def _screen(self) -> Screen[object]:
        return cast("Screen[object]", self)

    def chosen_chart(self) -> Chart:
        """The chart with the focus, or the uppermost."""
        focused = self._screen.focused
        return focused if isinstance(focused, Chart) else self._screen.query(Chart).first()

    def on_chart_pointed(self, message: Chart.Pointed) -> None:
        # By its name: Textual finds decorated handlers in its own classes alone.
        self.set_chart_options(self.chart_options(), message.x)

    def action_crosshair(self, columns: int) -> None:
        """Move the crosshair of all charts."""
        self.chosen_chart().action_move_crosshair(columns)

    def action_log_y(self) -> None:
        """A logarithmic vertical axis, or a linear one."""
        self.set_chart_options(self.chart_options().with_other_scale(), self.crosshair())

    def action_x_axis(self) -> None:
        """Epochs, steps or time to the right."""
        self.set_chart_options(self.chart_options().with_next_axis(), None)

    def action_smooth(self) -> None:
        """Smooth the curves more, or not at all; the raw ones stay behind them."""
        self.set_chart_options(self.chart_options().with_next_smoothing(), self.crosshair())

    def action_zoom(self, factor: float) -> None:
        """Show a part of the range around the crosshair, or before its right end."""
        window = self.chosen_chart().zoomed(factor)
        self.set_chart_options(self.chart_options().with_window(window), self.crosshair())

    def action_save(self) -> None:
        """Write the chart with the focus, or the upper one, as SVG and as text."""
        cast("ConsoleApp", self._screen.app).save_chart(self.chosen_chart())
