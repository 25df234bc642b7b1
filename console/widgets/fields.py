"""Widgets of a form, which handle every key immediately, so that keys typed ahead reach the field they were meant for.

Bindings are dispatched later, to the widget focused by then: over a slow connection, where keys arrive in bursts,
"backspace 1 2" would delete the 2. For the same reason these widgets call back instead of posting messages.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

from rich.style import Style
from rich.text import Text
from textual import events
from textual.app import RenderResult
from textual.geometry import Size
from textual.message import Message
from textual.widget import Widget
from textual.widgets import Input

from console.text.formatting import cells, cut

GAP = 2
"""Cells between two values of a line."""
MOVES = {"up": -1, "down": 1}


class Field(Input):
    """Input that handles editing keys immediately."""

    async def on_key(self, event: events.Key) -> None:
        if event.is_printable:
            return
        for binding in self._bindings.key_to_bindings.get(event.key, ()):
            event.stop()
            event.prevent_default()
            await self.run_action(binding.action)
            return


class Ticks(Widget, can_focus=True):
    """Values to tick, as many in a line as fit.

    Args:
        values: What can be ticked, in order.
        selected: What is ticked.
        empty: Shown where there is nothing to tick.
        changed: Called with a value after it was ticked or unticked.
    """

    COMPONENT_CLASSES = {"ticks--cursor", "ticks--on", "ticks--empty"}  # noqa: RUF012

    class Moved(Message):
        """The cursor is on another value."""

    def __init__(
        self,
        values: Sequence[str] = (),
        selected: Collection[str] = (),
        *,
        id: str,
        changed: Callable[[str], None],
        empty: str = "",
    ) -> None:
        super().__init__(id=id)
        self.values = list(values)
        self.selected = [value for value in values if value in selected]
        self.cursor = 0
        self._empty = empty
        self._changed = changed

    @property
    def highlighted(self) -> str | None:
        """Value under the cursor; None if there are no values."""
        return self.values[self.cursor] if self.cursor < len(self.values) else None

    def show(self, values: Sequence[str], selected: Collection[str]) -> None:
        """Replace the values and the ticks."""
        if self.values != list(values):
            self.values = list(values)
            self.cursor = 0
            self.refresh(layout=True)
        self.selected = [value for value in values if value in selected]
        self.refresh()

    def toggle(self, value: str) -> None:
        """Tick a value, or remove its tick."""
        self.selected = [one for one in self.values if (one in self.selected) != (one == value)]
        self._changed(value)
        self.refresh()

    def on_key(self, event: events.Key) -> None:
        if event.key in ("space", "enter", "x"):
            handled(event)
            if (value := self.highlighted) is not None:
                self.toggle(value)
        elif (step := {**MOVES, "left": -1, "right": 1, "k": -1, "j": 1, "h": -1, "l": 1}.get(event.key)) is not None:
            handled(event)
            if 0 <= self.cursor + step < len(self.values):
                self.move_to(self.cursor + step)
            elif event.key in MOVES:
                move_focus(self, step)

    def move_to(self, index: int) -> None:
        """Move the cursor."""
        self.cursor = index
        self.post_message(self.Moved())
        self.refresh()

    def on_click(self, event: events.Click) -> None:
        at = event.get_content_offset(self)
        if at is None:
            return
        placed, _ = flow(self.texts(), self.content_size.width)
        for index, (row, column) in enumerate(placed):
            if row == at.y and column <= at.x < column + cells(self.texts()[index]):
                self.move_to(index)
                self.toggle(self.values[index])

    def texts(self) -> list[str]:
        """Each value with its box, readable without colour."""
        return [f"{'[x]' if value in self.selected else '[ ]'} {value}" for value in self.values]

    def get_content_height(self, container: Size, viewport: Size, width: int) -> int:  # noqa: ARG002
        placed, _ = flow(self.texts(), width)
        return 1 + max((row for row, _ in placed), default=0)

    def render(self) -> RenderResult:
        if not self.values:
            style = "ticks--cursor" if self.has_focus else "ticks--empty"
            return Text(self._empty, style=self.get_component_rich_style(style))
        text, line = Text(no_wrap=True, overflow="crop"), 0
        texts = self.texts()
        placed, gap = flow(texts, self.content_size.width)
        for index, ((row, _), shown) in enumerate(zip(placed, texts, strict=True)):
            if index:
                text.append("\n" if row > line else " " * gap)
            line = row
            text.append(shown, style=self.style_of(index))
        return text

    def style_of(self, index: int) -> Style:
        """Style of a value: under the cursor, ticked, or neither."""
        if self.has_focus and index == self.cursor:
            return self.get_component_rich_style("ticks--cursor")
        if self.values[index] in self.selected:
            return self.get_component_rich_style("ticks--on")
        return Style()


class OneOf(Widget, can_focus=True):
    """One of several values; focused, it shows all of them if they fit.

    Args:
        values: The values, in order.
        value: The chosen one.
        changed: Called after a change.
    """

    COMPONENT_CLASSES = {"one-of--chosen", "one-of--other"}  # noqa: RUF012

    def __init__(self, values: Sequence[str], value: str, *, id: str, changed: Callable[[], None]) -> None:
        super().__init__(id=id)
        self.values = list(values)
        self._index = self.values.index(value)
        self._changed = changed
        self._shows_all = False
        self._is_aimed = False
        """Whether the mouse was last pressed while all values were shown."""
        self._shown: dict[str, str] = {}

    @property
    def value(self) -> str:
        """The chosen value."""
        return self.values[self._index]

    @value.setter
    def value(self, value: str) -> None:
        self.choose(self.values.index(value))

    def name_value(self, value: str, shown: str) -> None:
        """Show a value under another name."""
        self._shown[value] = shown
        self.refresh()

    def choose(self, index: int) -> None:
        """Choose the value at an index, wrapping around."""
        self._index = index % len(self.values)
        self._changed()
        self.refresh()

    def on_key(self, event: events.Key) -> None:
        last = len(self.values) - 1
        to = {
            "left": self._index - 1,
            "right": self._index + 1,
            "space": self._index + 1,
            "home": 0,
            "end": last,
        }.get(event.key)
        if to is not None:
            handled(event)
            self.choose(to)
        elif event.character and event.character.isalnum():
            ahead = [(self._index + n) % (last + 1) for n in range(1, last + 2)]
            found = next((one for one in ahead if self.values[one].startswith(event.character)), None)
            if found is not None:
                handled(event)
                self.choose(found)

    def on_mouse_down(self) -> None:
        # A press that gives the focus is aimed at the one value shown until then.
        self._is_aimed = self._shows_all

    def on_click(self, event: events.Click) -> None:
        at = event.get_content_offset(self)
        if at is None or not self._is_aimed:
            return
        places = self.places()
        if places is None:
            self.choose(self._index - 1 if at.x < GAP else self._index + 1)
            return
        for index, column in enumerate(places):
            if column <= at.x < column + cells(self.texts()[index]):
                self.choose(index)

    def texts(self) -> list[str]:
        """The values as shown."""
        return [self._shown.get(value, value) for value in self.values]

    def places(self) -> list[int] | None:
        """Column of each value in a single line; None if they do not fit."""
        placed, _ = flow(self.texts(), self.content_size.width)
        return None if placed[-1][0] else [column for _, column in placed]

    def render(self) -> RenderResult:
        texts = self.texts()
        text = Text(no_wrap=True, overflow="ellipsis")
        self._shows_all = self.has_focus
        if not self._shows_all:
            return text.append(texts[self._index])
        chosen = self.get_component_rich_style("one-of--chosen")
        other = self.get_component_rich_style("one-of--other")
        if self.places() is None:
            text.append("< ").append(texts[self._index], style=chosen).append(" >")
            return text.append(f"  {self._index + 1} of {len(texts)}", style=other)
        _, gap = flow(texts, self.content_size.width)
        for index, shown in enumerate(texts):
            text.append(" " * gap if index else "").append(shown, style=chosen if index == self._index else other)
        return text


class Heading(Widget, can_focus=True):
    """Heading of a group of fields, some of which it folds away.

    Args:
        title: Name of the group.
        can_fold: Whether it has fields to fold.
        changed: Called after it was folded or unfolded.
        unicode: Whether the terminal shows Unicode.
    """

    COMPONENT_CLASSES = {"heading--note"}  # noqa: RUF012

    def __init__(
        self, title: str, *, id: str, can_fold: bool, changed: Callable[[Heading], None], unicode: bool
    ) -> None:
        super().__init__(id=id)
        self.title = title
        self.is_open = False
        self.can_fold = self.can_focus = can_fold
        self.note = ""
        self._changed = changed
        self._unicode = unicode
        self._signs = ("▸", "▾") if unicode else ("+", "-")

    def show_note(self, note: str) -> None:
        """Show what is folded."""
        if note != self.note:
            self.note = note
            self.refresh()

    def fold(self, *, is_open: bool) -> None:
        """Fold or unfold the group."""
        if self.can_fold and is_open != self.is_open:
            self.is_open = is_open
            self._changed(self)
            self.refresh()

    def on_key(self, event: events.Key) -> None:
        wanted = {"space": not self.is_open, "right": True, "left": False}.get(event.key)
        if wanted is not None:
            handled(event)
            self.fold(is_open=wanted)

    def on_click(self) -> None:
        self.fold(is_open=not self.is_open)

    def render(self) -> RenderResult:
        text = Text(f"{self._signs[self.is_open]} " if self.can_fold else "  ", no_wrap=True).append(self.title)
        if self.note:
            room = self.content_size.width - cells(text.plain) - GAP
            note = cut(self.note, room, unicode=self._unicode)
            text.append(f"{' ' * GAP}{note}", style=self.get_component_rich_style("heading--note"))
        return text


def flow(texts: Sequence[str], width: int) -> tuple[list[tuple[int, int]], int]:
    """Row and column of each text, with as many in a row as fit in a width, and the gap between two.

    The gap is narrower where that puts all of them in one row.
    """
    gap = 1 if 0 < sum(cells(text) + 1 for text in texts) - 1 <= width else GAP
    if sum(cells(text) + GAP for text in texts) - GAP <= width:
        gap = GAP
    placed: list[tuple[int, int]] = []
    row, column = 0, 0
    for text in texts:
        if column and column + cells(text) > width:
            row, column = row + 1, 0
        placed.append((row, column))
        column += cells(text) + gap
    return placed, gap


def handled(event: events.Key) -> None:
    """Keep a key from every other handler and from the bindings."""
    event.stop()
    event.prevent_default()


def move_focus(widget: Widget, step: int, *, wraps: bool = False) -> None:
    """Move the focus to the next or previous widget in the order of the screen.

    Textual's own order goes by position, which a widget that was just unfolded does not have yet.

    Args:
        widget: The focused widget.
        step: 1 or -1.
        wraps: Whether the first follows the last, instead of the focus staying there.
    """
    chain = [one for one in widget.screen.query("*") if one.focusable and is_shown(one)]
    to = chain.index(widget) + step
    if wraps:
        to %= len(chain)
    if 0 <= to < len(chain):
        widget.screen.set_focus(chain[to])


def is_shown(widget: Widget) -> bool:
    """Whether neither a widget nor what it is in is hidden."""
    return all(node.display for node in widget.ancestors_with_self if isinstance(node, Widget))
