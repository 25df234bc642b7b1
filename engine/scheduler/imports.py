"""Runs from another machine, copied into the home by whoever asks, taken among its runs by the engine."""

from __future__ import annotations

import re

import msgspec

from engine.analysis.digest import IMPORTED
from engine.base.errors import UsageError
from engine.base.paths import sync_directory
from engine.control.protocol import Done, Import, encode
from engine.runs.directory import Labels, RunDirectory
from engine.runs.run import Intent
from engine.runs.transfer import RUN_ID
from engine.scheduler.supervisor import Supervisor
from engine.spec.labels import check_label

TOKEN = re.compile(r"[0-9a-f]{32}")


def import_runs(request: Import, supervisor: Supervisor) -> Done:
    """Take runs in that lie beside ours, all of them or none.

    A run that was on its way rests: where it goes on is for its user to say.

    Raises:
        UsageError: one of them is not there or has an id that is taken, or an experiment of that name is here.
    """
    if not request.runs or not TOKEN.fullmatch(request.token) or not all(map(RUN_ID.fullmatch, request.runs)):
        raise UsageError("an import names its token and the ids of its runs")
    staging = supervisor.home.incoming / request.token
    known = supervisor.store.known_ids()
    taken: list[tuple[RunDirectory, Labels]] = []
    position = supervisor.store.next_position()
    for id in dict.fromkeys(request.runs):
        if id in known or (supervisor.home.runs / id).exists():
            raise UsageError(f"{id} is here already")
        directory = RunDirectory(staging / id)
        directory.read_spec()
        labels = directory.read_labels()
        experiment = request.experiment or labels.experiment
        check_label(experiment, "an experiment's name")
        check_label(labels.name, "a run's name")
        if request.experiment is None and supervisor.reader.runs(experiment=experiment, with_deleted=True):
            raise UsageError(
                f"an experiment is called {experiment!r} here already: -e NAME gives the imported runs another,"
                f" `-e {experiment}` adds them to it"
            )
        record = directory.read_exit()
        has_ended = record is not None and record.reason.is_final
        intent = labels.intent if has_ended or labels.intent is Intent.STOP else Intent.PAUSE
        changed = msgspec.structs.replace(
            labels,
            experiment=experiment,
            position=position + len(taken),
            place=None,
            held=False,
            assigned=None,
            deleted_at=None,
            intent=intent,
        )
        taken.append((directory, changed))
    for directory, labels in taken:
        directory.write_labels(labels)
    for directory, _ in taken:
        # From here on the run is ours, and an engine that ends now finds it when it begins again.
        directory.path.rename(supervisor.home.runs / directory.id)
    sync_directory(supervisor.home.runs)
    for directory, _ in taken:
        supervisor.enter(supervisor.directory(directory.id), IMPORTED, "from another home")
    reply = Done(id=request.id, runs=tuple(directory.id for directory, _ in taken))
    with supervisor.store.transaction():
        supervisor.store.remember_answer(request.id, encode(reply))
    return reply
