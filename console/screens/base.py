"""What every screen of the console has: headline, banner, footer, and a way to look again after a change."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, cast

from textual import on
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.screen import Screen

from console.tui.feed import CurvesChanged, RunsChanged
from console.widgets.banner import Banner, Headline
from console.widgets.key_bar import KeyBar

if TYPE_CHECKING:
    from console.app import ConsoleApp


class ConsoleScreen(Screen[None]):
    """A screen that shows what the feed says."""

    BINDINGS: ClassVar[list[BindingType]] = []
    HORIZONTAL_BREAKPOINTS = [(0, "-narrow"), (100, "-wide")]  # noqa: RUF012
    VERTICAL_BREAKPOINTS = [(0, "-short"), (30, "-tall")]  # noqa: RUF012

    @property
    def console_app(self) -> ConsoleApp:
        return cast("ConsoleApp", self.app)

    _curves_are_stale = False
    """Whether a drawing of the charts waits behind other messages."""

    def compose(self) -> ComposeResult:
        yield Headline(unicode=self.console_app.has_unicode)
        yield Banner()
        yield from self.compose_body()
        yield KeyBar()

    def compose_body(self) -> ComposeResult:
        """What is between the headline and the footer."""
        raise NotImplementedError

    def show_runs(self) -> None:
        """Runs have changed, or this screen has come to the top."""

    def show_curves(self) -> None:
        """Numbers of watched runs have changed."""

    def draw_soon(self) -> None:
        """Draw the charts once, however many of the messages that wait now ask for it."""
        if not self._curves_are_stale:
            self._curves_are_stale = True
            self.call_later(self._draw_stale)

    def _draw_stale(self) -> None:
        self._curves_are_stale = False
        # A screen that another one has covered meanwhile draws when it comes back.
        if self.is_current:
            # Runs that came into view since: their numbers are part of this drawing, not of another one.
            self.console_app.feed.watch(self.watched_runs())
            self.show_curves()

    def watched_runs(self) -> list[str]:
        """Ids of the runs whose numbers this screen draws."""
        return []

    def show_pulse(self) -> None:
        """Engine and devices have been asked again."""
        if not self.query(Headline) or not self.query(Banner):
            # Pushed this instant, and composed in part: it looks again when all of it is there.
            return
        app = self.console_app
        self.query_one(Headline).show(app.pulse, list(app.feed.runs.values()))
        self.query_one(Banner).show(app.troubles())

    @on(RunsChanged)
    def look_at_runs(self) -> None:
        # Runs come and go by other hands too.
        self.console_app.feed.watch(self.watched_runs())
        self.show_runs()
        self.show_pulse()

    @on(CurvesChanged)
    def look_at_curves(self) -> None:
        self.draw_soon()

    def on_screen_resume(self) -> None:
        # What was committed while another screen was on top.
        self.console_app.feed.watch(self.watched_runs())
        self.look_at_runs()
        self.draw_soon()
