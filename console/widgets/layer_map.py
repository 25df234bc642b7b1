"""A map of layers and epochs with a cursor that reads every number, also of those that share a cell."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar

from textual import events
from textual.binding import Binding, BindingType
from textual.strip import Strip
from textual.widget import Widget

from console.charts.layer_grid import OF_ALL_RUNS, OF_THIS_RUN, LayerGrid, Quantity, layer_grid, reading
from console.text.formatting import cut
from console.widgets.chart import plain, reversed_cells, segments
from engine.runs.journal import Gradients

if TYPE_CHECKING:
    from console.charts.heat_map import HeatMap


class LayerMap(Widget, can_focus=True):
    """Gradients, weights or updates of every layer (across) in every epoch (down)."""

    HELP = (
        "How large the gradient of each layer was in the last step of each epoch, and at initialisation: the stem left,"
        " the head right. A higher bar is a larger number, on a logarithmic scale, which is the same for all runs of an"
        " experiment; o shows this run on a scale of its own. Click, or use the arrow keys, to read a number; its ratio"
        " is that of the update to the weight. m shows weights, or these ratios, instead."
    )

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("left", "move(0, -1)", "layer before", show=False, id="layers.left"),
        Binding("right", "move(0, 1)", "layer behind", show=False, id="layers.right"),
        Binding("up", "move(-1, 0)", "epoch before", show=False, id="layers.up"),
        Binding("down", "move(1, 0)", "epoch behind", show=False, id="layers.down"),
        Binding("home", "move(0, -10000)", "stem", show=False, id="layers.stem"),
        Binding("end", "move(0, 10000)", "head", show=False, id="layers.head"),
        Binding("pageup", "move(-10000, 0)", "initialisation", show=False, id="layers.first"),
        Binding("pagedown", "move(10000, 0)", "last epoch", show=False, id="layers.last"),
        Binding("m", "quantity", "gradients, weights, updates", id="layers.quantity"),
        Binding("o", "scale", "scale", id="layers.scale"),
    ]

    def __init__(self, *, unicode: bool, id: str | None = None) -> None:
        super().__init__(id=id)
        self._unicode = unicode
        self._colours: Sequence[int] | None = None
        self._rows: Sequence[Gradients] = ()
        self._empty = ""
        self._quantity = Quantity.GRADIENTS
        self._grid = LayerGrid([], [], [])
        self._map: HeatMap | None = None
        self._ranges: Mapping[str, tuple[float, float]] = {}
        self._has_own_scale = False
        self._drawn_from: tuple[object, ...] | None = None
        """Everything that the map on screen depends on; None before the first drawing."""
        self._cursor: tuple[int, int] | None = None
        """Epoch and layer, by indices of the grid; None before anything is drawn."""
        self._was_moved = False
        """Whether a key or a click has put the cursor where it is; else it is at the stem in the newest epoch."""

    def show(
        self,
        rows: Sequence[Gradients],
        colours: Sequence[int] | None,
        *,
        empty: str,
        ranges: Mapping[str, tuple[float, float]],
    ) -> None:
        """Draw other rows, or the same ones and more.

        Args:
            rows: What was recorded of one run.
            colours: Of the 256, from the smallest to the largest; None draws without.
            empty: What is said where there are no rows.
            ranges: The least and the greatest of every quantity above 0 in the runs that share a scale, by its field.
        """
        self._rows, self._colours, self._empty, self._ranges = [*rows], colours, empty, ranges
        self.redraw()

    def as_text(self, *, width: int, height: int) -> str:
        """The map without colours, for a file or the clipboard."""
        return "\n".join(self._drawn(width, height, None).lines)

    def redraw(self) -> None:
        """Draw at the present size, if anything else is to be seen."""
        width, height = self.content_size
        looks = (self._colours, self._empty, self._ranges, self._quantity, self._has_own_scale)
        inputs = (width, height, self._rows, *looks)
        # A map on a hidden tab is drawn when it is shown.
        if width <= 0 or height <= 0 or inputs == self._drawn_from or not self.is_on_screen:
            return
        self._drawn_from = inputs
        self._grid = layer_grid(self._rows, self._quantity)
        if not self._was_moved:
            self._cursor = (len(self._grid.epochs) - 1, 0) if self._grid.epochs else None
        self._map = self._drawn(width, height, self._colours)
        self.border_title = self._quantity.title
        self.show_reading()
        self.refresh()

    def _drawn(self, width: int, height: int, colours: Sequence[int] | None) -> HeatMap:
        from console.charts.heat_map import draw_heat_map

        return draw_heat_map(
            self._grid,
            width=width,
            height=height,
            title=f"{self._quantity.title} by layer and epoch",
            colours=colours,
            unicode=self._unicode,
            empty=self._empty,
            limits=None if self._has_own_scale else self._ranges.get(self._quantity.field),
            whose=OF_THIS_RUN if self._has_own_scale else OF_ALL_RUNS,
        )

    def show_reading(self) -> None:
        """Put into the border what the cursor reads."""
        if self._cursor is None or not self._grid.epochs:
            self.border_subtitle = ""
            return
        epoch, layer = self._cursor = self._within(*self._cursor)
        words = cut(
            reading(self._rows, self._grid.epochs[epoch], layer), max(self.size.width - 4, 8), unicode=self._unicode
        )
        self.border_subtitle = plain(words, unicode=self._unicode)

    def _within(self, epoch: int, layer: int) -> tuple[int, int]:
        """The nearest place in the grid."""
        return min(max(epoch, 0), len(self._grid.epochs) - 1), min(max(layer, 0), len(self._grid.layers) - 1)

    def render_line(self, y: int) -> Strip:
        width, base = self.content_size.width, self.rich_style
        if self._map is None or y >= len(self._map.lines):
            return Strip.blank(width, base)
        strip = Strip(segments(self._map.lines[y])).adjust_cell_length(width)
        place = None if self._cursor is None else self._map.cells_of(*self._cursor)
        if place is not None and place[0] == y:
            _, first, num = place
            strip = reversed_cells(strip, first, first + num)
        return strip.apply_style(base)

    def on_resize(self) -> None:
        self.redraw()

    def on_show(self) -> None:
        self.redraw()

    def on_click(self, event: events.Click) -> None:
        at = event.get_content_offset(self)
        if at is not None and self._map is not None and (found := self._map.at(at.x, at.y)) is not None:
            self._cursor, self._was_moved = found, True
            self.show_reading()
            self.refresh()

    def action_move(self, epochs: int, layers: int) -> None:
        """Read another layer or epoch."""
        if self._cursor is None:
            return
        self._cursor, self._was_moved = self._within(self._cursor[0] + epochs, self._cursor[1] + layers), True
        self.show_reading()
        self.refresh()

    def action_quantity(self) -> None:
        """Show the next of gradients, weights and updates."""
        self._quantity = self._quantity.next()
        self.redraw()

    def action_scale(self) -> None:
        """Scale the map by all runs of the experiment, or by this one alone."""
        self._has_own_scale = not self._has_own_scale
        self.redraw()
