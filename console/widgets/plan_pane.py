"""Pane of the form with a line for each run that would be created."""

from __future__ import annotations

from collections.abc import Sequence

from rich.text import Text
from textual.app import ComposeResult
from textual.containers import Container
from textual.widgets import DataTable

from console.planning.tables import columns_within

LEFT = ("run", "fits")
"""Columns of text; numbers are aligned to the right."""


class PlanPane(Container):
    """Table with as many columns as fit, in a border that says how many runs there are."""

    def __init__(self, *, id: str) -> None:
        super().__init__(id=id, classes="panel")
        self.border_title = "Runs"
        self._rows: Sequence[dict[str, str]] = ()
        self._columns: list[str] = []

    def compose(self) -> ComposeResult:
        yield DataTable[Text](id="plan-table", cursor_type="none")

    def show(self, rows: Sequence[dict[str, str]], *, num_planned: int, accuracy: str) -> None:
        """Show lines of runs.

        Args:
            rows: Cells by column, one dict a line; perhaps only the first of many runs.
            num_planned: Number of runs; 0 if none of those shown can be created.
            accuracy: How far off such estimates have been; empty if unknown.
        """
        self._rows = rows
        more = f", the first {len(rows)} shown" if num_planned > len(rows) else ""
        self.border_title = f"Runs: {num_planned or len(rows)}{more}" if rows else "Runs"
        self.border_subtitle = accuracy
        self.fill()

    def fill(self) -> None:
        """Fill the table with as many columns as fit now."""
        table = self.query_one("#plan-table", DataTable)
        columns = columns_within(self._rows, (self.content_size.width or self.screen.size.width) - 1)
        if columns != self._columns:
            table.clear(columns=True)
            table.add_columns(*(cell_of(name, name) for name in columns))
            self._columns = columns
        table.clear()
        for row in self._rows:
            table.add_row(*(cell_of(name, row[name], no_wrap=True) for name in columns))


def cell_of(column: str, text: str, *, no_wrap: bool = False) -> Text:
    return Text(text, justify="left" if column in LEFT else "right", no_wrap=no_wrap or None)
