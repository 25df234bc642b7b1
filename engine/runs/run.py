"""Runs as stored in the index: status, outcome, and allowed transitions."""

from __future__ import annotations

from enum import StrEnum

import msgspec

from engine.spec.estimate import Estimate
from engine.spec.precision import Precision
from engine.spec.run import RunSpec

DISK_FULL = "disk full"
NO_ACCESS = "no access"
"""Beginnings of the error of a run that waits for the disk; also shown as its state."""


class RunStatus(StrEnum):
    """Status of a run; RunOutcome says how a finished run ended."""

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
    """Ended by its stop rule, without a final result."""


class Intent(StrEnum):
    """What the user wants of a run, and its state once a worker that was asked to stop has exited."""

    RUN = "run"
    PAUSE = "pause"
    STOP = "stop"


TRANSITIONS: dict[RunStatus, frozenset[RunStatus]] = {
    RunStatus.QUEUED: frozenset({RunStatus.RUNNING, RunStatus.PAUSED, RunStatus.FINISHED}),
    RunStatus.RUNNING: frozenset({RunStatus.QUEUED, RunStatus.PAUSED, RunStatus.FINISHED}),
    RunStatus.PAUSED: frozenset({RunStatus.QUEUED, RunStatus.FINISHED}),
    # A paused run that was hidden is paused again once it is restored.
    RunStatus.FINISHED: frozenset({RunStatus.QUEUED, RunStatus.PAUSED}),
}


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """A run as stored in the index."""

    id: str
    origin: str
    """Id under which it was created; copies of a run have the same."""
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
    """Whether it is queued but not started until released."""
    device: str | None
    """Device it is training on or trained on last."""
    error: str | None
    """Last lines about why it failed, was lost or ended early; None if nothing went wrong."""
    created_at: float
    started_at: float | None
    finished_at: float | None
    deleted_at: float | None
    last_event_at: float | None
    """When its journal last grew, by its worker's clock; for display."""
    seen_at: float | None
    """When the engine last saw progress, by this machine's monotonic clock, which cannot be set."""
    step: int
    """Updates done according to the journal."""
    total_steps: int | None
    """Updates of the whole run; None until a worker has loaded the data."""
    epoch: int
    """Epochs completed."""
    train_loss: float | None
    train_error_percent: float | None
    test_loss: float | None
    test_error_percent: float | None
    """Of the newest completed epoch, which is the result of a finished run; with a validation set, None before."""
    best_test_error_percent: float | None
    """Lowest of all epochs: selected on the test set, so never a result."""
    images_per_second: float | None
    """Newest value of its current or last worker; None before a worker's first step."""
    seconds: float | None
    """Training and evaluation so far, summed over epochs; `taken_seconds` adds checkpoints."""
    data_sha256: str | None
    """Digest of the images, as its worker found them; None before its first start."""
    version: str | None
    """Version of depthscope that began to train it; None before, and for versions that did not record theirs."""
    synthetic: bool
    """Whether the images were procedural, so that results say nothing about CIFAR."""
    class_counts: tuple[int, ...] | None
    """Training images of each class; None before its first start, and for versions that did not record them."""
    precision: Precision | None
    """Precision in use; None until a worker has resolved it for its device."""
    device_name: str | None
    """Name reported by the device; None until a worker has started."""
    checkpoint_seconds: float
    """Time spent saving so far, not included in `seconds`."""
    estimate: Estimate | None
    """Time estimate when it was queued; None if there was no basis for one."""
    starred: bool
    tags: tuple[str, ...]
    """Sorted."""
    notes: str
    """Note of the user, in one line; empty if there is none."""
    validation_loss: float | None = None
    validation_error_percent: float | None = None
    """Of the newest completed epoch; None, like the next, without a validation set."""
    best_validation_error_percent: float | None = None
    """Lowest of all epochs."""
    unreadable: str | None = None
    """Why its run directory cannot be read, and what to do; None if it can. It is not started or changed until then."""

    @property
    def has_validation(self) -> bool:
        """Whether images are held out of training, so that the test set selects nothing."""
        return self.spec.data.validation_images is not None

    @property
    def taken_seconds(self) -> float:
        """The run's time, wherever one is shown: training, evaluation and checkpoints so far, without start-up."""
        return (self.seconds or 0.0) + self.checkpoint_seconds

    @property
    def waits_for_disk(self) -> bool:
        """Whether it is paused only until the disk is writable; `error` says why."""
        return self.status is RunStatus.PAUSED and self.intent is Intent.RUN

    @property
    def is_starting(self) -> bool:
        """Whether its worker is still loading torch and images."""
        return self.status is RunStatus.RUNNING and self.images_per_second is None

    @property
    def is_finished(self) -> bool:
        return self.status is RunStatus.FINISHED

    @property
    def succeeded(self) -> bool:
        return self.outcome is RunOutcome.SUCCEEDED

    @property
    def stopped_early(self) -> bool:
        """Whether its stop rule ended it: it has no final error, but its epochs count in comparisons."""
        return self.outcome is RunOutcome.STOPPED_EARLY

    @property
    def fraction_done(self) -> float:
        """Fraction of all updates done, in 0..1."""
        return 0.0 if not self.total_steps else min(1.0, self.step / self.total_steps)


class EventRow(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An event of a run: queued, started, adopted, resumed, checkpointed, finished and so on."""

    at: float
    kind: str
    text: str
    heard_at: float | None = None
    """For a worker's start: when it wrote its last line so far; only set by queries that need it."""
