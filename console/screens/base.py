"""What every screen of the console has: headline, banner and footer over one session."""

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
    """A screen that shows what a session says.

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
        yield KeyBar()

    def compose_body(self) -> ComposeResult:
        """What is between the headline and the footer."""
        raise NotImplementedError

    def update_runs(self) -> None:
        """Show the runs as they are now: they have changed, or this screen has come to the top."""

    @on(PulseChanged)
    def show_pulse(self) -> None:
        self.query_one(Headline).show(self.session.engine.pulse, list(self.session.feed.runs.values()))
        self.query_one(Banner).show(self.session.troubles())

    @on(RunsChanged)
    def look_at_runs(self) -> None:
        self.update_runs()
        self.show_pulse()

    def on_screen_resume(self) -> None:
        # What was committed while another screen was on top.
        self.look_at_runs()


def set_text(line: Static, text: str) -> None:
    """Change a line, if its words differ: the same words again would be painted again."""
    if str(line.content) != text:
        line.update(text)
