"""A run as the engine knows it: where it stands, how it ended, and what may follow what."""

from __future__ import annotations

from enum import StrEnum

import msgspec

from engine.spec.estimate import Estimate
from engine.spec.precision import Precision
from engine.spec.run import RunSpec

DISK_FULL = "disk full"
NO_ACCESS = "no access"
"""How the error of a run begins that waits for the disk; also the words for where it stands."""


class RunStatus(StrEnum):
    """Where a run stands; how a finished one ended is its RunOutcome."""

    QUEUED = "queued"
    RUNNING = "running"
    PAUSED = "paused"
    FINISHED = "finished"


class RunOutcome(StrEnum):
    """How a finished run ended."""

    SUCCEEDED = "succeeded"
    DIVERGED = "diverged"
    FAILED = "failed"
    CANCELLED = "cancelled"
    LOST = "lost"
    STOPPED_EARLY = "stopped-early"
    """By the rule that the run was asked to end by, with no result of its whole training."""


class Intent(StrEnum):
    """What the user wants of a run; a worker that was asked to stop leaves the run in this state."""

    RUN = "run"
    PAUSE = "pause"
    STOP = "stop"


TRANSITIONS: dict[RunStatus, frozenset[RunStatus]] = {
    RunStatus.QUEUED: frozenset({RunStatus.RUNNING, RunStatus.PAUSED, RunStatus.FINISHED}),
    RunStatus.RUNNING: frozenset({RunStatus.QUEUED, RunStatus.PAUSED, RunStatus.FINISHED}),
    RunStatus.PAUSED: frozenset({RunStatus.QUEUED, RunStatus.FINISHED}),
    RunStatus.FINISHED: frozenset({RunStatus.QUEUED}),
}


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """One row of the index over the run directories."""

    id: str
    name: str
    experiment: str
    spec: RunSpec
    status: RunStatus
    outcome: RunOutcome | None
    intent: Intent
    position: int
    """Order of submission: lower is earlier."""
    place: float
    """Order in the queue: lower is earlier."""
    held: bool
    """Whether it is queued and not to be started until it is released."""
    device: str | None
    """Where it runs or last ran."""
    error: str | None
    """Why it failed, was lost or ended early, its last lines; None where nothing went wrong."""
    created_at: float
    started_at: float | None
    finished_at: float | None
    deleted_at: float | None
    last_event_at: float | None
    """When its journal last grew, by the clock of its worker; for display."""
    seen_at: float | None
    """When the engine last saw it get further, by the monotonic clock of this machine, which nobody sets."""
    step: int
    """Updates done, as far as the journal says."""
    total_steps: int | None
    """Updates of the whole run; None until a worker has seen the data."""
    epoch: int
    """Epochs completed."""
    train_loss: float | None
    train_error_percent: float | None
    test_loss: float | None
    test_error_percent: float | None
    """Of the newest completed epoch; of a finished run that is the result."""
    best_test_error_percent: float | None
    """Lowest of all epochs: selected on the test set, so never a result."""
    images_per_second: float | None
    """Newest of its present worker, or of its last one; None before the first step of a worker."""
    seconds: float | None
    """Of training so far, summed over the epochs."""
    synthetic: bool
    """Whether the images were procedural, so that results say nothing about CIFAR."""
    precision: Precision | None
    """What it is computed in; None until a worker has looked what its device does natively."""
    device_name: str | None
    """What the device calls itself; None until a worker has said so."""
    checkpoint_seconds: float
    """Of saving so far, which `seconds` leaves out."""
    estimate: Estimate | None
    """What it was expected to take when it was queued; None where there was nothing to go by."""
    starred: bool
    tags: tuple[str, ...]
    """Sorted."""
    notes: str
    """What the user wrote about it, in one line; empty where nothing."""

    @property
    def taken_seconds(self) -> float:
        """Training, evaluation and checkpoints so far: what an estimate is held against."""
        return (self.seconds or 0.0) + self.checkpoint_seconds

    @property
    def waits_for_disk(self) -> bool:
        """Whether it rests although it is to run, until the disk takes what it writes; `error` says why."""
        return self.status is RunStatus.PAUSED and self.intent is Intent.RUN

    @property
    def is_starting(self) -> bool:
        """Whether its worker is there, and loads torch and the images rather than train yet."""
        return self.status is RunStatus.RUNNING and self.images_per_second is None

    @property
    def is_finished(self) -> bool:
        return self.status is RunStatus.FINISHED

    @property
    def succeeded(self) -> bool:
        return self.outcome is RunOutcome.SUCCEEDED

    @property
    def stopped_early(self) -> bool:
        """Whether its rule ended it: it has no final error, and what it has shown until then counts all the same."""
        return self.outcome is RunOutcome.STOPPED_EARLY

    @property
    def fraction_done(self) -> float:
        """Share of all updates that are done, in 0..1."""
        return 0.0 if not self.total_steps else min(1.0, self.step / self.total_steps)


class EventRow(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Something that happened to a run: queued, started, adopted, resumed, checkpointed, finished and why."""

    at: float
    kind: str
    text: str
    heard_at: float | None = None
    """Where a worker begins: when it wrote its last line so far; read where that is asked for alone."""
