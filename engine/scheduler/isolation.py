"""Isolation of run directories: whatever goes wrong with one marks it as unreadable, and the rest go on."""

from __future__ import annotations

import errno
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass

from engine.base.errors import FULL, DepthscopeError
from engine.base.paths import Home
from engine.base.regular_files import OddFile
from engine.index.database import DatabaseUnusable, IndexNotWritten
from engine.index.queries import RunUnknown
from engine.index.writer import Store
from engine.runs.directory import RunDirectory, WrongRun

log = logging.getLogger(__name__)

OF_THE_MACHINE = FULL | {errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EAGAIN}
"""Errors that say nothing about the run directory in which they occur."""
SECONDS_BETWEEN_TRIES = 60.0
"""Time after which an unreadable directory is tried again although none of its files has changed."""


@dataclass(frozen=True, slots=True)
class Mark:
    """An unreadable run directory."""

    why: str
    looks: tuple[object, ...]
    """What its files looked like: it is tried again when they change."""
    at: float
    """Monotonic time of the last try."""


class Isolation:
    """Run directories that cannot be read, each with the reason, in the index and here.

    Args:
        when_not_written: Called with a run when the index could not be written for it.
    """

    def __init__(self, home: Home, store: Store, when_not_written: Callable[[str], object]) -> None:
        self._home = home
        self._store = store
        self._when_not_written = when_not_written
        self._marks: dict[str, Mark] = {}
        """By name of the directory."""
        self._trouble: dict[str, str] = {}
        """Last passing error of each run, so that it is logged only once."""

    def __contains__(self, name: str) -> bool:
        return name in self._marks

    def __len__(self) -> int:
        return len(self._marks)

    @property
    def sentence(self) -> str | None:
        """How many run directories are unreadable, in one line; None if all can be read."""
        if not self._marks:
            return None
        what = "1 run directory is" if len(self._marks) == 1 else f"{len(self._marks)} run directories are"
        return f"{what} unreadable: `depthscope doctor` says why and what to do"

    def begin(self) -> None:
        """Forget what an earlier engine or index found unreadable outside the index's runs; all of it is read again."""
        self._marks.clear()
        self._trouble.clear()
        if self._store.has_unreadable():
            with self._store.transaction():
                self._store.forget_unreadable()

    def attempt(self, name: str, act: Callable[[], object]) -> bool:
        """Do something with a run directory, and mark it as unreadable if that fails; return whether it succeeded.

        Raises:
            DatabaseUnusable: the index is damaged, which says nothing about the run.
        """
        try:
            act()
        except DatabaseUnusable:
            raise
        except (IndexNotWritten, RunUnknown, MemoryError) as error:
            self.note_trouble(name, error)
        except Exception as error:
            # Without runs/, as for an unmounted file system, nothing can be said about a run.
            if (isinstance(error, OSError) and error.errno in OF_THE_MACHINE) or not self._home.runs.exists():
                self.note_trouble(name, error)
            else:
                self.mark(name, error)
        else:
            return True
        return False

    def note_trouble(self, name: str, error: Exception) -> None:
        """Log a passing problem, once for each new one; the next tick tries again."""
        if isinstance(error, IndexNotWritten):
            self._when_not_written(name)
        text = f"{type(error).__name__}: {error}"
        if self._trouble.get(name) != text:
            self._trouble[name] = text
            log.error("%s: %s", printable(name), text)

    def forget_trouble(self, name: str) -> None:
        self._trouble.pop(name, None)

    def mark(self, name: str, error: Exception) -> None:
        """Mark a run directory as unreadable; a new reason is logged with its traceback."""
        directory = RunDirectory(self._home.runs / name)
        why = reason(directory, error)
        before = self._marks.get(name)
        self._marks[name] = Mark(why, directory.looks(), time.monotonic())
        if before is None or before.why != why:
            log.error("%s is unreadable: %s", printable(name), why, exc_info=error)
        try:
            with self._store.transaction():
                self._store.set_unreadable(printable(name), why)
        except IndexNotWritten as failure:
            self.note_trouble(name, failure)

    def clear(self, name: str) -> None:
        """Remove the mark of a run directory that can be read again."""
        mark = self._marks.pop(name, None)
        if mark is not None:
            log.info("%s is readable again", printable(name))
        with self._store.transaction():
            self._store.set_readable(printable(name))

    def due(self) -> list[str]:
        """Names of unreadable directories to try again now: those that have changed, and once a minute all."""
        now = time.monotonic()
        return [
            name
            for name, mark in self._marks.items()
            if now - mark.at > SECONDS_BETWEEN_TRIES or RunDirectory(self._home.runs / name).looks() != mark.looks
        ]


def reason(directory: RunDirectory, error: Exception) -> str:
    """Why a run directory is unreadable and what to do, in one line of valid text."""
    if isinstance(error, OddFile | WrongRun):
        text = str(error)
    else:
        what = str(error) if isinstance(error, DepthscopeError | OSError) else f"{type(error).__name__}: {error}"
        text = f"{what}: restore the file, or move {directory.path} out of {directory.path.parent}"
    return printable(" ".join(text.split()))


def printable(text: str) -> str:
    """Text that can be stored and printed: bytes of a name that are not UTF-8 are escaped."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
