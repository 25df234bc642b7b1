"""Table of runs, one row each; renders them without knowing their source.

Textual's DataTable measures every cell of every added row, which takes a second for a thousand runs, at the start and
at every change of the filter. This table renders only visible lines and repaints those whose run has changed.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import ClassVar

from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.binding import Binding, BindingType
from textual.geometry import Region, Size
from textual.message import Message
from textual.scroll_view import ScrollView
from textual.strip import Strip

from console.charts.legend import ascii_marker
from console.charts.styles import Look, look_of
from console.text.columns import Column, Scene, fitting
from console.text.formatting import aligned, clean, cut
from engine.runs.run import Run

HEADER_LINES = 1
PREFIX_CELLS = 4
"""Mark, curve marker, and the spaces after them."""

Group = tuple[str, str]
"""Name and summary of an experiment, in a heading above its runs."""
Line = str | Group
"""Id of a run, or the heading of a group."""


class RunTable(ScrollView, can_focus=True):
    """Runs with a cursor on one, and marks on those to draw together."""

    HELP = (
        "All runs, oldest first. The marker shows the architecture, and with its colour the curve on the right."
        " Space marks runs to draw and compare; without marks, the whole experiment is drawn."
        " queued 2 is the second in the queue. Click a column's title to sort by it."
    )

    COMPONENT_CLASSES: ClassVar[set[str]] = {
        "run-table--header",
        "run-table--cursor",
        "run-table--group",
        "run-table--marked",
    }

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up,k", "move(-1)", "up", show=False, id="runs.up"),
        Binding("down,j", "move(1)", "down", show=False, id="runs.down"),
        Binding("pageup", "page(-1)", "page up", show=False, id="runs.page-up"),
        Binding("pagedown", "page(1)", "page down", show=False, id="runs.page-down"),
        Binding("home", "move(-1000000)", "first", show=False, id="runs.first"),
        Binding("end", "move(1000000)", "last", show=False, id="runs.last"),
    ]

    class Moved(Message):
        """The cursor moved to another run."""

        def can_replace(self, message: Message) -> bool:
            return isinstance(message, RunTable.Moved)

    class Opened(Message):
        """A run was double-clicked."""

    class SortAsked(Message):
        """A column's title was clicked."""

        def __init__(self, key: str) -> None:
            super().__init__()
            self.key = key

    def __init__(self, *, unicode: bool, id: str | None = None) -> None:
        super().__init__(id=id)
        self._unicode = unicode
        self._lines: list[Line] = []
        self._runs: Mapping[str, Run] = {}
        self._looks: Mapping[str, Look] = {}
        self._marked: frozenset[str] = frozenset()
        self._queue: Mapping[str, int] = {}
        self._colours: Sequence[int | str] = ()
        self._row = 0
        self._is_new = True
        """Whether the cursor's first position was not scrolled to yet."""
        self._columns: list[tuple[Column, int]] = []
        self._columns_for = (-1, -1)
        self._longest_name = 0
        self._base_style = Style.null()
        self._sorted_by = ""
        self._title = ""
        self._shown: dict[str, tuple[object, ...]] = {}

    @property
    def cursor_run(self) -> str | None:
        """Id of the run under the cursor; None if there is none."""
        line = self._lines[self._row] if self._row < len(self._lines) else None
        return line if isinstance(line, str) else None

    @property
    def run_ids(self) -> list[str]:
        """Ids of the runs in the order shown."""
        return [line for line in self._lines if isinstance(line, str)]

    def show(
        self,
        lines: Sequence[Line],
        runs: Mapping[str, Run],
        *,
        looks: Mapping[str, Look],
        colours: Sequence[int | str],
        marked: frozenset[str],
        sorted_by: str,
        queue: Mapping[str, int],
        cursor: str | None,
    ) -> None:
        """Show lines, keeping the cursor on its run and repainting only changed lines.

        Args:
            lines: Run ids and group headings, from the top.
            runs: The runs by id.
            looks: Marker and colour of each drawn run, by id.
            colours: Colours of networks from shallow to deep, for the other runs.
            marked: Ids of the marked runs.
            sorted_by: Key of the sorted column, whose title gets a sign.
            queue: Places in the queue, by id.
            cursor: Id of the run under the cursor, if it is on none yet.
        """
        before, was_at = self._lines, self.cursor_run
        above = self._row - self.scroll_offset.y
        was_sorted_by, self._sorted_by = self._sorted_by, sorted_by
        self._lines, self._runs, self._looks, self._marked = list(lines), runs, looks, marked
        names = [run for line in lines if isinstance(line, str) and (run := runs.get(line)) is not None]
        longest = max((len(run.name) + 2 * run.starred for run in names), default=0)
        before_longest, self._longest_name = self._longest_name, longest
        self._queue, self._colours = queue, colours
        if before != self._lines:
            self._row = self.row_of(was_at or cursor)
            self.virtual_size = Size(self.size.width, len(self._lines) + HEADER_LINES)
            if was_at is not None and self.cursor_run == was_at and self._row - above != self.scroll_offset.y:
                # The cursor's line stays where it is on the screen, also if older runs were read meanwhile.
                self.scroll_to(y=self._row - above, animate=False)
        if before != self._lines or was_sorted_by != sorted_by or before_longest != longest:
            self._shown = {}
            self.refresh()
        else:
            self.repaint_changed()
        if self.cursor_run != was_at:
            self.scroll_to_cursor()
            self.post_message(self.Moved())

    def show_title(self, text: str) -> None:
        """Set the table's title, avoiding a repaint if it is unchanged."""
        if text != self._title:
            self._title = text
            self.border_title = text

    def row_of(self, run: str | None) -> int:
        """Return the row of a run, or else the row with a run nearest to the cursor."""
        if run in self._lines:
            return self._lines.index(run)
        rows = [row for row, line in enumerate(self._lines) if isinstance(line, str)]
        return min(rows, key=lambda row: abs(row - self._row), default=0)

    def look_of(self, run: str) -> tuple[object, ...]:
        """Return everything a run's line depends on; a changed run is a new object."""
        place = self._queue.get(run)
        return self._runs.get(run), self._looks.get(run), run in self._marked, run == self.cursor_run, place

    def visible_rows(self) -> range:
        """Return the visible rows; the last may be partly visible."""
        top = self.scroll_offset.y
        return range(top, min(top + self.size.height - HEADER_LINES, len(self._lines)))

    def repaint_changed(self) -> None:
        """Repaint visible lines whose run, look, mark or cursor has changed."""
        regions = []
        for row in self.visible_rows():
            line = self._lines[row]
            if isinstance(line, str) and self._shown.get(line) != self.look_of(line):
                regions.append(Region(0, row - self.scroll_offset.y + HEADER_LINES, self.size.width, 1))
        if regions:
            self.refresh(*regions)

    def select(self, run: str) -> None:
        """Move the cursor to a run."""
        if run in self._lines:
            self.go(self._lines.index(run))

    def go(self, row: int) -> None:
        """Move the cursor to a row, or to the nearest row with a run: onwards, else back from the end."""
        step = 1 if row >= self._row else -1
        wanted = min(max(row, 0), len(self._lines) - 1)
        onwards = range(wanted, len(self._lines)) if step > 0 else range(wanted, -1, -1)
        back = range(wanted, self._row, -step)
        row = next((at for at in (*onwards, *back) if isinstance(self._lines[at], str)), self._row)
        if row == self._row:
            self.scroll_to_cursor()
            return
        self._row = row
        self.scroll_to_cursor()
        self.repaint_changed()
        self.post_message(self.Moved())

    def scroll_to_cursor(self) -> None:
        top, height = self.scroll_offset.y, max(self.size.height - HEADER_LINES, 1)
        # Keep a group's heading visible with its first run.
        first = self._row - 1 if self._row and not isinstance(self._lines[self._row - 1], str) else self._row
        if self._is_new:
            # Runs below it, which follow it in the queue, are to be seen at once; before the layout there is no room.
            self._is_new = not self.size.height
            self.scroll_to(y=first, animate=False)
        elif first < top:
            self.scroll_to(y=first, animate=False)
        elif self._row >= top + height:
            self.scroll_to(y=self._row - height + 1, animate=False)

    def action_move(self, rows: int) -> None:
        """Move the cursor."""
        self.go(self._row + rows)

    def action_page(self, pages: int) -> None:
        """Move the cursor by pages."""
        self.go(self._row + pages * max(self.size.height - HEADER_LINES, 1))

    def columns(self) -> list[tuple[Column, int]]:
        """Return the columns that fit, with their widths."""
        if self._columns_for != (self.room, self._longest_name):
            self._columns_for = self.room, self._longest_name
            self._columns = fitting(self.room - PREFIX_CELLS, self._longest_name)
        return self._columns

    @property
    def room(self) -> int:
        """Width of a line in cells, without the scroll bar."""
        return int(self.size.width) - int(self.scrollbar_size_vertical if self.show_vertical_scrollbar else 0)

    def on_resize(self) -> None:
        self.virtual_size = Size(self.size.width, len(self._lines) + HEADER_LINES)
        self.call_after_refresh(self.scroll_to_cursor)

    def on_click(self, event: events.Click) -> None:
        at = event.get_content_offset(self)
        if at is None:
            return
        if at.y < HEADER_LINES:
            if (key := self.column_at(at.x)) is not None:
                self.post_message(self.SortAsked(key))
            return
        row = at.y - HEADER_LINES + self.scroll_offset.y
        if row < len(self._lines) and isinstance(self._lines[row], str):
            self.go(row)
            if event.chain == 2:
                self.post_message(self.Opened())

    def column_at(self, x: int) -> str | None:
        """Return the key of the column at a cell of the header."""
        left = PREFIX_CELLS
        for column, width in self.columns():
            if left <= x < left + width:
                return column.key
            left += width + 1
        return None

    def render_lines(self, crop: Region) -> list[Strip]:
        # Cached because Textual recomputes it at each access, once per line.
        self._base_style = self.rich_style
        return super().render_lines(crop)

    def render_line(self, y: int) -> Strip:
        width = self.room
        row = y - HEADER_LINES + self.scroll_offset.y
        if y < HEADER_LINES:
            return self.header().adjust_cell_length(width, self.header_style).apply_style(self._base_style)
        if row >= len(self._lines):
            return Strip.blank(width, self._base_style)
        line = self._lines[row]
        if isinstance(line, str):
            self._shown[line] = self.look_of(line)
            return self.run_line(line, is_cursor=row == self._row).apply_style(self._base_style)
        style = self.get_component_rich_style("run-table--group")
        text = cut(f"{clean(line[0])}  {line[1]}", width, unicode=self._unicode)
        return Strip([Segment(aligned(text, width, "<"), style)]).apply_style(self._base_style)

    @property
    def header_style(self) -> Style:
        return self.get_component_rich_style("run-table--header")

    def header(self) -> Strip:
        """Render the column titles, with a sign at the sorted one."""
        sign = "▾" if self._unicode else "v"
        texts = [" " * PREFIX_CELLS]
        for column, width in self.columns():
            title = f"{column.title}{sign}" if column.key == self._sorted_by else column.title
            texts.append(aligned(cut(title, width, unicode=self._unicode), width, ">" if column.right else "<") + " ")
        return Strip([Segment("".join(texts), self.header_style)])

    def run_line(self, id: str, *, is_cursor: bool) -> Strip:
        """Render a run: mark, marker in the colour of its curve, and the columns."""
        run, look = self._runs[id], self._looks.get(id)
        marked = id in self._marked
        style = Style.null()
        if marked:
            style += self.get_component_rich_style("run-table--marked")
        if is_cursor:
            style += self.get_component_rich_style("run-table--cursor")
        look = look or look_of(run.spec.model, self._colours)
        marker = look.marker
        colour = Style(color=f"color({look.colour})") if isinstance(look.colour, int) else None
        pointer = (">" if is_cursor else " ") + ("*" if marked else " ")
        marker = marker if self._unicode else ascii_marker(marker, 0)
        scene = Scene(time.monotonic(), self._unicode, self._queue)
        cells = [
            aligned(column.fitted(run, scene, width), width, ">" if column.right else "<")
            for column, width in self.columns()
        ]
        return Strip(
            [
                Segment(pointer, style),
                Segment(marker, style + colour if colour is not None else style),
                Segment(" " + " ".join(cells), style),
            ]
        ).adjust_cell_length(self.room, style)
