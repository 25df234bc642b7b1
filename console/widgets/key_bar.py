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

from console.text.formatting import cells, cut
from console.tui.notices import SEVERITIES, Notices

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
    """As many keys as fit, always including help and quit; a notice takes the place of the others while it lasts.

    Args:
        notices: Shown one at a time; a click shows all of them in full.
        unicode: Whether to mark cuts with an ellipsis rather than ASCII.
    """

    COMPONENT_CLASSES = {"key-bar--key", *(f"key-bar--{severity}" for severity in SEVERITIES)}  # noqa: RUF012

    def __init__(self, notices: Notices, *, unicode: bool) -> None:
        super().__init__()
        self._notices = notices
        self._unicode = unicode

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
        if self._notices.shown() is not None:
            first, at = [], 1 + room
            if cells(self.notice_text(room)) > room:
                return []
        else:
            at = 1
        found = []
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

    def notice_text(self, room: int) -> str:
        """Return the notice within the room left by help and quit if it fits, else cut to the whole line."""
        shown = self._notices.shown()
        if shown is None:
            return ""
        notice, others = shown
        text = notice.text if notice.severity == SEVERITIES[0] else f"! {notice.text}"
        key = self.messages_key()
        more = f"  (+{others}: {key})" if others else ""
        if cells(text + more) <= max(room, self.size.width - 2):
            return text + more
        more = more or f"  ({key} shows all)"
        return cut(text, self.size.width - 2 - cells(more), unicode=self._unicode) + more

    def messages_key(self) -> str:
        """Return the key that shows the latest messages in full."""
        bindings = (active.binding for active in self.app.active_bindings.values())
        return next((self.app.get_key_display(one) for one in bindings if one.id == "app.messages"), "!")

    def render(self) -> RenderResult:
        line = Text(" ", no_wrap=True, overflow="crop")
        key_style = self.get_component_rich_style("key-bar--key", partial=True)
        keys = self.keys()
        if (notice := self._notices.shown()) is not None:
            style = self.get_component_rich_style(f"key-bar--{notice[0].severity}", partial=True)
            line.append(self.notice_text(keys[0].start - 1 if keys else 0), style=style)
            line.pad_right(max((keys[0].start if keys else 0) - line.cell_len, 0))
        for shown in keys:
            key, _, what = shown.text.partition(" ")
            line.append(key, style=key_style).append(f" {what}  ")
        return line

    async def on_click(self, event: events.Click) -> None:
        at = event.get_content_offset(self)
        for shown in self.keys():
            if at is not None and shown.start <= at.x < shown.start + cells(shown.text):
                self.app.simulate_key(shown.key)
                return
        if self._notices.shown() is not None:
            await self.run_action("app.messages")
