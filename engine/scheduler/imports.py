"""Imports runs from another machine that the client has copied into the home."""

from __future__ import annotations

import re

import msgspec

from engine.analysis.digest import IMPORTED
from engine.base.errors import UsageError
from engine.base.paths import sync_directory
from engine.control.protocol import Done, Import, encode
from engine.runs.directory import Labels, RunDirectory
from engine.runs.identity import RUN_ID
from engine.runs.run import Intent
from engine.runs.verification import verify
from engine.scheduler.supervisor import Supervisor
from engine.spec.labels import check_label

TOKEN = re.compile(r"[0-9a-f]{32}")


def import_runs(request: Import, supervisor: Supervisor) -> Done:
    """Move staged runs among the home's runs, all of them or none.

    Unfinished runs are paused; the user decides whether to resume them here.

    Raises:
        UsageError: a run is missing or not as it should be, an id is taken, or an experiment of that name exists.
    """
    if not request.runs or not TOKEN.fullmatch(request.token) or not all(map(RUN_ID.fullmatch, request.runs)):
        raise UsageError("an import needs a token and the ids of its runs")
    staging = supervisor.home.incoming / request.token
    known = supervisor.store.known_ids()
    taken: list[tuple[RunDirectory, Labels]] = []
    position = supervisor.store.next_position()
    for id in dict.fromkeys(request.runs):
        if id in known or (supervisor.home.runs / id).exists():
            raise UsageError(f"{id} already exists here")
        directory = RunDirectory(staging / id)
        # Again, as this copy is what stays here.
        found = verify(directory)
        labels = directory.read_labels() if found.labels is None else found.labels
        experiment = request.experiment or labels.experiment
        check_label(experiment, "an experiment's name")
        if request.experiment is None and supervisor.reader.runs(experiment=experiment, with_deleted=True):
            raise UsageError(
                f"experiment {experiment!r} already exists here: -e NAME imports into another one,"
                f" `-e {experiment}` adds the runs to it"
            )
        intent = labels.intent if found.is_finished or labels.intent is Intent.STOP else Intent.PAUSE
        changed = msgspec.structs.replace(
            labels,
            experiment=experiment,
            position=position + len(taken),
            place=None,
            held=False,
            assigned=None,
            deleted_at=None,
            before_hiding=None,
            intent=intent,
            imported_as=None if found.identity.origin in (None, id) else id,
        )
        taken.append((directory, changed))
    for directory, labels in taken:
        directory.write_labels(labels)
    for directory, _ in taken:
        # From here on the run belongs to this home, and the next engine would find it.
        directory.path.rename(supervisor.home.runs / directory.id)
    sync_directory(supervisor.home.runs)
    for directory, _ in taken:
        supervisor.enter(supervisor.directory(directory.id), IMPORTED, "from another home")
    reply = Done(id=request.id, runs=tuple(directory.id for directory, _ in taken))
    with supervisor.store.transaction():
        supervisor.store.remember_answer(request.id, encode(reply))
    return reply
