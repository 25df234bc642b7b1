"""A run directory that the index does not know: entered with its journal, and set where it stands."""

from __future__ import annotations

from engine.index.ingest import ingest
from engine.index.writer import Store
from engine.runs.directory import Labels, RunDirectory
from engine.runs.journal import WorkerStart
from engine.scheduler.outcomes import finish, rest
from engine.spec.devices import CPU
from engine.spec.run import RunSpec


def enter_run(
    store: Store, directory: RunDirectory, spec: RunSpec, labels: Labels, *, alive: bool, kind: str, text: str
) -> WorkerStart | None:
    """Enter a run with its journal, and an event that records this.

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
        store.add_event(directory.id, kind, text)
        # It ended under another index, or on another machine.
        store.forget_ends([directory.id])
    return ingest(store, directory)
