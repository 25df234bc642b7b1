"""What may change about runs: changed in the index first, so that a request changes all the runs it names or none.

A file cannot be taken back with a transaction. So new labels stand in the index beside the change that they belong to,
and labels.json follows the commit: at once where all is well, from the next engine where this one was killed between.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import msgspec

from engine.base.errors import UsageError
from engine.base.paths import Home
from engine.index.writer import Store
from engine.runs.directory import Labels, RunDirectory


class RunDirectoryGone(UsageError, FileNotFoundError):
    """Somebody has deleted what a change is asked of.

    Args:
        directory: Of the run.
    """

    def __init__(self, directory: RunDirectory) -> None:
        run = directory.id
        super().__init__(
            f"the run directory of {run} is gone, and what was trained with it: `depthscope show {run}` has what was"
            " asked, for `depthscope train` to train it anew; `depthscope engine rebuild` takes it off the list"
        )


class Labelling:
    """The labels of a home's runs, as the index and their files have them.

    Args:
        home: Where run directories lie.
        store: The index; labels that a killed engine did not come to write are found in it.
    """

    def __init__(self, home: Home, store: Store) -> None:
        self._home = home
        self._store = store
        self._changed: dict[str, Labels] = {}
        """In the transaction under way, by run id."""
        self._behind_commit: list[Callable[[], object]] = []
        self._unwritten: dict[str, Labels]
        self._written: set[str]
        """Runs that the index still calls unwritten; the next transaction corrects that, which saves one of its own."""

        self.begin_anew()

    def begin_anew(self) -> None:
        """Take over the labels that the index calls unwritten; again where another index has taken its place."""
        self._unwritten, self._written = self._store.unwritten_labels(), set()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All or nothing: of the index, of what is changed by `change`, and of what waits by `behind_commit`."""
        written = frozenset(self._written)
        try:
            with self._store.transaction():
                yield
                self._store.forget_unwritten_labels(written - self._changed.keys())
        except BaseException:
            self._changed.clear()
            self._behind_commit.clear()
            raise
        self._written -= written
        self._unwritten |= self._changed
        self._changed = {}
        behind, self._behind_commit = self._behind_commit, []
        for act in behind:
            act()

    def behind_commit(self, act: Callable[[], object]) -> None:
        """Do something that cannot be taken back once the transaction under way stands; not at all where it fails."""
        self._behind_commit.append(act)

    def read(self, run: str) -> Labels:
        """A run's labels, be they in their file yet or not.

        Raises:
            RunDirectoryGone: its directory is.
        """
        if (labels := self._changed.get(run) or self._unwritten.get(run)) is not None:
            return labels
        directory = RunDirectory(self._home.runs / run)
        try:
            return directory.read_labels()
        except FileNotFoundError as error:
            raise RunDirectoryGone(directory) from error

    def change(self, run: str, **changes: object) -> None:
        """Change labels, in the transaction under way.

        Raises:
            RunDirectoryGone: the run's directory is.
        """
        labels = msgspec.structs.replace(self.read(run), **changes)
        self._store.set_labels(run, labels)
        self._store.add_unwritten_labels(run, labels)
        self._changed[run] = labels

    @property
    def num_unwritten(self) -> int:
        """Runs whose labels.json is behind the index."""
        return len(self._unwritten)

    def write(self, *, at_most_seconds: float) -> None:
        """Bring files up to the index: one, and others while there is time.

        Raises:
            OSError: a file cannot be written; the index keeps what it should say.
        """
        deadline = time.monotonic() + at_most_seconds
        while self._unwritten:
            self.write_one(next(iter(self._unwritten)))
            if time.monotonic() >= deadline:
                return

    def write_one(self, run: str) -> None:
        """Bring one run's file up to the index, if it is behind.

        Raises:
            OSError: it cannot be written; the index keeps what it should say.
        """
        labels = self._unwritten.get(run)
        if labels is None:
            return
        directory = RunDirectory(self._home.runs / run)
        # Without its directory a run is lost, which is found out where the run is needed.
        if directory.path.exists():
            directory.write_labels(labels)
        del self._unwritten[run]
        self._written.add(run)
