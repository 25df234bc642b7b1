"""Submission of runs: all or none.

It is checked, then written to submission.json as a whole, which decides that it will be carried out; then the run
directories are created, and all runs are added to the index at once. If the engine dies in between, the next one
creates what is missing. Until the file is deleted, the directories are no runs for a rebuild of the index.
"""

from __future__ import annotations

import hashlib
import logging
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Self

import msgspec

from engine.base.decoding import decoder
from engine.base.errors import UsageError
from engine.base.paths import Home, sync_directory, write_atomically
from engine.base.regular_files import OddFile, read_regular
from engine.control.protocol import MAX_LINE_BYTES, Done, Submit, encode
from engine.index.database import IndexNotWritten
from engine.runs.directory import Labels
from engine.runs.identity import RunId
from engine.scheduler.supervisor import Supervisor
from engine.spec.devices import check_device
from engine.spec.labels import check_label
from engine.spec.run import RunSpec

log = logging.getLogger(__name__)


class PendingRun(msgspec.Struct, frozen=True):
    """A run to be created."""

    id: RunId
    spec: RunSpec
    labels: Labels


class Pending(msgspec.Struct, frozen=True):
    """Contents of submission.json."""

    reply: Done
    runs: tuple[PendingRun, ...]


@dataclass(frozen=True, slots=True)
class Submission:
    """A request to queue runs in progress. It reserves queue places when it begins, so only one may be active."""

    reply: Done
    runs: tuple[PendingRun, ...]
    """Ids derive from the request's id, so a repeated request means the same runs."""

    @classmethod
    def begin(cls, request: Submit, supervisor: Supervisor) -> Self:
        """Check a request and assign its queue places.

        Raises:
            UsageError: the request is invalid; nothing was changed.
        """
        if not request.runs:
            raise UsageError("an experiment needs at least one run")
        for new in request.runs:
            check_label(new.name, "a run's name")
            check_device(new.spec, supervisor.devices)
        if request.experiment is not None:
            check_label(request.experiment, "an experiment's name")
        store = supervisor.store
        begun = supervisor.directory(run_id(request.id, 0))
        if begun.spec_file.exists():
            # A previous engine started this request and died before answering it.
            labels = begun.read_labels()
            experiment, first, place = labels.experiment, labels.position, labels.queue_place
        else:
            experiment = request.experiment or f"exp{store.next_experiment_number()}"
            first, place = store.next_position(), store.next_place()
        now = time.time()
        runs = tuple(
            PendingRun(
                run_id(request.id, index),
                new.spec,
                Labels(
                    name=new.name,
                    experiment=experiment,
                    position=first + index,
                    place=place + index,
                    created_at=now,
                    estimate=new.estimate,
                ),
            )
            for index, new in enumerate(request.runs)
        )
        return cls(Done(id=request.id, runs=tuple(run.id for run in runs), experiment=experiment), runs)

    def make_directories(self, supervisor: Supervisor) -> Iterator[None]:
        """Decide to carry it out, and create the run directories, yielding after each because syncing takes time."""
        supervisor.pending = frozenset(run.id for run in self.runs)
        write_atomically(supervisor.home.submission, msgspec.json.encode(Pending(self.reply, self.runs)))
        for run in self.runs:
            supervisor.directory(run.id).create(run.spec, run.labels)
            yield
        sync_directory(supervisor.home.runs)

    def undo(self, supervisor: Supervisor) -> None:
        """Remove the directories created so far, then the decision."""
        known = supervisor.store.known_ids()
        for run in self.runs:
            if run.id not in known:
                shutil.rmtree(supervisor.directory(run.id).path, ignore_errors=True)
        self.end(supervisor)

    def end(self, supervisor: Supervisor) -> None:
        """Nothing is left to do."""
        supervisor.home.submission.unlink(missing_ok=True)
        supervisor.pending = frozenset()

    def enter(self, supervisor: Supervisor) -> Done:
        """Add all runs and the reply to the index in one transaction."""
        with supervisor.labelling.transaction():
            for run in self.runs:
                supervisor.store.add_run(run.id, run.spec, run.labels)
                supervisor.store.add_event(run.id, "queued", f"as {run.labels.experiment}/{run.labels.name}")
            supervisor.store.remember_answer(self.reply.id, encode(self.reply))
        self.end(supervisor)
        return self.reply


_decode: Callable[[bytes | str], Pending] = decoder(Pending)


def read_pending(home: Home) -> Submission | None:
    """Read the submission that an engine did not complete; None if there is none."""
    try:
        pending = _decode(read_regular(home.submission, limit=2 * MAX_LINE_BYTES))
    except FileNotFoundError:
        return None
    except (msgspec.DecodeError, OddFile) as error:
        # It was written atomically, so someone else changed it.
        aside = home.submission.with_suffix(f".damaged-{time.time_ns()}")
        log.error("%s is damaged (%s): kept as %s", home.submission, error, aside.name)
        home.submission.rename(aside)
        return None
    return Submission(pending.reply, pending.runs)


def complete_pending(supervisor: Supervisor) -> None:
    """Carry out a submission that an engine did not complete.

    Raises:
        OSError: a directory cannot be created; the submission remains.
        IndexNotWritten: the disk is full; the submission remains.
    """
    submission = read_pending(supervisor.home)
    if submission is None:
        return
    supervisor.pending = frozenset(run.id for run in submission.runs)
    if supervisor.store.answered(submission.reply.id) is not None:
        submission.end(supervisor)
        return
    for _ in submission.make_directories(supervisor):
        pass
    submission.enter(supervisor)
    log.info("completed the submission of %d runs that an engine before this one began", len(submission.runs))


def complete_at_start(supervisor: Supervisor) -> None:
    """Complete the submission that the last engine was carrying out; without space, the next submission tries again."""
    try:
        complete_pending(supervisor)
    except (OSError, IndexNotWritten) as error:
        log.error("a submission is not complete: %s", error)


def run_id(request: str, index: int) -> str:
    """Id of a request's run by its index: ten hexadecimal digits."""
    return hashlib.sha256(f"{request}/{index}".encode()).hexdigest()[:10]
