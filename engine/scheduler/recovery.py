"""Adds run directories that are missing from the index, with their journals and status."""

from __future__ import annotations

from engine.index.ingest import ingest
from engine.index.writer import Store
from engine.runs.directory import Labels, RunDirectory
from engine.runs.identity import Identity
from engine.runs.journal import WorkerStart
from engine.scheduler.outcomes import finish, rest
from engine.spec.devices import CPU


def enter_run(
    store: Store, directory: RunDirectory, identity: Identity, labels: Labels, *, alive: bool, kind: str, text: str
) -> WorkerStart | None:
    """Add a run with its journal, and an event that records this.

    Args:
        directory: Run directory from an interrupted request, a lost database or another home.
        identity: What its spec.json says.
        labels: Its labels.
        alive: Whether a worker holds it.
        kind: Kind of the event.
        text: Text of the event.

    Returns:
        Newest line of its journal that names a worker's device.
    """
    record = directory.read_exit(labels.assigned)
    # In one transaction: a run that is queued even for an instant would be trained again.
    with store.transaction():
        store.add_run(directory.id, identity.spec, labels, origin=identity.origin)
        if alive:
            store.set_running(directory.id, CPU.name, started_at=labels.created_at)
        elif record is not None and record.reason.is_final:
            finish(store, directory.id, record)
        else:
            rest(store, directory.id, labels.intent, add_event=False)
        store.add_event(directory.id, kind, text)
        # It ended under another index or on another machine, so no hook runs.
        store.forget_ends([directory.id])
    return ingest(store, directory)
