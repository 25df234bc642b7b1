"""Key bar: the screen's keys on one clickable line.

Textual's Footer creates a widget per key and recreates them whenever the focus changes; a dozen of them took a third
of the time to the first frame. This is a single line of text that knows the position of each key.
"""

from __future__ import annotations

from dataclasses import dataclass

from rich.text import Text
from textual import events
from textual.app import RenderResult
from textual.widget import Widget

from console.text.formatting import cells

LAST = ("app.help", "app.quit")
"""Ids of the keys shown even if no others fit; all others can be found through them."""
PALETTE = "^p palette"


@dataclass(frozen=True, slots=True)
class Shown:
    """A key and its position in the bar."""

    start: int
    text: str
    key: str


class KeyBar(Widget):
    """As many keys as fit, always including help and quit."""

    def on_mount(self) -> None:
        self.screen.bindings_updated_signal.subscribe(self, lambda _: self.refresh())

    def keys(self) -> list[Shown]:
        """Return the keys shown, from the left."""
        first: list[tuple[str, str]] = []
        last: list[tuple[str, str]] = []
        for active in self.screen.active_bindings.values():
            binding = active.binding
            if binding.show and binding.id:
                shown = f"{self.app.get_key_display(binding)} {binding.description}", binding.key
                (last if binding.id in LAST else first).append(shown)
        last.append((PALETTE, "ctrl+p"))
        room = self.size.width - 2 - sum(cells(text) + 2 for text, _ in last)
        found, at = [], 1
        for text, key in first:
            width = cells(text) + 2
            if width > room:
                break
            room -= width
            found.append(Shown(at, text, key))
            at += width
        for text, key in last:
            found.append(Shown(at, text, key))
            at += cells(text) + 2
        return found

    def render(self) -> RenderResult:
        line = Text(" ", no_wrap=True, overflow="crop")
        key_style = self.get_component_rich_style("key-bar--key", partial=True)
        for shown in self.keys():
            key, _, what = shown.text.partition(" ")
            line.append(key, style=key_style).append(f" {what}  ")
        return line

    COMPONENT_CLASSES = {"key-bar--key"}  # noqa: RUF012

    def on_click(self, event: events.Click) -> None:
        at = event.get_content_offset(self)
        for shown in self.keys():
            if at is not None and shown.start <= at.x < shown.start + cells(shown.text):
                self.app.simulate_key(shown.key)
