"""Submission of runs: checked, then created on disk, then added to the index all at once."""

from __future__ import annotations

import hashlib
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Self

from engine.base.errors import UsageError
from engine.control.protocol import Done, NewRun, Submit, encode
from engine.runs.directory import Labels
from engine.scheduler.supervisor import Supervisor
from engine.spec.devices import check_device
from engine.spec.labels import check_label


@dataclass(frozen=True, slots=True)
class Submission:
    """A request to queue runs in progress. It reserves queue places when it begins, so only one may be active."""

    reply: Done
    runs: tuple[tuple[str, NewRun, Labels], ...]
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
            (
                run_id(request.id, index),
                new,
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
        return cls(Done(id=request.id, runs=tuple(run for run, _, _ in runs), experiment=experiment), runs)

    def make_directories(self, supervisor: Supervisor) -> Iterator[None]:
        """Create the run directories, yielding after each because syncing takes time."""
        for run, new, labels in self.runs:
            supervisor.directory(run).create(new.spec, labels)
            yield

    def undo(self, supervisor: Supervisor) -> None:
        """Remove directories created so far; the next engine would take them for lost runs."""
        known = supervisor.store.known_ids()
        for run, _, _ in self.runs:
            if run not in known:
                shutil.rmtree(supervisor.directory(run).path, ignore_errors=True)

    def enter(self, supervisor: Supervisor) -> Done:
        """Add all runs and the reply to the index in one transaction."""
        with supervisor.labelling.transaction():
            for run, new, labels in self.runs:
                supervisor.store.add_run(run, new.spec, labels)
                supervisor.submit(run, labels)
            supervisor.store.remember_answer(self.reply.id, encode(self.reply))
        return self.reply


def run_id(request: str, index: int) -> str:
    """Id of a request's run by its index: ten hexadecimal digits."""
    return hashlib.sha256(f"{request}/{index}".encode()).hexdigest()[:10]
