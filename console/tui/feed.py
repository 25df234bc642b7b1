"""Changes of the database as messages: one look reads what is past the last revision and past the last rows.

A look costs next to nothing where nothing was committed. It is made by one timer of the app; what it finds goes to the
screens as messages, of which a later one replaces an earlier one that nobody has read yet.
"""

from __future__ import annotations

from collections.abc import Iterable
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
"""Most that the first look reads beside those that are wanted, and each later one of what is left."""
RUNS_CHANGED_LAST = 100
"""Read at first too: what has ended while nobody looked is told with the first frame."""
READ_PATIENCE_SECONDS = 0.02
"""A look that would wait longer for a locked database gives up, says so, and is made again."""


class RunsChanged(Message):
    """Runs were added, removed, or stand elsewhere than before."""

    def can_replace(self, message: Message) -> bool:
        return isinstance(message, RunsChanged)


class CurvesChanged(Message):
    """There are new numbers of a run that somebody watches."""

    def can_replace(self, message: Message) -> bool:
        return isinstance(message, CurvesChanged)


@dataclass(frozen=True, slots=True)
class News:
    """What a look found."""

    runs: bool
    curves: bool
    finished: tuple[Run, ...] = ()
    """Runs that were seen before, and have ended since."""


class Feed:
    """What the index says, kept up to date.

    Args:
        home: Whose index.
        first: Ids of runs that are among the first read, wherever they stand.
    """

    def __init__(self, home: Home, *, first: Iterable[str] = ()) -> None:
        self._home = home
        self._first = frozenset(first)
        self._unread_before: tuple[int, str] | None = None
        """Position and id of the oldest run read so far, where older ones are to be read yet; None where none are."""
        self._reader: Reader | None = None
        self._identity: tuple[int, int] | None = None
        self._version: Version | None = None
        self._revision = 0
        self._runs: dict[str, Run] = {}
        self._histories: dict[str, History] = {}
        self._watched: frozenset[str] = frozenset()

    @property
    def runs(self) -> dict[str, Run]:
        """Every run that is not removed, by id, in order of submission; of very many the newest, at first."""
        return self._runs

    def history(self, run: str) -> History:
        """The numbers of a watched run; empty before they were read."""
        return self._histories.get(run, History())

    def watch(self, runs: Iterable[str]) -> bool:
        """Say whose numbers are wanted; reads those that were not watched before, and says whether there are any."""
        self._watched = frozenset(runs)
        for run in self._histories.keys() - self._watched:
            del self._histories[run]
        return self._read_curves(self._watched - self._histories.keys())

    def events(self, run: str) -> list[EventRow]:
        """What happened to a run, oldest first."""
        return [] if self._reader is None else self._reader.events(run)

    def gradients(self, run: str, *, after: int = -1) -> list[Gradients]:
        """Norms of a run's layers behind an epoch, 0 being the initialisation."""
        return [] if self._reader is None else self._reader.gradients(run, after=after)

    def layer_ranges(self, experiment: str) -> dict[str, tuple[float, float]]:
        """Between which numbers the layers of all runs of an experiment are, by field of LayerGradients."""
        return {} if self._reader is None else self._reader.layer_ranges(experiment)

    def look(self) -> News:
        """Read what was committed since the last look.

        Raises:
            DepthscopeError: the database cannot be read just now; what was read before still stands.
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
        curves = self._read_curves(self._watched & {run.id for run in changed})
        # Only now, so that a look which failed half way is made again.
        self._version = version
        return News(runs=bool(changed), curves=curves, finished=tuple(finished))

    def _begin(self, reader: Reader) -> list[Run]:
        """Read what is wanted first: the first frame does not wait for ten thousand runs."""
        # Before the runs: what changes meanwhile is read again, and nothing is missed.
        self._revision = reader.newest_revision()
        newest = self._read_older(reader, RUNS_AT_FIRST)
        standing = [
            run for run in reader.standing_runs(self._first, num_changed=RUNS_CHANGED_LAST) if run.id not in self._runs
        ]
        self._runs = {run.id: run for run in standing} | self._runs
        return [*standing, *newest]

    def _read_older(self, reader: Reader, limit: int) -> list[Run]:
        """Read the next runs behind those that were read so far, and put them before these."""
        older = reader.runs_before(self._unread_before, limit=limit)
        # A run that has changed since stands here as it is now.
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
                found |= self._histories.setdefault(run, History()).read(self._reader, self._runs[run])
        return found

    def _open(self) -> bool:
        """Open the database, or another that has taken its place; False where there is none yet."""
        try:
            status = self._home.database.stat()
            identity = (status.st_dev, status.st_ino)
        except FileNotFoundError:
            return False
        except OSError as error:
            raise UsageError(f"{self._home.database} cannot be read: {error.strerror}") from error
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


def trouble_words(error: DepthscopeError) -> str:
    """What a banner says of a database that cannot be read."""
    return f"database locked: {error}" if isinstance(error, IndexLocked) else str(error)
