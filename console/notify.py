"""What the console says unasked: that runs have ended (by bell or OSC 9 too), and what happened while you were away."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from textual.widgets import Input

from console.text.formatting import clean, percent
from console.tui.background import in_background
from console.tui.config import Ring
from engine.base.errors import DepthscopeError
from engine.runs.run import Run, RunOutcome

if TYPE_CHECKING:
    from console.app import ConsoleApp


def ring(app: ConsoleApp, way: Ring, text: str) -> None:
    """Tell it by the terminal's own means."""
    if way in (Ring.BELL, Ring.BOTH):
        app.bell()
    if way in (Ring.OSC9, Ring.BOTH):
        # Not the bare text: one that began with 4; would be a progress bar to some terminals.
        app.write_to_terminal(f"\x1b]9;depthscope: {clean(text)}\x07")


def end_words(runs: Sequence[Run]) -> str:
    """Which runs have ended, the first of them by its name."""
    first = runs[0]
    error = f", test error {percent(first.test_error_percent)}" if first.outcome is RunOutcome.SUCCEEDED else ""
    more = f"; {len(runs) - 1} more" if len(runs) > 1 else ""
    return f"{clean(first.name)} {first.outcome}{error}{more}"


def tell_ends(app: ConsoleApp, finished: Iterable[Run]) -> None:
    """Say that runs have ended; what the user stopped by hand is no news."""
    if ended := [run for run in finished if run.outcome is not RunOutcome.CANCELLED]:
        app.notify(end_words(ended), markup=False)
        ring(app, app.config.notify, end_words(ended))


def has_ended_since(runs: Iterable[Run], moment: float) -> bool:
    """Whether there is something to tell at all."""
    return any((run.finished_at or 0.0) > moment for run in runs)


async def tell_away(app: ConsoleApp, since: float | None, *, asked: bool) -> None:
    """Show what happened since the last look; unasked only to a user who has not begun to do something.

    Args:
        app: Whose home.
        since: Seconds since 1970; None for a user who has never looked.
        asked: Whether the user wants to see it now.
    """
    from console.comparison.digest import HOURS_WITHOUT_A_LOOK, read_away
    from console.screens.away import AwayScreen

    begin = time.time() - 3600 * HOURS_WITHOUT_A_LOOK if since is None else since
    beneath = app.screen if asked else app.screen_stack[0]
    try:
        found = await in_background(read_away, app.home, since=begin)
    except DepthscopeError as error:
        app.notify(clean(str(error)), severity="error", markup=False)
        return
    if app.screen is beneath and (asked or not isinstance(app.screen.focused, Input)):
        app.push_screen(AwayScreen(found))
    elif not asked:
        key = app.config.keys.get("app.away", "W")
        app.notify(f"runs have ended while you were away: {key} tells of them", markup=False)
