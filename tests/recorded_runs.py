"""Runs that were really trained, from `tests/recorded/`: their numbers, and homes with them."""

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
    """A home with the recorded runs of these names, its index built from their directories as an engine builds it."""
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
    """The epochs of every recorded run of a name, by the run's own name."""
    directories = map(RunDirectory, sorted((RECORDED / name).iterdir()))
    return {one.read_labels().name: epoch_rows(one) for one in directories}


def recorded_gradients(name: str) -> dict[str, list[Gradients]]:
    """The gradients of every recorded run of a name, by the run's own name."""
    directories = map(RunDirectory, sorted((RECORDED / name).iterdir()))
    return {one.read_labels().name: gradient_rows(one) for one in directories}


def gradient_rows(directory: RunDirectory) -> list[Gradients]:
    """What a run directory's journal says of its layers."""
    return [event for event in read_journal(directory.journal).events if isinstance(event, Gradients)]


def epoch_rows(directory: RunDirectory) -> list[Epoch]:
    """What a run directory's journal says of its epochs, an epoch that was trained twice as it was measured last."""
    rows: dict[int, Epoch] = {}
    for event in read_journal(directory.journal).events:
        if isinstance(event, Epoch):
            rows[event.epoch] = event
    return [rows[epoch] for epoch in sorted(rows)]


def first_epochs(rows: Sequence[Epoch], num: int) -> list[Epoch]:
    """The run as it stood after so many epochs."""
    return [row for row in rows if row.epoch <= num]
