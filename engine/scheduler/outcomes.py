"""Outcome of a run whose worker is gone, from its exit record and the user's intent."""

from __future__ import annotations

import time
from typing import assert_never

from engine.base.system import is_another_boot
from engine.base.units import duration
from engine.index.writer import Store
from engine.runs.directory import Assignment, ExitReason, ExitRecord, RunDirectory
from engine.runs.disk import FULL_BELOW_BYTES, trouble_now
from engine.runs.launcher import TAKEN
from engine.runs.run import DISK_FULL, Intent, Run, RunOutcome, RunStatus
from engine.scheduler.labels import Labelling
from engine.spec.precision import Precision

MAX_CRASHES = 3
"""After this many crashes without a new checkpoint in between, a run has failed."""
FAULTS = ("SIGSEGV", "SIGABRT", "SIGBUS", "SIGILL", "SIGFPE")
"""Signals by which a process dies of its own code, such as a broken kernel of a library."""
FAULTS_BEFORE_FALLBACK = 2
"""After this many such deaths in a row in its first steps, a run is tried once more in the safest way: fp32."""
LATE_SECONDS = 10.0
"""A crash noticed this long after the worker's last line mentions the delay."""


def finish(store: Store, run: str, record: ExitRecord) -> RunOutcome:
    """Finish a run as recorded by its worker, in the caller's transaction."""
    outcome = RunOutcome(record.reason.value)
    store.set_status(run, RunStatus.FINISHED, outcome=outcome, error=record.error, finished_at=record.at)
    return outcome


def rest(store: Store, run: str, intent: Intent, *, why: str = "", add_event: bool = True) -> None:
    """Queue, pause or cancel a run without a worker, as intended, in the caller's transaction.

    Args:
        why: Reason why it is queued again; empty if an earlier event gives it.
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
    if add_event:
        store.add_event(run, *event)


def wait_for_disk(store: Store, run: str, trouble: str) -> None:
    """Pause a run until the disk is writable again, in the caller's transaction."""
    store.set_status(run, RunStatus.PAUSED, error=trouble)
    store.add_event(run, "paused", trouble)


def disk_trouble(directory: RunDirectory, record: ExitRecord | None, status: str | None) -> str | None:
    """Disk trouble that ended a worker, as recorded or if the disk is too full for a record; else None.

    Args:
        status: Text about how it ended; None if unknown.
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
    labelling: Labelling,
    directory: RunDirectory,
    run: Run,
    *,
    status: str | None,
    trouble: str | None,
    stopping: bool,
    leaving: bool,
    assigned: Assignment | None,
) -> RunOutcome | None:
    """Set the status of a run whose worker is gone, in the caller's transaction.

    Args:
        status: Text about how the worker ended; None if unknown.
        trouble: Disk trouble that the run must wait for; None if there is none.
        stopping: Whether the worker was asked to exit.
        leaving: Whether it was asked because the engine is stopping.
        assigned: Its worker, if an engine started it.

    Returns:
        Outcome of the run; None if it has not finished.
    """
    if trouble is not None:
        wait_for_disk(store, run.id, trouble)
        return None
    record = directory.read_exit(assigned)
    if record is not None and record.reason.is_final:
        outcome = finish(store, run.id, record)
        why = (record.error or "").strip().splitlines()
        store.add_event(run.id, "finished", f"{outcome.value}: {why[-1]}" if why else outcome.value)
        return outcome
    if run.intent is not Intent.RUN or stopping or (record is not None and record.reason is ExitReason.STOPPED):
        rest(store, run.id, run.intent, why=f"its worker was stopped{' with the engine' * leaving}")
    elif record is None and status == TAKEN:
        rest(store, run.id, Intent.RUN, why=f"its worker {status}")
    elif record is None and assigned is not None and is_another_boot(assigned.boot):
        # Never counted as a crash of the run.
        store.add_event(run.id, "notice", "its worker ended when the machine restarted")
        rest(store, run.id, Intent.RUN)
    else:
        how = status or "ended without a message"
        if record is not None:
            how = f"could not continue: {record.error}"
        settle_crash(store, labelling, directory, run, how)
    return None


def settle_crash(store: Store, labelling: Labelling, directory: RunDirectory, run: Run, status: str) -> None:
    """Queue a crashed run again, unless it keeps crashing without progress, in the caller's transaction.

    Args:
        run: The run as it is in the index.
        status: Text about how its worker ended.
    """
    crashes, crash_step, checkpoint_step = store.crashes(run.id)
    crashes = crashes + 1 if crash_step == checkpoint_step else 1
    faults_before = store.newest_events(run.id, "crashed", FAULTS_BEFORE_FALLBACK - 1)
    store.set_crashes(run.id, crashes, checkpoint_step)
    store.add_event(run.id, "crashed", f"its worker {status}{late_note(run.last_event_at)}")
    if crashes < MAX_CRASHES:
        is_fault = [any(name in text for name in FAULTS) for text in (status, *faults_before)]
        if crashes == FAULTS_BEFORE_FALLBACK and all(is_fault) and not checkpoint_step:
            fall_back(store, labelling, run)
        rest(store, run.id, Intent.RUN)
        return
    fallback = labelling.read(run.id).fallback
    error = f"its worker {status}, {crashes} times without a new checkpoint in between"
    if fallback is not None:
        error += f", at last in {fallback}"
    # The reason comes last, as in a traceback, because the last line of a long error is the one shown.
    error_and_log = f"{directory.log_tail()}\n{error}".strip()
    # The worker left no record; without one, the run would restart if the index were lost.
    directory.write_exit(ExitReason.FAILED, step=run.step, error=error_and_log)
    store.set_status(
        run.id, RunStatus.FINISHED, outcome=RunOutcome.FAILED, error=error_and_log, finished_at=time.time()
    )
    store.add_event(run.id, "finished", f"failed: {error}")


def fall_back(store: Store, labelling: Labelling, run: Run) -> None:
    """Let the next workers of a run compute in fp32, with contiguous tensors; an explicit precision is no exception.

    Nothing is safer than fp32, so a run that computed in it stays as it is.
    """
    asked = run.spec.recipe.precision
    used = run.precision or asked
    if used is Precision.FP32 or labelling.read(run.id).fallback is not None:
        return
    labelling.change(run.id, fallback=Precision.FP32)
    store.set_precision(run.id, Precision.FP32)
    overrides = "" if asked is Precision.AUTO else f" (overrides --precision {asked})"
    text = f"{FAULTS_BEFORE_FALLBACK} crashes in its first steps: training once more in {Precision.FP32}{overrides}"
    store.add_event(run.id, "notice", text)


def late_note(heard_at: float | None) -> str:
    """Note on when a worker was last heard from, if its crash was noticed late; otherwise empty."""
    if heard_at is None or (silent := time.time() - heard_at) < LATE_SECONDS:
        return ""
    return f"; last heard from {duration(silent)} earlier, at {time.strftime('%H:%M:%S', time.localtime(heard_at))}"


def lose(store: Store, run: str, error: str) -> None:
    """Mark a run as lost because its directory is gone, in the caller's transaction."""
    store.set_status(run, RunStatus.FINISHED, outcome=RunOutcome.LOST, error=error, finished_at=time.time())
    store.add_event(run, "finished", f"lost: {error}")
