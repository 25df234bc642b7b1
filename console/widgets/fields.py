"""A list to choose several from; what is chosen can be told without colour."""

from __future__ import annotations

from typing import TypeVar

from rich.segment import Segment
from textual.events import Key
from textual.strip import Strip
from textual.widgets import Input, SelectionList

Value = TypeVar("Value")
CELLS_OF_A_BUTTON = 3
"""Segments that Textual draws before the space and the text: the same three cells, chosen or not."""


class Choices(SelectionList[Value]):
    """Textual's SelectionList with [x] and [ ] for its buttons, which it tells apart by colour alone."""

    def on_key(self, event: Key) -> None:
        """Act on the keys of the list here. As bindings they would travel to the app and come back to whatever has the
        focus by then: typed ahead of a tab, they would be lost."""
        act = {
            "up": self.action_cursor_up,
            "k": self.action_cursor_up,
            "down": self.action_cursor_down,
            "j": self.action_cursor_down,
            "space": self.action_select,
            "enter": self.action_select,
        }.get(event.key)
        if act is not None:
            event.stop()
            event.prevent_default()
            act()

    def action_select(self) -> None:
        """Turn the highlighted one at once; Textual's own turns whichever is highlighted a message later, so that of
        "down space down space" typed ahead the last would be turned twice."""
        if self.highlighted is not None:
            self.toggle(self.get_option_at_index(self.highlighted))

    def render_line(self, y: int) -> Strip:
        parts = list(super().render_line(y))
        row = self.scroll_offset.y + y
        if row >= self.option_count or len(parts) <= CELLS_OF_A_BUTTON:
            return Strip(parts)
        chosen = self.get_option_at_index(row).value in self.selected
        button = Segment("[x]" if chosen else "[ ]", parts[CELLS_OF_A_BUTTON].style)
        return Strip([button, *parts[CELLS_OF_A_BUTTON:]])


class Field(Input):
    """Textual's Input, whose keys that are no text act here and at once.

    As bindings they would travel to the app and come back behind letters typed after them: over a slow line, where
    keys arrive in bursts, "backspace 1 2" would take away the 2.
    """

    async def on_key(self, event: Key) -> None:
        if event.is_printable:
            return
        for binding in self._bindings.key_to_bindings.get(event.key, ()):
            event.stop()
            event.prevent_default()
            await self.run_action(binding.action)
            return
