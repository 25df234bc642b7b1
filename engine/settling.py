"""Where a run stands once it has no worker any more: what was left behind decides, and what was wanted of it."""

from __future__ import annotations

import time
from typing import assert_never

from engine.run import DISK_FULL, Intent, RunOutcome, RunStatus
from engine.run_directory import ExitReason, ExitRecord, RunDirectory
from engine.storage import FULL_BELOW_BYTES, trouble_now
from engine.store import Store

MAX_CRASHES = 3
"""In a row, with no new checkpoint in between; then a run has failed."""


def finish(store: Store, run: str, record: ExitRecord) -> RunOutcome:
    """A worker came to an end of its own, in the caller's transaction."""
    outcome = RunOutcome(record.reason.value)
    store.set_status(run, RunStatus.FINISHED, outcome=outcome, error=record.error, finished_at=record.at)
    return outcome


def rest(store: Store, run: str, intent: Intent, *, told: bool = True) -> None:
    """Put a run without a worker where it belongs by what is wanted of it, in the caller's transaction.

    Args:
        store: The index.
        run: Whose worker is gone, or never was.
        intent: What is wanted of it.
        told: Whether that is something that has happened to it now.
    """
    match intent:
        case Intent.RUN:
            store.set_status(run, RunStatus.QUEUED)
            event = "queued", ""
        case Intent.PAUSE:
            store.set_status(run, RunStatus.PAUSED)
            event = "paused", ""
        case Intent.STOP:
            store.set_status(run, RunStatus.FINISHED, outcome=RunOutcome.CANCELLED, finished_at=time.time())
            event = "finished", "cancelled"
        case _:
            assert_never(intent)
    if told:
        store.add_event(run, *event)


def wait_for_disk(store: Store, run: str, trouble: str) -> None:
    """Let a run rest that is to go on by itself when the disk takes what it writes, in the caller's transaction."""
    store.set_status(run, RunStatus.PAUSED, error=trouble)
    store.add_event(run, "paused", trouble)


def disk_trouble(directory: RunDirectory, record: ExitRecord | None, status: str | None) -> str | None:
    """What a worker that is gone says of the disk, or what shows that it could not even write that; else None.

    Args:
        directory: Of its run.
        record: What it left behind.
        status: How it ended, in words; None where that cannot be known.
    """
    if record is not None:
        return (record.error or DISK_FULL) if record.reason is ExitReason.DISK else None
    if status is not None and status.startswith("killed"):
        return None
    try:
        return trouble_now(directory.path, FULL_BELOW_BYTES)
    except OSError:
        return None


def settle_crash(store: Store, directory: RunDirectory, status: str, *, step: int) -> None:
    """Queue a crashed run again, unless it keeps crashing without getting any further; in the caller's transaction.

    Args:
        store: The index.
        directory: Of the run.
        status: How its worker ended, in words.
        step: Where the run stands.
    """
    run = directory.id
    crashes, crash_step, checkpoint_step = store.crashes(run)
    crashes = crashes + 1 if crash_step == checkpoint_step else 1
    store.set_crashes(run, crashes, checkpoint_step)
    store.add_event(run, "crashed", f"its worker {status}")
    if crashes < MAX_CRASHES:
        rest(store, run, Intent.RUN)
        return
    error = f"its worker {status}, {crashes} times without a new checkpoint in between"
    error_and_log = f"{error}\n{directory.log_tail()}".strip()
    # The worker could not say how it ended; without this the run would begin again if the index were lost.
    directory.write_exit(ExitReason.FAILED, step=step, error=error_and_log)
    store.set_status(run, RunStatus.FINISHED, outcome=RunOutcome.FAILED, error=error_and_log, finished_at=time.time())
    store.add_event(run, "finished", f"failed: {error}")


def lose(store: Store, run: str, error: str) -> None:
    """A run whose directory is gone cannot go on, and stands in nobody's way; in the caller's transaction."""
    store.set_status(run, RunStatus.FINISHED, outcome=RunOutcome.LOST, error=error, finished_at=time.time())
    store.add_event(run, "finished", f"lost: {error}")
