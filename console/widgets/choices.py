"""A list to choose several from; what is chosen can be told without colour."""

from __future__ import annotations

from typing import TypeVar

from rich.segment import Segment
from textual.strip import Strip
from textual.widgets import SelectionList

Value = TypeVar("Value")
CELLS_OF_A_BUTTON = 3
"""Segments that Textual draws before the space and the text: the same three cells, chosen or not."""


class Choices(SelectionList[Value]):
    """Textual's SelectionList with [x] and [ ] for its buttons, which it tells apart by colour alone."""

    def render_line(self, y: int) -> Strip:
        parts = list(super().render_line(y))
        row = self.scroll_offset.y + y
        if row >= self.option_count or len(parts) <= CELLS_OF_A_BUTTON:
            return Strip(parts)
        chosen = self.get_option_at_index(row).value in self.selected
        button = Segment("[x]" if chosen else "[ ]", parts[CELLS_OF_A_BUTTON].style)
        return Strip([button, *parts[CELLS_OF_A_BUTTON:]])
