"""Provenance of a run's results: hardware, versions and images, as recorded by its workers."""

from __future__ import annotations

from pathlib import Path

import msgspec

from engine.runs.directory import RunDirectory
from engine.runs.journal import Resumed, Started, WorkerStart, read_events
from engine.runs.run import Run
from engine.spec.precision import Precision


class Worked(msgspec.Struct, frozen=True, kw_only=True):
    """One machine and its software; a run that was resumed elsewhere has several."""

    host: str
    device: str
    """`cuda:N` or `cpu`."""
    device_name: str
    torch: str
    num_threads: int
    precision: Precision


class Provenance(msgspec.Struct, frozen=True, kw_only=True):
    """Provenance of a run."""

    worked: tuple[Worked, ...] = ()
    """Machines in training order, without repetition; empty without a journal."""
    num_train: int | None = None
    """Number of training images; None without a journal, like the next two fields."""
    num_test: int | None = None
    data_sha256: str | None = None
    num_resumed: int = 0
    """How often a worker resumed from a checkpoint."""


def read_provenance(runs: Path, run: Run) -> Provenance:
    """Read the provenance of a run from its journal; empty if its directory is missing or contains another run."""
    directory = RunDirectory(runs / run.id)
    if directory.wrong_run() is not None:
        return Provenance()
    worked: dict[Worked, None] = {}
    started: Started | None = None
    num_resumed = 0
    for event in read_events(directory.journal):
        if isinstance(event, WorkerStart):
            worked[msgspec.convert(event, Worked, from_attributes=True)] = None
        if isinstance(event, Started):
            started = event
        num_resumed += isinstance(event, Resumed)
    if started is None:
        return Provenance(worked=tuple(worked), num_resumed=num_resumed)
    return Provenance(
        worked=tuple(worked),
        num_train=started.num_train,
        num_test=started.num_test,
        data_sha256=started.data_sha256,
        num_resumed=num_resumed,
    )
