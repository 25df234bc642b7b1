"""Notifications: finished runs (on screen, by bell or OSC 9), and the digest of what happened while away."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from textual.app import App
from textual.widgets import Input

from console.text.formatting import clean, percent
from console.tui.background import in_background
from console.tui.config import Ring
from console.tui.notices import Notice
from console.tui.session import Session
from engine.base.errors import DepthscopeError
from engine.runs.run import Run, RunOutcome


def write_to_terminal(app: App[Any], sequence: str) -> None:
    """Send a control sequence to the terminal itself."""
    if app._driver is not None:
        app._driver.write(sequence)


def ring(app: App[Any], way: Ring, text: str) -> None:
    """Notify by the terminal's bell or an OSC 9 sequence."""
    if way in (Ring.BELL, Ring.BOTH):
        app.bell()
    if way in (Ring.OSC9, Ring.BOTH):
        # The prefix matters: some terminals show a text that starts with "4;" as a progress bar.
        write_to_terminal(app, f"\x1b]9;depthscope: {clean(text)}\x07")


def finished_text(runs: Sequence[Run]) -> str:
    """Text about finished runs: one in full, several by name, and how many of them did not succeed."""
    if len(runs) == 1:
        error = f", test error {percent(runs[0].test_error_percent)}" if succeeded(runs[0]) else ""
        return f"{clean(runs[0].name)} {runs[0].outcome}{error}"
    others = Counter(str(run.outcome) for run in runs if not succeeded(run))
    how = "".join(f", {num} {outcome}" for outcome, num in others.items())
    # Those without success first, because the line may be too short for all names.
    names = [clean(run.name) for run in sorted(runs, key=succeeded)]
    return f"{len(runs)} runs finished{how}: {', '.join(names)}"


def succeeded(run: Run) -> bool:
    """Whether a run ended as it should."""
    return run.outcome is RunOutcome.SUCCEEDED


class FinishedRuns:
    """One notice of all runs that finished since it was first shown.

    Args:
        session: Console session.
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        self._runs: list[Run] = []
        self._notice: Notice | None = None

    def add(self, finished: Iterable[Run]) -> None:
        """Notify of finished runs, except those the user cancelled."""
        if not (ended := [run for run in finished if run.outcome is not RunOutcome.CANCELLED]):
            return
        session, notice = self._session, self._notice
        is_shown = notice is not None and notice in session.notices.active()
        self._runs = [*self._runs, *ended] if is_shown else ended
        severity = "information" if all(map(succeeded, self._runs)) else "warning"
        self._notice = session.notices.replace(notice, finished_text(self._runs), severity)
        ring(session.app, session.config.notify, finished_text(ended))


def any_finished_since(runs: Iterable[Run], moment: float) -> bool:
    """Whether any run has finished since a moment (seconds since 1970)."""
    return any((run.finished_at or 0.0) > moment for run in runs)


async def show_digest(session: Session, *, asked: bool) -> None:
    """Show the digest of what happened since the last look.

    Unless the user asked for it, a screen or input opened meanwhile stays, and a notice appears instead.

    Args:
        session: Console session; a user who has never looked sees the last hours.
        asked: Whether the user asked for it.
    """
    from console.comparison.digest import HOURS_WITHOUT_A_LOOK, read_away
    from console.screens.away import AwayScreen

    app, since = session.app, session.away_since
    begin = time.time() - 3600 * HOURS_WITHOUT_A_LOOK if since is None else since
    beneath = app.screen if asked else app.screen_stack[0]
    try:
        found = await in_background(read_away, session.home, since=begin)
    except DepthscopeError as error:
        app.notify(clean(str(error)), severity="error", markup=False)
        return
    if app.screen is beneath and (asked or not isinstance(app.screen.focused, Input)):
        app.push_screen(AwayScreen(session, found))
    elif not asked:
        key = session.config.keys.get("app.away", "W")
        app.notify(f"Runs finished while you were away: {key} shows a digest", markup=False)
