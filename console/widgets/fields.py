"""Input widgets that handle keys typed ahead, and a selection list readable without colour."""

from __future__ import annotations

from typing import TypeVar

from rich.segment import Segment
from textual.events import Key
from textual.strip import Strip
from textual.widgets import Input, SelectionList

Value = TypeVar("Value")
CELLS_OF_A_BUTTON = 3
"""Segments Textual draws before an option's text: three cells, selected or not."""


class Choices(SelectionList[Value]):
    """SelectionList with [x] and [ ] as buttons, which Textual distinguishes only by colour."""

    def on_key(self, event: Key) -> None:
        """Handle the list's keys immediately.

        Bindings are dispatched later, to the widget focused by then: keys typed ahead of a tab would be lost.
        """
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
        """Toggle the highlighted option immediately.

        Textual toggles one message later: typing "down space down space" ahead would toggle the last option twice.
        """
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
    """Input that handles editing keys immediately.

    Bindings are dispatched after letters typed later: over a slow connection, where keys arrive in bursts,
    "backspace 1 2" would delete the 2.
    """

    async def on_key(self, event: Key) -> None:
        if event.is_printable:
            return
        for binding in self._bindings.key_to_bindings.get(event.key, ()):
            event.stop()
            event.prevent_default()
            await self.run_action(binding.action)
            return
