"""Request handlers of the engine; each request takes effect completely or not at all."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import assert_never

from engine.base.errors import UsageError
from engine.control.protocol import (
    AnyReply,
    AnyRequest,
    Done,
    Greeting,
    Hello,
    Hold,
    Import,
    Move,
    Pause,
    Prune,
    Rebuild,
    Relabel,
    Release,
    Remove,
    RenameExperiment,
    Restore,
    Resume,
    Retry,
    RunRequest,
    SetQueue,
    Shutdown,
    StartTraining,
    Stop,
    Submit,
    encode,
)
from engine.control.queue_state import QueueState, new_places
from engine.index.database import DatabaseUnusable, check_database
from engine.runs.directory import BeforeHiding
from engine.runs.run import Intent, Run, RunOutcome, RunStatus
from engine.scheduler.imports import import_runs
from engine.scheduler.prune import prune
from engine.scheduler.submission import Submission
from engine.scheduler.supervisor import Supervisor
from engine.spec.labels import changed_tags, check_label, check_run_name, check_tag, cleaned_note

log = logging.getLogger(__name__)


def handle(request: AnyRequest, supervisor: Supervisor, *, started_at: float) -> AnyReply:
    """Carry out a request and return the reply.

    Args:
        started_at: Monotonic time when the engine started.

    Raises:
        UsageError: the request is invalid; nothing was changed.
    """
    match request:
        case Hello():
            return greet(request, supervisor, started_at=started_at)
        case Shutdown():
            supervisor.leave(stop_workers=not request.keep_training)
            if request.opens_queue:
                supervisor.dispatcher.set_queue(QueueState.OPEN)
            return Done(id=request.id)
        case StartTraining():
            return Done(id=request.id)
        case Submit():
            return submit(request, supervisor)
        case RunRequest():
            return change(request, supervisor, CHANGES[type(request)])
        case Move():
            return move(request, supervisor)
        case Relabel():
            return relabel(request, supervisor)
        case RenameExperiment():
            return rename_experiment(request, supervisor)
        case Import():
            return import_runs(request, supervisor)
        case Prune():
            return prune(request, supervisor)
        case SetQueue():
            return set_queue(request, supervisor)
        case Rebuild():
            return rebuild(request, supervisor)
        case _:
            assert_never(request)


def greet(request: Hello, supervisor: Supervisor, *, started_at: float) -> Greeting:
    """Describe the engine and its load."""
    return Greeting(
        id=request.id,
        pid=os.getpid(),
        home=str(supervisor.home.root),
        uptime_seconds=time.monotonic() - started_at,
        num_running=supervisor.num_running,
        num_queued=len(supervisor.reader.unfinished_runs()) - supervisor.num_running,
        devices=tuple(device.name for device in supervisor.devices),
        slots=tuple(map(supervisor.slots.num, supervisor.devices)),
        starts_runs=supervisor.dispatcher.starts_runs,
        queue=supervisor.dispatcher.queue.state,
        trouble=supervisor.dispatcher.storage.trouble or supervisor.isolation.sentence,
    )


def submit(request: Submit, supervisor: Supervisor) -> Done:
    """Queue runs, all at once; `Submission` does it in steps."""
    submission = Submission.begin(request, supervisor)
    for _ in submission.make_directories(supervisor):
        pass
    return submission.enter(supervisor)


@dataclass(frozen=True, slots=True)
class Change:
    """Effect of a request on one run; the default is none."""

    intent: Intent | None = None
    forgives_crashes: bool = False
    hidden: bool | None = None
    held: bool | None = None


def named_runs(names: Iterable[str], supervisor: Supervisor, *, removed_too: bool = False) -> list[Run]:
    """Find the runs that users name, each once.

    Raises:
        UsageError: a run is unknown, or hidden.
    """
    runs = {run.id: run for run in map(supervisor.reader.find, names)}
    for run in runs.values():
        if run.deleted_at is not None and not removed_too:
            raise UsageError(f"{run.id} ({run.name}) is hidden: `depthscope restore {run.id}` first")
    return list(runs.values())


def change(request: RunRequest, supervisor: Supervisor, decide: Callable[[Run], Change]) -> Done:
    """Change all given runs, or none if the change is not allowed for one of them."""
    runs = named_runs(request.runs, supervisor, removed_too=decide in (restore, remove))
    for run in runs:
        if run.unreadable is not None and decide not in (stop, pause):
            raise UsageError(f"{run.id} ({run.name}) is unreadable: {run.unreadable}")
    decided = [(run, decide(run)) for run in runs]
    reply = Done(id=request.id, runs=tuple(run.id for run in runs))
    with supervisor.labelling.transaction():
        for run, wanted in decided:
            if wanted.forgives_crashes:
                supervisor.forgive(run.id)
            if wanted.intent is not None:
                supervisor.want(run, wanted.intent)
            if wanted.hidden is True:
                hide(run, supervisor)
            elif wanted.hidden is False:
                show(run, supervisor)
            if wanted.held is not None:
                supervisor.labelling.change(run.id, held=wanted.held)
        supervisor.store.remember_answer(request.id, encode(reply))
    return reply


def hide(run: Run, supervisor: Supervisor) -> None:
    """Hide a run that is not hidden yet, and cancel it if it is unfinished, keeping what restoring it needs."""
    if run.deleted_at is not None:
        return
    before = None if run.is_finished else BeforeHiding(intent=run.intent, held=run.held)
    if before is not None:
        supervisor.want(run, Intent.STOP)
    supervisor.labelling.change(run.id, deleted_at=time.time(), before_hiding=before)


def show(run: Run, supervisor: Supervisor) -> None:
    """Show a hidden run again; one that hiding cancelled is back at its place in the queue, held, or paused."""
    before = supervisor.labelling.read(run.id).before_hiding
    supervisor.labelling.change(run.id, deleted_at=None, before_hiding=None)
    if before is not None:
        supervisor.want(run, before.intent)
        supervisor.labelling.change(run.id, held=before.held)


def stop(run: Run) -> Change:
    """Stop a run; it can be resumed."""
    if run.is_finished:
        raise UsageError(f"{run.id} ({run.name}) already finished: {run.outcome}")
    return Change(intent=Intent.STOP)


def pause(run: Run) -> Change:
    """Pause a run; pausing a paused run does nothing."""
    if run.is_finished:
        raise UsageError(f"{run.id} ({run.name}) is finished: only queued and running runs can be paused")
    return Change() if run.status is RunStatus.PAUSED and not run.waits_for_disk else Change(intent=Intent.PAUSE)


def resume(run: Run) -> Change:
    """Resume a paused, cancelled or early stopped run; resuming an active run does nothing."""
    if run.is_finished and run.outcome not in (RunOutcome.CANCELLED, RunOutcome.STOPPED_EARLY):
        raise UsageError(
            f"{run.id} ({run.name}) {run.outcome}: only paused, cancelled and early stopped runs can be resumed"
        )
    if run.intent is Intent.RUN and not run.is_finished and run.status is not RunStatus.PAUSED:
        return Change()
    return Change(intent=Intent.RUN)


def retry(run: Run) -> Change:
    """Retry a run that did not succeed."""
    if not run.is_finished or run.succeeded:
        state = f"already {run.outcome}" if run.is_finished else f"is {run.status}"
        raise UsageError(f"{run.id} ({run.name}) {state}: only failed, diverged, lost or cancelled runs can be retried")
    return Change(intent=Intent.RUN, forgives_crashes=True)


def remove(run: Run) -> Change:
    """Hide a run that is not training; an unfinished one is cancelled until it is restored."""
    if run.status is RunStatus.RUNNING:
        raise UsageError(f"{run.id} ({run.name}) is running: `depthscope stop {run.id}` first")
    return Change(hidden=True)


def restore(_run: Run) -> Change:
    """Show a hidden run again, as it was before."""
    return Change(hidden=False)


def hold(run: Run) -> Change:
    """Hold a queued run at its place in the queue."""
    check_queued(run, "held")
    return Change(held=True)


def release(run: Run) -> Change:
    """Release a held run; releasing another run does nothing."""
    return Change(held=False) if run.held else Change()


CHANGES: dict[type[RunRequest], Callable[[Run], Change]] = {
    Stop: stop,
    Pause: pause,
    Resume: resume,
    Retry: retry,
    Remove: remove,
    Restore: restore,
    Hold: hold,
    Release: release,
}
"""Effect of each request on a run."""


def check_queued(run: Run, what: str) -> None:
    """Check that a run is queued.

    Raises:
        UsageError: the run is not queued.
    """
    if run.status is not RunStatus.QUEUED:
        state = f"already {run.outcome}" if run.is_finished else f"is {run.status}"
        remedy = f"; `depthscope pause {run.id}` pauses it" if run.status is RunStatus.RUNNING else ""
        raise UsageError(f"{run.id} ({run.name}) {state}: only queued runs can be {what}{remedy}")


def move(request: Move, supervisor: Supervisor) -> Done:
    """Move queued runs next to each other, in the order given."""
    moved = named_runs(request.runs, supervisor, removed_too=True)
    if not moved:
        raise UsageError("name at least one run to move")
    for run in moved:
        check_queued(run, "moved")
    ids = [run.id for run in moved]
    others = [run for run in supervisor.reader.unfinished_runs() if run.id not in ids]
    index = len(others) if request.last else 0
    if request.before is not None:
        target = supervisor.reader.find(request.before)
        check_queued(target, "moved before")
        if target.id in ids:
            raise UsageError(f"{target.id} ({target.name}) cannot be moved before itself")
        index = [run.id for run in others].index(target.id)
    places = new_places([run.place for run in others], index, len(moved), last=supervisor.store.next_place())
    if places is not None:
        placed = dict(zip(ids, places, strict=True))
    else:
        order = [run.id for run in (*others[:index], *moved, *others[index:])]
        placed = {id: others[0].place + number for number, id in enumerate(order)}
    reply = Done(id=request.id, runs=tuple(ids))
    with supervisor.labelling.transaction():
        for id, place in placed.items():
            supervisor.labelling.change(id, place=place)
        supervisor.store.remember_answer(request.id, encode(reply))
    return reply


def set_queue(request: SetQueue, supervisor: Supervisor) -> Done:
    """Hold, drain or open the queue as a whole."""
    reply, before = Done(id=request.id), supervisor.dispatcher.queue
    try:
        with supervisor.labelling.transaction():
            supervisor.dispatcher.set_queue(request.state)
            supervisor.store.remember_answer(request.id, encode(reply))
    except BaseException:
        supervisor.dispatcher.keep_queue(before)
        raise
    return reply


def rebuild(request: Rebuild, supervisor: Supervisor) -> Done:
    """Rebuild the index, or do so only if it is damaged."""
    if request.only_if_damaged:
        try:
            check_database(supervisor.home.database)
        except DatabaseUnusable as error:
            log.warning("%s", error)
        else:
            return Done(id=request.id)
    log.warning("the database is kept as %s and rebuilt from the run directories", supervisor.rebuild())
    return Done(id=request.id)


def relabel(request: Relabel, supervisor: Supervisor) -> Done:
    """Change labels of all given runs, or of none if a change is not allowed for one of them.

    Raises:
        UsageError: a run is unknown or removed, a label is invalid, or a name is taken.
    """
    for tag in (*request.add_tags, *request.remove_tags):
        check_tag(tag)
    note = None if request.note is None else cleaned_note(request.note)
    runs = named_runs(request.runs, supervisor)
    if request.name is not None:
        check_run_name(request.name)
        if len(runs) != 1:
            raise UsageError(f"only one run can be renamed at a time, got {len(runs)}")
        for other in supervisor.reader.runs(experiment=runs[0].experiment, with_deleted=True):
            if other.name == request.name and other.id != runs[0].id:
                raise UsageError(f"{other.experiment} already has a run named {request.name!r}: {other.id}")
    labels = {"name": request.name, "notes": note, "starred": request.starred}
    given = {name: value for name, value in labels.items() if value is not None}
    tags = {run.id: changed_tags(run.tags, request.add_tags, request.remove_tags) for run in runs}
    return enter(request.id, {run: {**given, "tags": changed} for run, changed in tags.items()}, supervisor)


def rename_experiment(request: RenameExperiment, supervisor: Supervisor) -> Done:
    """Rename an experiment, including its hidden runs.

    Raises:
        UsageError: the experiment does not exist, or the new name is taken.
    """
    check_label(request.name, "an experiment's name")
    runs = supervisor.reader.runs(experiment=request.experiment, with_deleted=True)
    if not runs:
        raise supervisor.reader.experiment_unknown(request.experiment)
    if request.name != request.experiment and supervisor.reader.runs(experiment=request.name, with_deleted=True):
        raise UsageError(f"experiment {request.name!r} already exists; experiments cannot be merged")
    return enter(request.id, {run.id: {"experiment": request.name} for run in runs}, supervisor)


def enter(request: str, changes: dict[str, dict[str, object]], supervisor: Supervisor) -> Done:
    """Change labels of all runs in one transaction, together with the reply."""
    reply = Done(id=request, runs=tuple(changes))
    with supervisor.labelling.transaction():
        for run, changed in changes.items():
            supervisor.labelling.change(run, **changed)
        supervisor.store.remember_answer(request, encode(reply))
    return reply
