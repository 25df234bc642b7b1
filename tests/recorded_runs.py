"""Recorded runs from `tests/recorded/`: their metrics, and homes containing them."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from engine.base.paths import Home
from engine.index.queries import Reader
from engine.index.writer import Store
from engine.runs.directory import RunDirectory
from engine.runs.journal import Epoch, Gradients, read_journal
from engine.runs.launcher import LocalLauncher
from engine.scheduler.supervisor import Supervisor
from engine.spec.devices import CPU

RECORDED = Path(__file__).with_name("recorded")


def recorded_home(root: Path, *names: str) -> Home:
    """Create a home with the named recorded runs and an index built from their directories as by an engine."""
    home = Home(root).create()
    for name in names:
        for run in (RECORDED / name).iterdir():
            shutil.copytree(run, home.runs / run.name)
    store = Store(home.database)
    reader = Reader(home.database)
    Supervisor(home, store, reader, LocalLauncher(home), [CPU]).recover()
    reader.close()
    store.close()
    return home


def recorded_runs(name: str) -> dict[str, list[Epoch]]:
    """Read the epochs of all recorded runs of a recording, by run name."""
    directories = map(RunDirectory, sorted((RECORDED / name).iterdir()))
    return {one.read_labels().name: epoch_rows(one) for one in directories}


def recorded_gradients(name: str) -> dict[str, list[Gradients]]:
    """Read the gradients of all recorded runs of a recording, by run name."""
    directories = map(RunDirectory, sorted((RECORDED / name).iterdir()))
    return {one.read_labels().name: gradient_rows(one) for one in directories}


def gradient_rows(directory: RunDirectory) -> list[Gradients]:
    """Read the layer measurements from a run directory's journal."""
    return [event for event in read_journal(directory.journal).events if isinstance(event, Gradients)]


def epoch_rows(directory: RunDirectory) -> list[Epoch]:
    """Read the epochs from a run directory's journal; a repeated epoch counts as last measured."""
    rows: dict[int, Epoch] = {}
    for event in read_journal(directory.journal).events:
        if isinstance(event, Epoch):
            rows[event.epoch] = event
    return [rows[epoch] for epoch in sorted(rows)]


def first_epochs(rows: Sequence[Epoch], num: int) -> list[Epoch]:
    """Return the rows up to a number of epochs."""
    return [row for row in rows if row.epoch <= num]
