"""Summary of an experiment: verdict and networks; renders them without knowing their source."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

from rich.text import Text
from textual import events
from textual.app import RenderResult
from textual.geometry import Size
from textual.message import Message
from textual.widget import Widget

from console.charts.legend import ascii_marker
from console.text.formatting import clean, cut

if TYPE_CHECKING:
    from console.comparison.summary import Summary

LEAST_CELLS, WIDE_CELLS = 24, 96
NARROW_VERDICT_LINES, WIDE_VERDICT_LINES = 4, 2
"""Lines of the verdict, used or not, so that nothing moves when it changes; the comparison shows all of it."""
MARKER_CELLS = 2


class SummaryView(Widget):
    """Verdict of an experiment above a line for each network."""

    class Opened(Message):
        """The summary was clicked."""

    def __init__(self, *, unicode: bool, id: str | None = None) -> None:
        super().__init__(id=id, classes="-empty")
        self._unicode = unicode
        self._num_networks = 0
        self._summary: Summary | None = None
        self._drawn: tuple[int, list[Text]] | None = None
        """Width and lines of the current drawing; None if the next must be new."""

    @property
    def summary(self) -> Summary | None:
        """What is shown; None before the first."""
        return self._summary

    def reserve(self, num_networks: int) -> None:
        """Make room for some networks before their summary is known; hide the view without any."""
        if num_networks != self._num_networks:
            self._num_networks = num_networks
            self.set_class(not num_networks, "-empty")
            self.refresh(layout=True)
            # Before the charts below are drawn, which would otherwise be drawn at their old size, too.
            self.screen.refresh(layout=True)

    def show(self, summary: Summary) -> None:
        """Show a summary, avoiding a repaint if it is unchanged."""
        if summary != self._summary:
            before, self._summary, self._drawn = self._drawn, summary, None
            self.show_title()
            if before is None or before[1] != self.lines(before[0]):
                self.refresh()

    def show_title(self) -> None:
        """Set the title in the border, only if changed: setting it repaints everything."""
        title = "Summary" if self._summary is None else self._summary.title(unicode=self._unicode)
        title = cut(title, max(self.size.width - 4, LEAST_CELLS), unicode=self._unicode)
        if title != self.border_title:
            self.border_title = title

    def lines(self, width: int) -> list[Text]:
        """Return the verdict, wrapped, and the networks, for a width in cells."""
        if self._summary is None:
            return []
        if self._drawn is None or self._drawn[0] != width:
            self._drawn = width, self._draw(self._summary, max(width, LEAST_CELLS))
        return self._drawn[1]

    def _draw(self, summary: Summary, width: int) -> list[Text]:
        # Loaded with the summary, long after the first frame.
        from console.comparison.summary import network_table

        verdict = clean(summary.verdict)
        verdict = verdict if self._unicode else verdict.replace("±", "+-")
        room = verdict_lines(width)
        wrapped = textwrap.wrap(
            # A name at the start stays as it is.
            verdict if any(map(str.isdigit, verdict.split(" ")[0])) else verdict[:1].upper() + verdict[1:],
            width,
            max_lines=room,
            placeholder=" …" if self._unicode else " ...",
            break_on_hyphens=False,
        )
        lines = [Text(line, style="bold") for line in (*wrapped, *[""] * (room - len(wrapped)))]
        header, *rows = network_table(summary, width - MARKER_CELLS, unicode=self._unicode)
        lines.append(Text(" " * MARKER_CELLS + header, style="dim"))
        for row, network in zip(rows, summary.networks, strict=True):
            marker = network.look.marker if self._unicode else ascii_marker(network.look.marker, 0)
            lines.append(Text.assemble((marker, f"color({network.look.colour})"), f" {row}"))
        return lines

    def get_content_height(self, container: Size, viewport: Size, width: int) -> int:  # noqa: ARG002 - Textual's
        return verdict_lines(width) + 1 + self._num_networks

    def render(self) -> RenderResult:
        width, height = self.content_size
        lines = self.lines(width)
        if len(lines) > height > 1:
            hidden = len(lines) - height + 1
            lines = [*lines[: height - 1], Text(f"{' ' * MARKER_CELLS}and {hidden} more in the comparison", "dim")]
        return Text("\n", no_wrap=True, overflow="crop").join(lines)

    def on_resize(self) -> None:
        self.show_title()

    def on_click(self, event: events.Click) -> None:
        event.stop()
        self.post_message(self.Opened())


def verdict_lines(width: int) -> int:
    """Lines of the verdict at a width."""
    return WIDE_VERDICT_LINES if width >= WIDE_CELLS else NARROW_VERDICT_LINES
