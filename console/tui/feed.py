"""Changes of the database as messages: each look reads what is newer than the last revision and the last rows.

A timer of the app looks regularly, which costs almost nothing if nothing was committed. Changes reach the screens as
messages; a newer message replaces an unread older one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from textual.message import Message

from console.charts.metrics import History
from engine.base.errors import DepthscopeError, UsageError
from engine.base.paths import Home
from engine.index.database import IndexLocked
from engine.index.queries import Reader
from engine.index.reader import Version
from engine.runs.journal import Gradients
from engine.runs.run import EventRow, Run

RUNS_AT_FIRST, RUNS_A_LOOK = 500, 2500
"""Most runs read by the first look, besides those requested, and by each later look until all are read."""
RUNS_CHANGED_LAST = 100
"""Most recently changed runs, also read first, so that the first frame shows what finished meanwhile."""
READ_PATIENCE_SECONDS = 0.02
"""Longest wait for a locked database before a look gives up; the next look tries again."""
ROWS_A_SLICE = 2000
"""Rows of newly watched runs after which a slice ends: some ten milliseconds of work."""


class RunsChanged(Message):
    """Runs were added, removed or changed."""

    def can_replace(self, message: Message) -> bool:
        return isinstance(message, RunsChanged)


class CurvesChanged(Message):
    """A watched run has new metrics."""

    def can_replace(self, message: Message) -> bool:
        return isinstance(message, CurvesChanged)


@dataclass(frozen=True, slots=True)
class News:
    """Changes found by a look."""

    runs: bool
    curves: bool
    finished: tuple[Run, ...] = ()
    """Known runs that have finished since the last look."""


class Feed:
    """Runs and metrics from the index, kept up to date.

    Args:
        home: Home with the index.
        first: Ids of runs to read first, wherever they are in the list.
    """

    def __init__(self, home: Home, *, first: Iterable[str] = ()) -> None:
        self._home = home
        self._first = frozenset(first)
        self._unread_before: tuple[int, str] | None = None
        """Position and id of the oldest run read so far; None once all are read."""
        self._reader: Reader | None = None
        self._identity: tuple[int, int] | None = None
        self._version: Version | None = None
        self._revision = 0
        self._runs: dict[str, Run] = {}
        self._histories: dict[str, History] = {}
        self._watched: dict[str, None] = {}
        """Ids of the watched runs, in the order in which they are read."""

    @property
    def runs(self) -> dict[str, Run]:
        """All runs that are not hidden, by id, in order of submission; at first perhaps only the newest."""
        return self._runs

    def history(self, run: str) -> History:
        """Metrics of a watched run; empty until read."""
        return self._histories.get(run, History())

    def watch(self, runs: Iterable[str]) -> None:
        """Choose the runs to watch, and read a first slice of metrics of newly watched ones: of a few runs, all."""
        self._watched = dict.fromkeys(runs)
        for run in self._histories.keys() - self._watched.keys():
            del self._histories[run]
        self.read_slice()

    @property
    def has_unread(self) -> bool:
        """Whether metrics of watched runs are still to be read."""
        return next(self._unread(), None) is not None

    def read_slice(self) -> None:
        """Read metrics of the next watched runs that have not been read, as many as take no noticeable time.

        Raises:
            DepthscopeError: the database cannot be read now; what was read before stays valid.
        """
        num_rows = 0
        for run in list(self._unread()):
            self._read_curves([run])
            num_rows += self._histories[run].num_rows
            if num_rows >= ROWS_A_SLICE:
                return

    def _unread(self) -> Iterator[str]:
        if self._reader is not None:
            yield from (run for run in self._watched if run not in self._histories and run in self._runs)

    def events(self, run: str) -> list[EventRow]:
        """Events of a run, oldest first."""
        return [] if self._reader is None else self._reader.events(run)

    def gradients(self, run: str, *, after: int = -1) -> list[Gradients]:
        """Layer norms of a run after a given epoch; epoch 0 is the initialisation."""
        return [] if self._reader is None else self._reader.gradients(run, after=after)

    def layer_ranges(self, experiment: str) -> dict[str, tuple[float, float]]:
        """Range of each layer metric over all runs of an experiment, by field of LayerGradients."""
        return {} if self._reader is None else self._reader.layer_ranges(experiment)

    def look(self) -> News:
        """Read what was committed since the last look.

        Raises:
            DepthscopeError: the database cannot be read now; what was read before stays valid.
        """
        if not self._open():
            return News(runs=False, curves=False)
        assert self._reader is not None, "an open feed has a reader"
        version = self._reader.data_version()
        if version == self._version:
            older = self._read_older(self._reader, RUNS_A_LOOK) if self._unread_before is not None else []
            return News(runs=bool(older), curves=False)
        if self._version is None:
            changed = self._begin(self._reader)
        else:
            changed, self._revision = self._reader.changed_runs(after=self._revision)
        finished = []
        for run in changed:
            before = self._runs.get(run.id)
            if run.is_finished and before is not None and not before.is_finished:
                finished.append(run)
            if run.deleted_at is None:
                self._runs[run.id] = run
            else:
                self._runs.pop(run.id, None)
        # Those not yet read follow in slices.
        curves = self._read_curves(run.id for run in changed if run.id in self._histories)
        # Set last, so that a look that failed halfway is repeated.
        self._version = version
        return News(runs=bool(changed), curves=curves, finished=tuple(finished))

    def _begin(self, reader: Reader) -> list[Run]:
        """Read the most important runs first, so that the first frame does not wait for ten thousand."""
        # Read before the runs, so that nothing that changes meanwhile is missed.
        self._revision = reader.newest_revision()
        newest = self._read_older(reader, RUNS_AT_FIRST)
        standing = [
            run for run in reader.standing_runs(self._first, num_changed=RUNS_CHANGED_LAST) if run.id not in self._runs
        ]
        self._runs = {run.id: run for run in standing} | self._runs
        return [*standing, *newest]

    def _read_older(self, reader: Reader, limit: int) -> list[Run]:
        """Read the next older runs and insert them before those read so far."""
        older = reader.runs_before(self._unread_before, limit=limit)
        # Runs read before are newer versions and take precedence.
        self._runs = {run.id: run for run in reversed(older)} | self._runs
        self._unread_before = (older[-1].position, older[-1].id) if len(older) == limit else None
        return older

    def close(self) -> None:
        if self._reader is not None:
            self._reader.close()
            self._reader = None

    def _read_curves(self, runs: Iterable[str]) -> bool:
        found = False
        for run in runs:
            if self._reader is not None and run in self._runs:
                history = self._histories.get(run) or History()
                found |= history.read(self._reader, self._runs[run])
                self._histories[run] = history
        return found

    def _open(self) -> bool:
        """Open the database, or reopen it if the file was replaced; False if there is none yet."""
        try:
            status = self._home.database.stat()
            identity = (status.st_dev, status.st_ino)
        except FileNotFoundError:
            return False
        except OSError as error:
            raise UsageError(f"cannot read {self._home.database}: {error.strerror}") from error
        if self._reader is not None and identity == self._identity:
            return True
        self.close()
        reader = Reader(self._home.database, patience_seconds=READ_PATIENCE_SECONDS)
        if not reader.is_open:
            return False
        self._reader, self._identity = reader, identity
        self._version, self._revision, self._unread_before = None, 0, None
        self._runs, self._histories = {}, {}
        return True


def trouble_text(error: DepthscopeError) -> str:
    """Banner text for a database that cannot be read."""
    return f"database locked: {error}" if isinstance(error, IndexLocked) else str(error)
