"""Where a run stands once it has no worker any more: what was left behind decides, and what was wanted of it."""

from __future__ import annotations

import time
from typing import assert_never

from engine.base.units import duration
from engine.index.writer import Store
from engine.runs.directory import ExitReason, ExitRecord, RunDirectory
from engine.runs.disk import FULL_BELOW_BYTES, trouble_now
from engine.runs.run import DISK_FULL, Intent, Run, RunOutcome, RunStatus

MAX_CRASHES = 3
"""In a row, with no new checkpoint in between; then a run has failed."""
LATE_SECONDS = 10.0
"""Behind a worker's last line, after which a crash that is noticed says so."""


def finish(store: Store, run: str, record: ExitRecord) -> RunOutcome:
    """A worker came to an end of its own, which is final, in the caller's transaction."""
    outcome = RunOutcome(record.reason.value)
    store.set_status(run, RunStatus.FINISHED, outcome=outcome, error=record.error, finished_at=record.at)
    return outcome


def rest(store: Store, run: str, intent: Intent, *, why: str = "", told: bool = True) -> None:
    """Put a run without a worker where it belongs by what is wanted of it, in the caller's transaction.

    Args:
        store: The index.
        run: Whose worker is gone, or never was.
        intent: What is wanted of it.
        why: It waits although it was to run; empty where what happened before says so.
        told: Whether that is something that has happened to it now.
    """
    match intent:
        case Intent.RUN:
            store.set_status(run, RunStatus.QUEUED)
            event = "queued", why
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


def settle(
    store: Store,
    directory: RunDirectory,
    run: Run,
    *,
    status: str | None,
    trouble: str | None,
    stopping: bool,
    leaving: bool,
    restarted: bool,
) -> RunOutcome | None:
    """Set a run whose worker is gone where it stands now, in the caller's transaction.

    Args:
        store: The index.
        directory: Of the run.
        run: As it stands in the index.
        status: How the worker ended, in words; None where that cannot be known.
        trouble: Of the disk, which it waits for now; None where there is none.
        stopping: Whether it was asked to leave.
        leaving: Whether the engine leaves too, and has asked it therefore.
        restarted: Whether the machine was started anew since the worker was.

    Returns:
        How the run ended; None where it has not.
    """
    if trouble is not None:
        wait_for_disk(store, run.id, trouble)
        return None
    record = directory.read_exit()
    if record is not None and record.reason.is_final:
        outcome = finish(store, run.id, record)
        why = (record.error or "").strip().splitlines()
        store.add_event(run.id, "finished", f"{outcome.value}: {why[-1]}" if why else outcome.value)
        return outcome
    if run.intent is not Intent.RUN or stopping or (record is not None and record.reason is ExitReason.STOPPED):
        rest(store, run.id, run.intent, why=f"its worker was stopped{' with the engine' * leaving}")
    elif record is None and restarted:
        # No crash of the run's own, however often it happens.
        store.add_event(run.id, "notice", "its worker ended with the machine, which has been started anew")
        rest(store, run.id, Intent.RUN)
    else:
        how = status or "ended without a word"
        if record is not None:
            how = f"could not go on: {record.error}"
        settle_crash(store, directory, how, step=run.step, heard_at=run.last_event_at)
    return None


def settle_crash(store: Store, directory: RunDirectory, status: str, *, step: int, heard_at: float | None) -> None:
    """Queue a crashed run again, unless it keeps crashing without getting any further; in the caller's transaction.

    Args:
        store: The index.
        directory: Of the run.
        status: How its worker ended, in words.
        step: Where the run stands.
        heard_at: When its journal last grew, by the clock of the worker; None where it has none.
    """
    run = directory.id
    crashes, crash_step, checkpoint_step = store.crashes(run)
    crashes = crashes + 1 if crash_step == checkpoint_step else 1
    store.set_crashes(run, crashes, checkpoint_step)
    store.add_event(run, "crashed", f"its worker {status}{late_note(heard_at)}")
    if crashes < MAX_CRASHES:
        rest(store, run, Intent.RUN)
        return
    error = f"its worker {status}, {crashes} times without a new checkpoint in between"
    # The reason last, as in a traceback: of a long error, that line is what is shown.
    error_and_log = f"{directory.log_tail()}\n{error}".strip()
    # The worker could not say how it ended; without this the run would begin again if the index were lost.
    directory.write_exit(ExitReason.FAILED, step=step, error=error_and_log)
    store.set_status(run, RunStatus.FINISHED, outcome=RunOutcome.FAILED, error=error_and_log, finished_at=time.time())
    store.add_event(run, "finished", f"failed: {error}")


def late_note(heard_at: float | None) -> str:
    """When a worker was last heard of whose crash was noticed late; empty where it was noticed soon enough."""
    if heard_at is None or (silent := time.time() - heard_at) < LATE_SECONDS:
        return ""
    return f"; last heard of {duration(silent)} before, at {time.strftime('%H:%M:%S', time.localtime(heard_at))}"


def lose(store: Store, run: str, error: str) -> None:
    """A run whose directory is gone cannot go on, and stands in nobody's way; in the caller's transaction."""
    store.set_status(run, RunStatus.FINISHED, outcome=RunOutcome.LOST, error=error, finished_at=time.time())
    store.add_event(run, "finished", f"lost: {error}")
