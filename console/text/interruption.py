"""Training that does not go on by itself: what was interrupted, when and by what, and how it continues."""

from __future__ import annotations

from collections.abc import Iterable

from console.text.formatting import clean
from console.text.status import counted
from engine.base.paths import Home
from engine.control import launch
from engine.control.engine_lock import read_holder
from engine.control.queue_state import read_queue
from engine.control.stopped import Cause, end_of, read_stopped
from engine.runs.directory import RunDirectory
from engine.runs.run import Run, RunStatus

MOST_NAMES = 3
CONTINUES = "`depthscope engine start` continues it"


def interruption(home: Home, runs: Iterable[Run]) -> str | None:
    """Describe training that waits for a command in one line; None if there is none.

    Args:
        home: Home of the runs.
        runs: All runs, or the unfinished ones.
    """
    unfinished = [run for run in runs if run.status in (RunStatus.QUEUED, RunStatus.RUNNING) and run.deleted_at is None]
    if not unfinished:
        return None
    stopped = read_stopped(home)
    if stopped is None:
        if launch.is_serving(home):
            return None
        heard = [run.last_event_at for run in unfinished if run.last_event_at is not None]
        stopped = end_of(read_holder(home), max(heard, default=None))
        if stopped.cause is Cause.NONE:
            return None
    queue = read_queue(home)
    waiting = [
        run
        for run in unfinished
        if (run.status is RunStatus.QUEUED and not run.held and queue.starts(run.id))
        or (run.status is RunStatus.RUNNING and not RunDirectory(home.runs / run.id).is_alive())
    ]
    if not waiting:
        return None
    begun = [run for run in waiting if run.started_at is not None]
    names = ", ".join(f"{clean(run.experiment)}/{clean(run.name)}" for run in begun[:MOST_NAMES])
    more = f" and {len(begun) - MOST_NAMES} more" if len(begun) > MOST_NAMES else ""
    num_queued = len(waiting) - len(begun)
    queued = f"{counted(num_queued, 'queued run')} {'waits' if num_queued == 1 else 'wait'}" if num_queued else ""
    what = "; ".join(part for part in (f"{names}{more}", queued) if part)
    return f"training was {stopped}: {what}; {CONTINUES}"
