"""Actions on the queue: reorder, hold, release, drain."""

from __future__ import annotations

from console.screens.run_actions import Chosen, RunAction, counted_runs
from engine.control.protocol import Hold, Move, Release, SetQueue
from engine.control.queue_state import QueueState
from engine.runs.run import RunStatus


def run_first(chosen: Chosen) -> None:
    """Move queued runs to the front, in the order listed."""
    if ids := chosen.ids_in(RunStatus.QUEUED):
        chosen.request(Move(runs=ids), f"Moved {counted_runs(ids)} to the front of the queue")
    else:
        chosen.notify_nothing_to_do("move")


def hold(chosen: Chosen) -> None:
    """Hold queued runs, or release them if all are held."""
    queued = [run for run in chosen.runs if run.status is RunStatus.QUEUED]
    free = tuple(run.id for run in queued if not run.held)
    ids = tuple(run.id for run in queued)
    if free:
        chosen.request(Hold(runs=free), f"Held {counted_runs(free)} in the queue; h releases")
    elif ids:
        chosen.request(Release(runs=ids), f"Released {counted_runs(ids)}")
    else:
        chosen.notify_nothing_to_do("hold")


def hold_queue(chosen: Chosen) -> None:
    """Hold the queue, or release it if it is held."""
    switch_queue(chosen, QueueState.HELD, "Queue held: running jobs continue, nothing new starts; H opens it")


def drain_queue(chosen: Chosen) -> None:
    """Drain the queue, or release it if it is draining."""
    switch_queue(chosen, QueueState.DRAINING, "Draining: running jobs will finish, nothing new starts; D opens it")


def switch_queue(chosen: Chosen, state: QueueState, done: str) -> None:
    """Switch the queue to a state, or open it if it is already in that state."""
    if chosen.session.engine.queue_state is state:
        chosen.request(SetQueue(state=QueueState.OPEN), "Queue open: runs start in order")
    else:
        chosen.request(SetQueue(state=state), done)


QUEUE_ACTIONS = (
    RunAction("queue.first", "f", run_first, "run first"),
    RunAction("queue.hold", "h", hold, "hold or release"),
    RunAction("queue.hold-all", "H", hold_queue, "hold or release the queue"),
    RunAction("queue.drain", "D", drain_queue, "drain the queue, or release it"),
)
