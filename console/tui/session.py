"""Session shared by all screens: settings, view, runs, engine, and files saved for the user."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from textual.app import App
from textual.message import Message
from textual.timer import Timer

from console.text.formatting import supports_unicode
from console.tui.background import in_background
from console.tui.config import Config
from console.tui.engine_link import EngineLink, PulseChanged
from console.tui.feed import CurvesChanged, Feed, RunsChanged, trouble_text
from console.tui.notices import Notices
from console.tui.themes import curve_colours, heat_colours
from console.tui.view_state import load_view, save_view
from engine.base.errors import DepthscopeError
from engine.base.paths import Home, open_private
from engine.index.database import DatabaseUnusable
from engine.runs.run import Run

SECONDS_BEFORE_SAVING = 0.5
"""The view is written once the user pauses for this long."""
LEAST_COLUMNS, LEAST_LINES = 60, 16


class RunsEnded(Message):
    """Runs have finished while the console was open."""

    def __init__(self, runs: tuple[Run, ...]) -> None:
        super().__init__()
        self.runs = runs


class Session:
    """State of one console, from its first frame to its last.

    Args:
        app: Provides timers, workers, notifications and the theme.
        home: Home with the runs.
        config: The user's settings.
    """

    def __init__(self, app: App[Any], home: Home, config: Config) -> None:
        self.app = app
        self.home = home
        self.config = config
        self.view = load_view(home, config)
        self.away_since = self.view.looked_at
        self.feed = Feed(home, first=[*self.view.marked, *filter(None, [self.view.cursor])])
        self.engine = EngineLink(app, home, self.look)
        self.has_unicode = supports_unicode(sys.__stderr__ or sys.stderr)
        self.notices = Notices()
        self.removed: list[tuple[str, ...]] = []
        """Ids of the runs the user has hidden, one entry for each time, for undo."""
        self.submitted_after: int | None = None
        """Position of the newest run when this console submitted others, to which the cursor then goes."""
        self._index_trouble: str | None = None
        self._saving: Timer | None = None
        """Active while the view has unsaved changes."""

    # Appearance

    @property
    def has_colour(self) -> bool:
        return not self.app.no_color

    @property
    def curve_colours(self) -> tuple[int, ...]:
        return curve_colours(self.app.current_theme)

    @property
    def heat_colours(self) -> tuple[int, ...] | None:
        """Colours of a heat map from the smallest value to the largest; None without colour."""
        return heat_colours(self.app.current_theme) if self.has_colour else None

    # Reading

    def look(self) -> None:
        """Read what was committed since the last look, and notify the top screen."""
        try:
            news = self.feed.look()
        except DepthscopeError as error:
            self._cannot_read(error)
            return
        self._set_index_trouble(None)
        if news.runs:
            self.app.screen.post_message(RunsChanged())
        if news.finished:
            self.app.post_message(RunsEnded(news.finished))
        # Reading may have been given up while the index was locked.
        if news.curves or self.feed.has_unread:
            self.app.screen.post_message(CurvesChanged())

    def watch(self, runs: Iterable[str]) -> bool:
        """Choose the runs whose metrics are needed; return False if the index cannot be read now."""
        return self._tries(lambda: self.feed.watch(runs))

    def read_slice(self) -> bool:
        """Read the next metrics of watched runs; return False if the index cannot be read now."""
        return self._tries(self.feed.read_slice)

    def _tries(self, read: Callable[[], None]) -> bool:
        try:
            read()
        except DepthscopeError as error:
            self._cannot_read(error)
            return False
        return True

    def _cannot_read(self, error: DepthscopeError) -> None:
        self._set_index_trouble(trouble_text(error))
        if isinstance(error, DatabaseUnusable):
            self.engine.repair_index()

    def _set_index_trouble(self, text: str | None) -> None:
        if text != self._index_trouble:
            self._index_trouble = text
            self.app.screen.post_message(PulseChanged())

    def troubles(self) -> list[str]:
        """Current problems, one line each."""
        found, size = [self._index_trouble, self.engine.trouble], self.app.size
        if size.width < LEAST_COLUMNS or size.height < LEAST_LINES:
            found.append(f"terminal too small: {size.width}x{size.height}, at least {LEAST_COLUMNS}x{LEAST_LINES}")
        return [trouble for trouble in found if trouble is not None]

    # Writing

    def save_view_soon(self) -> None:
        """Save the view in the background after a pause without further changes."""
        if self._saving is not None:
            self._saving.stop()
        self._saving = self.app.set_timer(SECONDS_BEFORE_SAVING, self._save_view_in_background)

    def _save_view_in_background(self) -> None:
        self._saving = None
        self.app.run_worker(in_background(save_view, self.home, self.view))

    @property
    def is_view_unsaved(self) -> bool:
        """Whether the view has unsaved changes."""
        return self._saving is not None

    def save_view_now(self) -> None:
        """Save the view immediately."""
        if self._saving is not None:
            self._saving.stop()
            self._saving = None
        save_view(self.home, self.view)

    def save_text(self, name: str, text: str) -> Path | None:
        """Save a text file for the user and return its path; on failure, notify the user and return None."""
        path = self.home.saved_charts / name
        try:
            path.parent.mkdir(mode=0o700, exist_ok=True)
            with os.fdopen(open_private(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), "w", encoding="utf-8") as file:
                file.write(text + "\n")
        except OSError as error:
            self.app.notify(f"cannot write {path}: {error.strerror}", severity="error", markup=False)
            return None
        return path

    def copy(self, text: str, what: str) -> None:
        """Copy to the clipboard (OSC 52), and to a file as well, since many terminals block OSC 52."""
        self.app.copy_to_clipboard(text)
        path = self.save_text("copied.txt", text)
        where = f"; also in {path}" if path is not None else ""
        self.app.notify(f"{what} copied, if your terminal allows it{where}", markup=False)
