"""What can be asked of the queue: which run goes first, which waits until it is released, and whether any start."""

from __future__ import annotations

from console.screens.run_actions import Chosen, RunAction, counted_runs
from engine.control.protocol import Hold, Move, Release, SetQueue
from engine.control.queue_state import QueueState
from engine.runs.run import RunStatus


def run_first(chosen: Chosen) -> None:
    """Give queued runs the first places, in the order in which they are listed."""
    if ids := chosen.ids_in(RunStatus.QUEUED):
        chosen.request(Move(runs=ids), f"{counted_runs(ids)} first in the queue")
    else:
        chosen.notify_nothing_to_do("run first")


def hold(chosen: Chosen) -> None:
    """Keep queued runs from being started; release them where all of them are held."""
    queued = [run for run in chosen.runs if run.status is RunStatus.QUEUED]
    free = tuple(run.id for run in queued if not run.held)
    ids = tuple(run.id for run in queued)
    if free:
        chosen.request(Hold(runs=free), f"{counted_runs(free)} held: h releases, the place is kept")
    elif ids:
        chosen.request(Release(runs=ids), f"{counted_runs(ids)} released")
    else:
        chosen.notify_nothing_to_do("hold")


def hold_queue(chosen: Chosen) -> None:
    """Start nothing more, or go on."""
    switch_queue(chosen, QueueState.HELD, "queue held: what runs goes on, H releases it")


def drain_queue(chosen: Chosen) -> None:
    """Finish what runs and start nothing else, or go on."""
    switch_queue(chosen, QueueState.DRAINING, "queue drains: what runs is finished, D releases it")


def switch_queue(chosen: Chosen, state: QueueState, done: str) -> None:
    """Bring the queue into a state, or open it where it is in that state."""
    if chosen.session.engine.queue_state is state:
        chosen.request(SetQueue(state=QueueState.OPEN), "queue released: runs are started in order")
    else:
        chosen.request(SetQueue(state=state), done)


QUEUE_ACTIONS = (
    RunAction("queue.first", "f", run_first, "run first"),
    RunAction("queue.hold", "h", hold, "hold or release"),
    RunAction("queue.hold-all", "H", hold_queue, "hold or release the queue"),
    RunAction("queue.drain", "D", drain_queue, "drain the queue, or release it"),
)
