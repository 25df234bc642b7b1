"""Base class of all screens, with headline, banner and key bar."""

from __future__ import annotations

from textual import on
from textual.app import ComposeResult
from textual.screen import Screen
from textual.widgets import Static

from console.tui.engine_link import PulseChanged
from console.tui.feed import RunsChanged
from console.tui.session import Session
from console.widgets.banner import Banner, Headline
from console.widgets.key_bar import KeyBar


class ConsoleScreen(Screen[None]):
    """Base of all screens: shows a session between a headline and a key bar.

    Args:
        session: Shared by all screens.
    """

    HORIZONTAL_BREAKPOINTS = [(0, "-narrow"), (100, "-wide")]  # noqa: RUF012
    VERTICAL_BREAKPOINTS = [(0, "-short"), (30, "-tall")]  # noqa: RUF012

    def __init__(self, session: Session) -> None:
        super().__init__()
        self.session = session

    def compose(self) -> ComposeResult:
        yield Headline(unicode=self.session.has_unicode)
        yield Banner()
        yield from self.compose_body()
        yield KeyBar(self.session.notices, unicode=self.session.has_unicode)

    def compose_body(self) -> ComposeResult:
        """Yield the widgets between the headline and the key bar."""
        raise NotImplementedError

    def update_runs(self) -> None:
        """Show the current runs, after they changed or when this screen becomes active."""

    @on(PulseChanged)
    def show_pulse(self) -> None:
        self.query_one(Headline).show(self.session.engine.pulse, list(self.session.feed.runs.values()))
        self.query_one(Banner).show(self.session.troubles())

    @on(RunsChanged)
    def refresh_runs(self) -> None:
        self.update_runs()
        self.show_pulse()

    def on_screen_resume(self) -> None:
        # Catch up on changes made while another screen was active.
        self.refresh_runs()


def set_text(line: Static, text: str) -> None:
    """Set a line's text, avoiding a repaint if it is unchanged."""
    if str(line.content) != text:
        line.update(text)
