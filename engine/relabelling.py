"""What is said about runs and changes nothing of how they are trained: names, tags, notes and stars."""

from __future__ import annotations

from engine.base.errors import UsageError
from engine.control.protocol import Done, Relabel, RenameExperiment, encode
from engine.spec.labels import changed_tags, check_label, check_tag, cleaned_note
from engine.supervisor import Supervisor


def relabel(request: Relabel, supervisor: Supervisor) -> Done:
    """Change what is said about some runs, or about none of them where one of them may not be changed so.

    Raises:
        UsageError: a run is not known or removed, a word cannot be a label, or a name is taken.
    """
    for tag in (*request.add_tags, *request.remove_tags):
        check_tag(tag)
    note = None if request.note is None else cleaned_note(request.note)
    runs = list({run.id: run for run in map(supervisor.reader.find, request.runs)}.values())
    for run in runs:
        if run.deleted_at is not None:
            raise UsageError(f"{run.id} ({run.name}) is removed: `depthscope restore {run.id}` first")
    if request.name is not None:
        check_label(request.name, "a run's name")
        if len(runs) != 1:
            raise UsageError(f"a name is one run's, got {len(runs)} runs")
        for other in supervisor.reader.runs(experiment=runs[0].experiment, with_deleted=True):
            if other.name == request.name and other.id != runs[0].id:
                raise UsageError(f"{other.experiment} has a run called {request.name!r} already: {other.id}")
    changes: dict[str, dict[str, object]] = {}
    for run in runs:
        changes[run.id] = {"tags": changed_tags(run.tags, request.add_tags, request.remove_tags)}
        if request.name is not None:
            changes[run.id]["name"] = request.name
        if note is not None:
            changes[run.id]["notes"] = note
        if request.starred is not None:
            changes[run.id]["starred"] = request.starred
    return enter(request.id, changes, supervisor)


def rename_experiment(request: RenameExperiment, supervisor: Supervisor) -> Done:
    """Give all runs of an experiment, removed ones too, another experiment's name.

    Raises:
        UsageError: there is no such experiment, or one with the new name.
    """
    check_label(request.name, "an experiment's name")
    runs = supervisor.reader.runs(experiment=request.experiment, with_deleted=True)
    if not runs:
        raise supervisor.reader.experiment_unknown(request.experiment)
    if request.name != request.experiment and supervisor.reader.runs(experiment=request.name, with_deleted=True):
        raise UsageError(f"an experiment is called {request.name!r} already, and two do not become one")
    return enter(request.id, {run.id: {"experiment": request.name} for run in runs}, supervisor)


def enter(request: str, changes: dict[str, dict[str, object]], supervisor: Supervisor) -> Done:
    """Write labels, all of them or none, and remember that it was done."""
    reply = Done(id=request, runs=tuple(changes))
    with supervisor.labelling.transaction():
        for run, changed in changes.items():
            supervisor.labelling.change(run, **changed)
        supervisor.store.remember_answer(request, encode(reply))
    return reply
