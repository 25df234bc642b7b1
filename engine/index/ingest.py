"""Journals into the index, each piece in one transaction with its offset, so that a row arrives exactly once."""

from __future__ import annotations

import logging
from collections.abc import Iterable

from engine.index.writer import Store
from engine.runs.directory import RunDirectory
from engine.runs.journal import AnyEvent, WorkerStart, read_events, read_on

log = logging.getLogger(__name__)


def ingest(store: Store, directory: RunDirectory) -> WorkerStart | None:
    """Bring what is new in a run's journal into the index.

    Returns:
        The newest line among it by which a worker says where it is.
    """
    said: WorkerStart | None = None
    run, journal = directory.id, directory.journal
    offset = store.journal_offset(run)
    if offset and journal.exists() and journal.stat().st_size < offset:
        # A power cut took lines that the index had seen; those that come in their place have the same numbers.
        log.warning("%s: the journal is shorter than what was read of it; read again", run)
        with store.transaction():
            store.forget_journal(run)
        offset = 0
    for reading in read_on(journal, offset):
        with store.transaction():
            store.ingest(run, reading.events, reading.garbage, end=reading.end)
        store.bound_wal()
        said = newest_worker_start(reading.events) or said
    return said


def read_worker_start(directory: RunDirectory, *, behind_bytes: int) -> WorkerStart | None:
    """The newest line by which a worker says where it is, behind an offset in its journal."""
    return newest_worker_start(read_events(directory.journal, behind_bytes))


def newest_worker_start(events: Iterable[AnyEvent]) -> WorkerStart | None:
    said: WorkerStart | None = None
    for event in events:
        said = event if isinstance(event, WorkerStart) else said
    return said
