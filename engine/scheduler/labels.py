"""Changeable properties of runs, changed in the index first so that a request affects all its runs or none.

Files cannot be rolled back with a transaction. So new labels are stored in the index in the same transaction as their
change, and labels.json is written after the commit, if need be by the next engine.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

import msgspec

from engine.base.errors import UsageError
from engine.base.paths import Home
from engine.index.writer import Store
from engine.runs.directory import Labels, RunDirectory
from engine.scheduler.isolation import Isolation


class RunDirectoryGone(UsageError, FileNotFoundError):
    """The run directory to change was deleted."""

    def __init__(self, directory: RunDirectory) -> None:
        run = directory.id
        super().__init__(
            f"the run directory of {run} is gone, with its results: `depthscope show {run}` still has its options for"
            " `depthscope train`; `depthscope engine rebuild` removes it from the list"
        )


class Labelling:
    """Labels of all runs of a home, in the index and in their files.

    Args:
        store: Index, which also keeps labels that a killed engine has not written to files.
        isolation: Unreadable runs, whose files are not written until they can be read.
    """

    def __init__(self, home: Home, store: Store, isolation: Isolation) -> None:
        self._home = home
        self._isolation = isolation
        self._store = store
        self._changed: dict[str, Labels] = {}
        """Changes in the current transaction, by run id."""
        self._after_commit: list[Callable[[], object]] = []
        self._unwritten: dict[str, Labels]
        self._written: set[str]
        """Runs still listed as unwritten in the index; the next transaction corrects this, saving one of its own."""

        self.load_unwritten()

    def load_unwritten(self) -> None:
        """Load the unwritten labels from the index, initially and after the index was replaced."""
        self._unwritten, self._written = self._store.unwritten_labels(), set()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Transaction over the index, changes by `change`, and actions registered by `after_commit`."""
        written = frozenset(self._written)
        try:
            with self._store.transaction():
                yield
                self._store.forget_unwritten_labels(written - self._changed.keys())
        except BaseException:
            self._changed.clear()
            self._after_commit.clear()
            raise
        self._written -= written
        self._unwritten |= self._changed
        self._changed = {}
        actions, self._after_commit = self._after_commit, []
        for act in actions:
            act()

    def after_commit(self, act: Callable[[], object]) -> None:
        """Register an irreversible action to run after the current transaction commits."""
        self._after_commit.append(act)

    def read(self, run: str) -> Labels:
        """Current labels of a run, even if not written to its file yet.

        Raises:
            RunDirectoryGone: the run directory was deleted.
            WrongRun: another run is in its place.
        """
        if (labels := self._changed.get(run) or self._unwritten.get(run)) is not None:
            return labels
        directory = RunDirectory(self._home.runs / run)
        try:
            labels = directory.read_labels()
        except FileNotFoundError as error:
            raise RunDirectoryGone(directory) from error
        if (wrong := directory.wrong_run()) is not None:
            raise wrong
        return labels

    def change(self, run: str, **changes: object) -> None:
        """Change labels in the current transaction.

        Raises:
            RunDirectoryGone: the run directory was deleted.
        """
        labels = msgspec.structs.replace(self.read(run), **changes)
        self._store.set_labels(run, labels)
        self._store.add_unwritten_labels(run, labels)
        self._changed[run] = labels

    def forget(self, runs: Iterable[str]) -> None:
        """Drop labels of deleted runs that were not written yet."""
        for run in runs:
            self._unwritten.pop(run, None)

    @property
    def num_unwritten(self) -> int:
        """Number of runs whose labels.json is out of date."""
        return len(self._unwritten)

    def write(self, *, at_most_seconds: float) -> bool:
        """Write at least one outdated file, and more while there is time; return whether time ran out.

        If a file cannot be written, the index keeps its contents for the next time.
        """
        deadline = time.monotonic() + at_most_seconds
        for run in [run for run in self._unwritten if run not in self._isolation]:
            if not self._isolation.attempt(run, RunDirectory(self._home.runs / run).check_files):
                continue
            try:
                self.write_one(run)
            except OSError as error:
                self._isolation.note_trouble("labels", error)
                return False
            if time.monotonic() >= deadline:
                return bool(self._unwritten)
        self._isolation.forget_trouble("labels")
        return False

    def write_one(self, run: str) -> None:
        """Write one run's file if it is out of date.

        Raises:
            OSError: the file cannot be written; the index keeps its contents.
        """
        labels = self._unwritten.get(run)
        if labels is None:
            return
        directory = RunDirectory(self._home.runs / run)
        # A run without its directory is lost, which is noticed when the run is next used.
        if directory.path.exists() and directory.wrong_run() is None:
            directory.write_labels(labels)
        del self._unwritten[run]
        self._written.add(run)
