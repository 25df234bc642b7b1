"""What a new engine finds: run directories that the index does not know, and workers that outlived the last one."""

from __future__ import annotations

import logging
import time
from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

from engine.base.errors import DepthscopeError
from engine.base.paths import Home
from engine.index.database import DatabaseUnusable, IndexNotWritten
from engine.index.ingest import ingest
from engine.index.queries import Reader
from engine.index.writer import Store
from engine.runs.directory import Labels, RunDirectory
from engine.runs.journal import Resumed, Started
from engine.runs.launcher import Launcher
from engine.runs.run import Intent, Run, RunStatus
from engine.scheduler.labels import Labelling
from engine.scheduler.outcomes import finish, rest
from engine.spec.devices import CPU
from engine.spec.run import RunSpec
from models.catalog import ModelSpec

log = logging.getLogger(__name__)


@dataclass(slots=True)
class Worker:
    """A worker that lives, or did when it was last looked at."""

    device: str
    model: ModelSpec
    first_step: int
    """Where its run stood when we first saw it; what it needs in memory it has once the run stands further."""
    began: float | None = None
    """When we started it, by the monotonic clock; None of one that we have found."""


class Recovery:
    """A part of the supervisor."""

    home: Home
    store: Store
    reader: Reader
    labelling: Labelling
    _launcher: Launcher
    _running: dict[str, Worker]
    _stop_asked_at: dict[str, float]
    _ends: dict[str, tuple[str | None, str | None]]
    _trouble: dict[str, str]

    def recover(self, tell_progress: Callable[[], None] = lambda: None) -> None:
        """Bring the index up to what the run directories say, and take over the workers that live.

        Args:
            tell_progress: Called behind each run directory that the index did not know; there may be ten thousand.
        """
        self.write_labels()
        known = self.store.known_ids()
        with self.store.built_again():
            for path in sorted(self.home.runs.iterdir()):
                if path.is_dir() and path.name not in known:
                    self.enter(RunDirectory(path))
                    tell_progress()
        for run in self.reader.unfinished_runs():
            if run.status is not RunStatus.RUNNING:
                continue
            if run.id not in self._running:
                self._take_over(run, None)
            if run.intent is not Intent.RUN:
                # Acknowledged by an engine that did not live to ask the worker.
                self._stop_asked_at[run.id] = time.monotonic()
            if self._launcher.is_alive(self.directory(run.id)):
                try:
                    with self.store.transaction():
                        self.store.add_event(run.id, "adopted", "by an engine that was started after its worker")
                except IndexNotWritten as error:
                    self._note_trouble(run.id, error)
        self.tick()

    def rebuild(self) -> str:
        """Put the index aside and build it anew from the run directories; returns what the old one is called now."""
        self.reader.close()
        kept = self.store.begin_anew()
        self.reader.refresh()
        self.labelling = Labelling(self.home, self.store)
        # Workers that live are found again by their locks.
        self._running.clear()
        self._ends.clear()
        self._trouble.clear()
        self.recover()
        return kept.name

    def enter(self, directory: RunDirectory, kind: str = "recovered", text: str = "from its run directory") -> None:
        """Enter a run directory that the index does not know, and the event that tells of it.

        One of an interrupted request or a lost database; or of another home, brought here.
        """
        try:
            spec, labels = directory.read_spec(), directory.read_labels()
        except (OSError, DepthscopeError) as error:
            log.warning("passed over: %s", error)
            return
        alive = self._launcher.is_alive(directory)
        said = enter(self.store, directory, spec, labels, alive=alive, kind=kind, text=text)
        if alive:
            self._take_over(self.reader.run(directory.id), said)

    def _take_over(self, run: Run, said: Started | Resumed | None) -> None:
        """Count the worker of another engine where it is, before anything is started beside it."""
        self._running[run.id] = Worker(run.device or CPU.name, run.spec.model, run.step)
        try:
            # What its worker has written since the last engine comes before what this one has to say of it.
            self._locate(run.id, ingest(self.store, self.directory(run.id)) or said)
        except DatabaseUnusable:
            raise
        except (OSError, DepthscopeError) as error:
            self._note_trouble(run.id, error)

    @abstractmethod
    def directory(self, run: str) -> RunDirectory: ...

    @abstractmethod
    def tick(self) -> None: ...

    @abstractmethod
    def write_labels(self) -> bool: ...

    @abstractmethod
    def _locate(self, run: str, said: Started | Resumed | None) -> None: ...

    @abstractmethod
    def _note_trouble(self, run: str, error: Exception) -> None: ...


def enter(
    store: Store, directory: RunDirectory, spec: RunSpec, labels: Labels, *, alive: bool, kind: str, text: str
) -> Started | Resumed | None:
    """Enter a run with its journal, and the event that tells of it.

    Args:
        store: The index.
        directory: Of an interrupted request, a lost database, or another home.
        spec: As it stands there.
        labels: As they stand there.
        alive: Whether a worker holds it.
        kind: Of the event.
        text: Of the event.

    Returns:
        The newest line of its journal by which a worker says where it is.
    """
    record = directory.read_exit()
    # Entered and set where it stands at once: a run that is known and queued for an instant would be trained again.
    with store.transaction():
        store.add_run(directory.id, spec, labels)
        if alive:
            store.set_running(directory.id, CPU.name, started_at=labels.created_at)
        elif record is not None and record.reason.is_final:
            finish(store, directory.id, record)
        else:
            rest(store, directory.id, labels.intent, told=False)
    said = ingest(store, directory)
    with store.transaction():
        store.add_event(directory.id, kind, text)
        # It ended under another index, or on another machine.
        store.forget_ends([directory.id])
    return said
