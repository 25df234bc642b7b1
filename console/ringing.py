"""Telling a user who looks elsewhere that runs have ended: the terminal's bell, or its own notification (OSC 9)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from console.text.formatting import clean, percent
from console.tui.config import Ring
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
