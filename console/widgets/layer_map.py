"""Heat map of layers and epochs, with a cursor that reads every value, even of those sharing a cell."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar

from textual import events
from textual.binding import Binding, BindingType
from textual.strip import Strip
from textual.widget import Widget

from console.charts.layer_grid import OF_ALL_RUNS, OF_THIS_RUN, LayerGrid, Quantity, layer_grid, reading
from console.text.formatting import cut
from console.widgets.strips import plain, reversed_cells, segments
from engine.runs.journal import Gradients

if TYPE_CHECKING:
    from console.layer_maps.heat_map import HeatMap


class LayerMap(Widget, can_focus=True):
    """Gradients, weights or updates of every layer (columns) in every epoch (rows)."""

    HELP = (
        "How large the gradient of each layer was in the last step of each epoch, and at initialisation: the stem left,"
        " the head right. A higher bar is a larger number, on a logarithmic scale, which is the same for all runs of an"
        " experiment; o shows this run on a scale of its own. Click, or use the arrow keys, to read a number; its ratio"
        " is that of the update to the weight. m shows weights, or these ratios, instead. v shows the network of"
        " the same depth and seed with, or without, shortcuts beside it."
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
        self.partner: LayerMap | None = None
        """Map beside this one, which shows the same quantity, scale, epoch and layer."""
        self._run_name = ""
        self._rows: Sequence[Gradients] = ()
        self._empty = ""
        self._quantity = Quantity.GRADIENTS
        self._grid = LayerGrid([], [], [])
        self._map: HeatMap | None = None
        self._ranges: Mapping[str, tuple[float, float]] = {}
        self._has_own_scale = False
        self._drawn_from: tuple[object, ...] | None = None
        """Inputs of the current drawing; None before the first."""
        self._cursor: tuple[int, int] | None = None
        """Cursor: indices of epoch and layer in the grid; None before the first drawing."""
        self._was_moved = False
        """Whether the user placed the cursor; otherwise it stays on the stem in the newest epoch."""

    def show(
        self,
        rows: Sequence[Gradients],
        colours: Sequence[int] | None,
        *,
        empty: str,
        ranges: Mapping[str, tuple[float, float]],
        name: str = "",
    ) -> None:
        """Show rows, redrawing if anything changed.

        Args:
            rows: Layer measurements of one run.
            colours: Colour numbers (of 256) from smallest to largest value; None draws without colour.
            empty: Text to show if there are no rows.
            ranges: Smallest positive and largest value of each quantity over the runs sharing a scale, by field.
            name: Name of the run, where its map is not the only one.
        """
        self._rows, self._colours, self._empty, self._ranges = [*rows], colours, empty, ranges
        self._run_name = name
        self.redraw()

    def as_text(self, *, width: int, height: int) -> str:
        """Render the map without colours, for a file or the clipboard."""
        return "\n".join(self._drawn(width, height, None).lines)

    def redraw(self) -> None:
        """Draw at the current size if the result would differ."""
        width, height = self.content_size
        looks = (self._colours, self._empty, self._ranges, self._run_name, self._quantity, self._has_own_scale)
        inputs = (width, height, self._rows, *looks)
        # On a hidden tab, the map is drawn once it is shown.
        if width <= 0 or height <= 0 or inputs == self._drawn_from or not self.is_on_screen:
            return
        self._drawn_from = inputs
        self._grid = layer_grid(self._rows, self._quantity)
        if not self._was_moved:
            self._cursor = (len(self._grid.epochs) - 1, 0) if self._grid.epochs else None
        self._map = self._drawn(width, height, self._colours)
        self.border_title = plain(self._run_name or self._quantity.title, unicode=self._unicode)
        self.show_reading()
        self.refresh()

    def _drawn(self, width: int, height: int, colours: Sequence[int] | None) -> HeatMap:
        from console.layer_maps.heat_map import draw_heat_map

        return draw_heat_map(
            self._grid,
            width=width,
            height=height,
            title=f"{self._quantity.title} ({self._quantity.unit}) by layer and epoch",
            colours=colours,
            unicode=self._unicode,
            empty=self._empty,
            limits=None if self._has_own_scale else self._ranges.get(self._quantity.field),
            whose=OF_THIS_RUN if self._has_own_scale else OF_ALL_RUNS,
        )

    def show_reading(self) -> None:
        """Show the value at the cursor in the border."""
        if self._cursor is None or not self._grid.epochs:
            self.border_subtitle = ""
            return
        epoch, layer = self._cursor = self._within(*self._cursor)
        # Side by side, there is no room for all three numbers.
        only = None if self.partner is None else self._quantity
        words = reading(self._rows, self._grid.epochs[epoch], layer, only)
        words = cut(words, max(self.size.width - 4, 8), unicode=self._unicode)
        self.border_subtitle = plain(words, unicode=self._unicode)

    def _within(self, epoch: int, layer: int) -> tuple[int, int]:
        """Return the nearest position in the grid."""
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
            self.point(*found)

    def action_move(self, epochs: int, layers: int) -> None:
        """Move the cursor by epochs and layers."""
        if self._cursor is None:
            return
        self.point(self._cursor[0] + epochs, self._cursor[1] + layers)

    def point(self, epoch: int, layer: int) -> None:
        """Put the cursor on an epoch and a layer, by their index, here and in the map beside."""
        for one in self.both():
            if one._grid.epochs:
                one._cursor, one._was_moved = one._within(epoch, layer), True
                one.show_reading()
                one.refresh()

    def both(self) -> list[LayerMap]:
        """Return this map, and the one beside it if there is one."""
        return [self] if self.partner is None else [self, self.partner]

    def action_quantity(self) -> None:
        """Switch between gradients, weights and updates."""
        quantity = self._quantity.next()
        for one in self.both():
            one._quantity = quantity
            one.redraw()

    def action_scale(self) -> None:
        """Toggle between the experiment's colour scale and this run's own."""
        own = not self._has_own_scale
        for one in self.both():
            one._has_own_scale = own
            one.redraw()
