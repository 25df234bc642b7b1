"""What the user had on screen: kept in the home, so that a console that comes back shows the same."""

from __future__ import annotations

import contextlib
import threading
import time

import msgspec

from console.charts.metrics import METRICS
from console.charts.styles import MOST_CURVES, Options
from console.text.columns import ORDERS
from console.tui.config import Config
from engine.base.paths import Home, write_atomically

_ONE_WRITER = threading.Lock()
"""A write in the background and the last one, at exit, would share a temporary file."""


class ViewState(msgspec.Struct, kw_only=True):
    """The home screen as the user has arranged it."""

    marked: list[str] = []
    """Ids in the order of marking, which is the order of their colours."""
    cursor: str | None = None
    sort: str = ORDERS[0]
    backwards: bool = False
    grouped: bool = True
    filter: str = ""
    charts: tuple[str, str] = ("train-loss", "test-error")
    options: Options = Options()
    crosshair: float | None = None
    looked_at: float | None = None
    """When it was last on screen, seconds since 1970; None before the first time."""

    def toggle_mark(self, run: str) -> bool:
        """Mark a run or take its mark away; False where no more can be told apart."""
        if run in self.marked:
            self.marked.remove(run)
        elif len(self.marked) < MOST_CURVES:
            self.marked.append(run)
        else:
            return False
        return True


def load_view(home: Home, config: Config) -> ViewState:
    """The view as it was left, or as config.toml wants it; a file that makes no sense is passed over."""
    fresh = ViewState(
        charts=config.charts,
        options=Options(axis=config.x_axis, log_y=config.log_y, smoothing=config.smoothing),
    )
    try:
        view = msgspec.json.decode(home.view.read_bytes(), type=ViewState)
    except (OSError, msgspec.DecodeError):
        return fresh
    if view.sort not in ORDERS or not set(view.charts) <= METRICS.keys() or len(view.marked) > MOST_CURVES:
        return fresh
    return view


def save_view(home: Home, view: ViewState) -> None:
    """Write the view, from any thread; a home that is not writable is no error.

    The view is read once the lock is held, so a write that waited never replaces a newer view with an older one.
    """
    with _ONE_WRITER, contextlib.suppress(OSError):
        view.looked_at = time.time()
        write_atomically(home.view, msgspec.json.encode(view))
