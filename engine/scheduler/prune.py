"""Deletion for good: hidden runs, and checkpoints of succeeded runs.

A hidden run is moved out of `runs/` first. From there the next engine completes its deletion if this one is killed: the
directory stays, empty, until the index has forgotten the run.
"""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from engine.base.errors import UsageError
from engine.base.locks import lock
from engine.base.paths import Home, create_private_directory, sync_directory
from engine.control.protocol import Done, Prune, encode
from engine.index.database import IndexNotWritten
from engine.index.writer import Store
from engine.runs.directory import RunDirectory
from engine.runs.usage import delete_spent_checkpoints

if TYPE_CHECKING:
    from engine.scheduler.supervisor import Supervisor

log = logging.getLogger(__name__)


def prune(request: Prune, supervisor: Supervisor) -> Done:
    """Delete hidden runs, and checkpoints of succeeded runs; refuse all if one may not be deleted.

    Raises:
        UsageError: a run was restored or resumed meanwhile, or someone holds its lock; nothing was deleted.
        OSError: a file cannot be deleted; what is left can be pruned again.
    """
    known = supervisor.store.known_ids()
    # Unknown ones were deleted by an engine that was killed before it answered.
    hidden = [run for run in dict.fromkeys(request.hidden) if run in known]
    spent = [run for run in dict.fromkeys(request.checkpoints) if run in known and run not in hidden]
    for run in (*hidden, *spent):
        check_deletable(run, supervisor, is_hidden=run in hidden)
    home = supervisor.home
    for run in spent:
        with held(supervisor.directory(run)):
            delete_spent_checkpoints(supervisor.directory(run))
    if hidden:
        create_private_directory(home.pruned)
    for run in hidden:
        with held(supervisor.directory(run)):
            set_aside(home, run)
    if hidden:
        # What is deleted must have left `runs/` for good, or a power cut could bring back a part of it.
        sync_directory(home.pruned)
        sync_directory(home.runs)
    delete_contents(home)
    reply = Done(id=request.id, runs=(*hidden, *spent))
    with supervisor.store.transaction():
        supervisor.store.forget_runs(hidden)
        supervisor.store.remember_answer(request.id, encode(reply))
    supervisor.labelling.forget(hidden)
    remove_directories(home)
    if hidden:
        supervisor.store.compact()
    return reply


def check_deletable(id: str, supervisor: Supervisor, *, is_hidden: bool) -> None:
    """Check that a run may lose its directory, if it is hidden, or else its checkpoints.

    Raises:
        UsageError: it may not.
    """
    run = supervisor.reader.run(id)
    if not run.is_finished:
        raise UsageError(f"{id} ({run.name}) is {run.status}: nothing was deleted")
    if is_hidden and run.deleted_at is None:
        raise UsageError(f"{id} ({run.name}) is no longer hidden: nothing was deleted")
    if not is_hidden and not run.succeeded:
        raise UsageError(f"{id} ({run.name}) {run.outcome}, so its checkpoints stay: nothing was deleted")
    directory = supervisor.directory(id)
    if (error := directory.wrong_run()) is not None:
        raise UsageError(f"{error}; nothing was deleted")
    with held(directory):
        pass


@contextmanager
def held(directory: RunDirectory) -> Iterator[None]:
    """Hold a run's lock, so that nobody trains or copies it; without a directory there is nothing to hold.

    Raises:
        UsageError: someone holds it.
    """
    try:
        descriptor = directory.open_lock()
    except FileNotFoundError:
        yield
        return
    try:
        if not lock(descriptor, patience_seconds=0):
            raise UsageError(f"{directory.path} is in use by a worker or an import: nothing was deleted")
        yield
    finally:
        os.close(descriptor)


def set_aside(home: Home, run: str) -> None:
    """Move a run directory out of `runs/`; what is no directory of ours, such as a link, is only unlinked."""
    path, target = home.runs / run, home.pruned / run
    with contextlib.suppress(FileNotFoundError):
        if path.is_symlink() or not path.is_dir():
            path.unlink()
            target.mkdir(mode=0o700, exist_ok=True)
        else:
            path.rename(target)


def set_aside_directories(home: Home) -> list[Path]:
    """Directories of runs being deleted."""
    try:
        return sorted(path for path in home.pruned.iterdir() if path.is_dir() and not path.is_symlink())
    except (FileNotFoundError, NotADirectoryError):
        return []


def delete_contents(home: Home) -> None:
    """Empty the directories of runs being deleted.

    Raises:
        OSError: a file cannot be deleted.
    """
    for path in set_aside_directories(home):
        for entry in list(os.scandir(path)):
            if entry.is_dir(follow_symlinks=False):
                shutil.rmtree(entry.path)
            else:
                Path(entry.path).unlink(missing_ok=True)


def remove_directories(home: Home) -> None:
    """Remove the empty directories of runs that the index has forgotten."""
    # One that is left behind is removed by the next engine.
    with contextlib.suppress(OSError):
        for path in set_aside_directories(home):
            path.rmdir()
        home.pruned.rmdir()


def complete_deletion(home: Home, store: Store) -> None:
    """Delete what a killed engine had begun to delete; if that fails, the next engine tries again."""
    runs = [path.name for path in set_aside_directories(home)]
    if not runs:
        return
    try:
        # First, because a full disk may have no room for the transaction.
        delete_contents(home)
        with store.transaction():
            store.forget_runs(runs)
    except (OSError, IndexNotWritten) as error:
        log.warning("cannot finish deleting %s: %s", ", ".join(runs), error)
    else:
        remove_directories(home)
