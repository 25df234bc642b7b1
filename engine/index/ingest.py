"""Ingests journals into the index, each piece in one transaction with its offset, so that rows arrive exactly once."""

from __future__ import annotations

import logging
from collections.abc import Iterable

from engine.index.writer import Store
from engine.runs.directory import RunDirectory
from engine.runs.journal import AnyEvent, WorkerStart, read_events, read_on

log = logging.getLogger(__name__)


def ingest(store: Store, directory: RunDirectory) -> WorkerStart | None:
    """Bring new lines of a run's journal into the index.

    Returns:
        Newest of these lines that names a worker's device.
    """
    start: WorkerStart | None = None
    run, journal = directory.id, directory.journal
    offset = store.journal_offset(run)
    if offset and journal.exists() and journal.stat().st_size < offset:
        # A power cut removed lines that the index had read; their replacements have the same numbers.
        log.warning("%s: the journal is shorter than the part already read; reading it again", run)
        with store.transaction():
            store.forget_journal(run)
        offset = 0
    for reading in read_on(journal, offset):
        with store.transaction():
            store.ingest(run, reading.events, reading.garbage, end=reading.end)
        store.bound_wal()
        start = newest_worker_start(reading.events) or start
    return start


def read_worker_start(directory: RunDirectory, *, from_byte: int) -> WorkerStart | None:
    """Newest journal line after an offset that names a worker's device."""
    return newest_worker_start(read_events(directory.journal, from_byte))


def newest_worker_start(events: Iterable[AnyEvent]) -> WorkerStart | None:
    start: WorkerStart | None = None
    for event in events:
        start = event if isinstance(event, WorkerStart) else start
    return start
