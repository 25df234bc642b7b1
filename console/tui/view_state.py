"""View of the home screen, saved in the home so that the next console starts with it."""

from __future__ import annotations

import contextlib
import threading
import time

import msgspec

from console.charts.metrics import METRICS
from console.charts.styles import Options
from console.text.columns import ORDERS
from console.tui.config import Config
from engine.base.decoding import Moment, Real, decode_json
from engine.base.paths import Home, write_atomically
from engine.base.regular_files import read_regular

_ONE_WRITER = threading.Lock()
"""Serialises background saves and the final one, which share a temporary file."""


class ViewState(msgspec.Struct, kw_only=True):
    """Arrangement of the home screen."""

    marked: list[str] = []
    """Run ids in the order they were marked."""
    cursor: str | None = None
    sort: str = ORDERS[0]
    backwards: bool = False
    grouped: bool = True
    filter: str = ""
    charts: tuple[str, str] = ("train-loss", "test-error")
    options: Options = Options()
    crosshair: Real | None = None
    summary: bool | None = None
    """Whether the summary of the experiment is shown; None decides by the size of the terminal."""
    looked_at: Moment | None = None
    """When the console was last open, in seconds since 1970; None before the first time."""

    def toggle_mark(self, run: str) -> None:
        """Mark or unmark a run."""
        if run in self.marked:
            self.marked.remove(run)
        else:
            self.marked.append(run)


def load_view(home: Home, config: Config) -> ViewState:
    """Load the saved view; if it is missing or invalid, use the defaults from config.toml."""
    fresh = ViewState(
        charts=config.charts,
        options=Options(axis=config.x_axis, log_y=config.log_y, smoothing=config.smoothing),
    )
    try:
        view = decode_json(read_regular(home.view), ViewState)
    except (OSError, msgspec.DecodeError):
        return fresh
    if view.sort not in ORDERS or not set(view.charts) <= METRICS.keys():
        return fresh
    return view


def save_view(home: Home, view: ViewState) -> None:
    """Save the view, from any thread; an unwritable home is not an error.

    The view is read while holding the lock, so a delayed save never overwrites a newer view with an older one.
    """
    with _ONE_WRITER, contextlib.suppress(OSError):
        view.looked_at = time.time()
        write_atomically(home.view, msgspec.json.encode(view))
