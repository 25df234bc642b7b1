"""Adds run directories that are missing from the index, with their journals and status."""

from __future__ import annotations

import contextlib
import logging

from engine.index.database import DatabaseUnusable, IndexNotWritten
from engine.index.ingest import ingest
from engine.index.writer import Store
from engine.runs.directory import Labels, RunDirectory, WrongRun
from engine.runs.identity import Identity
from engine.runs.journal import WorkerStart
from engine.runs.launcher import Launcher
from engine.runs.run import Run, RunStatus
from engine.scheduler.isolation import reason
from engine.scheduler.labels import Labelling
from engine.scheduler.outcomes import finish, lose, rest
from engine.spec.devices import CPU

log = logging.getLogger(__name__)


def complete(store: Store, directory: RunDirectory, offset: int) -> None:
    """Read the part of a journal that a killed engine had not read yet, for a run without a worker."""
    directory.check_files()
    with contextlib.suppress(FileNotFoundError):
        if directory.journal.stat().st_size > offset:
            directory.check_own()
            ingest(store, directory)


def enter_run(
    store: Store, launcher: Launcher, directory: RunDirectory, *, kind: str, text: str
) -> tuple[bool, WorkerStart | None]:
    """Add a run with its journal, and an event that records this.

    Args:
        directory: Run directory from an interrupted request, a lost database or another home.
        kind: Kind of the event.
        text: Text of the event.

    Returns:
        Whether a worker holds it, and the newest line of its journal that names a worker's device.

    Raises:
        OSError: a file cannot be read. If the spec can, the run is listed nevertheless.
        DepthscopeError: the spec is missing or invalid.
    """
    if directory.is_unfinished():
        log.warning("skipped %s: it has no spec.json and no results", directory.id)
        return False, None
    identity = directory.read_identity()
    try:
        directory.check_files()
        directory.check_own(identity)
        labels, alive = directory.read_labels(), launcher.is_alive(directory)
        # In one transaction: a run that is queued even for an instant would be trained again.
        with store.transaction():
            store.add_run(directory.id, identity.spec, labels, origin=identity.origin)
            establish(store, directory, labels, alive=alive)
            store.add_event(directory.id, kind, text)
            # It ended under another index or on another machine, so no hook runs.
            store.forget_ends([directory.id])
        return alive, ingest(store, directory)
    except WrongRun as error:
        # Not a run of this home: `ls` and `doctor` find it by themselves.
        log.warning("skipped a run directory: %s", error)
        return False, None
    except (DatabaseUnusable, IndexNotWritten):
        raise
    except Exception as error:
        enter_unreadable(store, directory, identity, reason(directory, error))
        raise


def establish_again(store: Store, launcher: Launcher, directory: RunDirectory, run: Run, labelling: Labelling) -> None:
    """Bring a run up to date whose directory was unreadable.

    Raises:
        OSError: a file cannot be read.
        DepthscopeError: the spec is missing or invalid.
    """
    if not directory.path.exists():
        # Moved away, as the message suggests.
        if not run.is_finished:
            with store.transaction():
                lose(store, run.id, f"its run directory is gone: {directory.path}")
        return
    directory.check_files()
    directory.check_own()
    alive = launcher.is_alive(directory)
    if not run.is_finished and run.status is not RunStatus.RUNNING:
        labels = labelling.read(run.id)
        with store.transaction():
            store.set_labels(run.id, labels)
            establish(store, directory, labels, alive=alive)
    ingest(store, directory)


def establish(store: Store, directory: RunDirectory, labels: Labels, *, alive: bool) -> None:
    """Set the status of a run to what its files say, in the caller's transaction."""
    record = directory.read_exit(labels.assigned)
    if alive:
        store.set_running(directory.id, CPU.name, started_at=labels.created_at)
    elif record is not None and record.reason.is_final:
        finish(store, directory.id, record)
    else:
        rest(store, directory.id, labels.intent, add_event=False)


def enter_unreadable(store: Store, directory: RunDirectory, identity: Identity, why: str) -> None:
    """Add a run of which only the spec can be read, so that it is listed; it is not started until all can be read."""
    try:
        labels = directory.read_labels()
    except OSError:
        labels = directory.default_labels()
    with store.transaction():
        store.add_run(directory.id, identity.spec, labels, origin=identity.origin)
        store.set_unreadable(directory.id, why)


def is_assigned_alive(directory: RunDirectory) -> bool:
    """Whether the worker that the labels name lives, if run.lock cannot be read; False if they cannot, either."""
    try:
        return directory.assigned_process() is not None
    except OSError:
        return False
