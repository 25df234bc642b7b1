"""The "while you were away" screen: finished runs, idle devices and remaining work."""

from __future__ import annotations

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.widgets import Static

from console.comparison.digest import Away, away_lines
from console.screens.base import ConsoleScreen
from console.tui.session import Session


class AwayScreen(ConsoleScreen):
    """Digest of what happened since the console was last open; static.

    Args:
        session: Shared by all screens.
        away: Digest to show.
    """

    HELP = "What happened since you last had the console open. Escape closes this, W opens it again."

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "app.pop_screen", "close", id="away.close"),
        Binding("enter,space,W", "app.pop_screen", "close", show=False, id="away.close-too"),
    ]

    def __init__(self, session: Session, away: Away) -> None:
        super().__init__(session)
        self._away = away

    def compose_body(self) -> ComposeResult:
        with VerticalScroll(id="away", classes="panel") as panel:
            panel.border_title = "While you were away"
            yield Static("\n".join(away_lines(self._away)), markup=False)

    def on_mount(self) -> None:
        self.query_one("#away").focus()
