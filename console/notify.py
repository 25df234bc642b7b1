"""Notifications: finished runs (on screen, by bell or OSC 9), and the digest of what happened while away."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from typing import Any

from textual.app import App
from textual.widgets import Input

from console.text.formatting import clean, percent
from console.tui.background import in_background
from console.tui.config import Ring
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
    """Text about finished runs: the first in full, then how many more."""
    first = runs[0]
    error = f", test error {percent(first.test_error_percent)}" if first.outcome is RunOutcome.SUCCEEDED else ""
    more = f"; {len(runs) - 1} more" if len(runs) > 1 else ""
    return f"{clean(first.name)} {first.outcome}{error}{more}"


def notify_finished(session: Session, finished: Iterable[Run]) -> None:
    """Notify of finished runs, except those the user cancelled."""
    if ended := [run for run in finished if run.outcome is not RunOutcome.CANCELLED]:
        session.app.notify(finished_text(ended), markup=False)
        ring(session.app, session.config.notify, finished_text(ended))


def any_finished_since(runs: Iterable[Run], moment: float) -> bool:
    """Whether any run has finished since a moment (seconds since 1970)."""
    return any((run.finished_at or 0.0) > moment for run in runs)


async def show_digest(session: Session, *, asked: bool) -> None:
    """Show the digest of what happened since the last look.

    Unless the user asked for it, a screen or input opened meanwhile stays, and a toast appears instead.

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
