"""State of a run in a worker, and how it is saved so that a kill at any moment loses nothing.

A checkpoint contains the journal rows of the epoch it completes, because neither may exist without the other: after a
kill between the two, the next worker appends the rows. Rows appended first would be measured and appended again by a
worker that resumes from an earlier checkpoint.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from engine.analysis.learning import ConstantPredictor
from engine.base.errors import DatasetError
from engine.runs.journal import Checkpointed, Epoch, Gradients, JournalWriter, Notice
from engine.runs.open_run import OpenRun
from engine.spec.precision import Precision
from engine.spec.run import RunSpec
from engine.training.checkpoint import HostCopy, LoadedCheckpoint, load_checkpoint, save_checkpoint
from engine.training.gradients import Layer, Measurement, layer_rows, layers
from engine.training.layout import to_keep
from engine.training.numerics import LossScale, resolve
from engine.training.progress import ProgressMeter
from engine.training.step import DeviceData, TrainingState, start_training
from engine.training.steps import EagerSteps, Steps


@dataclass(frozen=True, slots=True)
class PendingSave:
    """A checkpoint being written."""

    step: int
    waited_seconds: float
    """Time that training was blocked."""
    written: Future[int]
    """Size of the file in bytes."""


@dataclass(slots=True)
class Session:
    """State of the training loop; `save` stores everything that must survive a kill."""

    run: OpenRun
    data: DeviceData
    state: TrainingState
    journal: JournalWriter
    data_sha256: str
    """Digest of the dataset; a run never resumes with other images."""
    check_lock: Callable[[], None] = lambda: None
    """Raises an error if another worker may train the run."""
    steps: Steps = field(init=False)
    """Eager by default; the worker may replace them by captured ones."""
    meter: ProgressMeter = field(init=False)
    saves_beside: bool = field(init=False)
    """Whether checkpoints are written in the background: on a GPU, which would be idle otherwise."""
    train_seconds: float = 0.0
    """Training time of the current epoch, without evaluation and checkpoints."""
    epoch_seconds: float = 0.0
    """Total time of the current epoch."""
    timed_at: float = field(default_factory=time.monotonic)
    """Time of the last update of both, monotonic clock."""
    saved_at: float = field(default_factory=time.monotonic)
    saved_step: int | None = None
    """Step of the newest checkpoint; None before the first."""
    saving: PendingSave | None = None
    """Checkpoint being written; None if there is none."""
    judged: dict[int, Epoch] = field(default_factory=dict)
    """Epochs considered for early stopping."""
    class_counts: tuple[int, ...] = field(init=False)
    """Training images of each class."""
    ended_because: str | None = None
    """Reason of an early stop; None without one."""
    layers: list[Layer] = field(init=False)
    """Layers whose gradients are measured."""
    gradients: Tensor | None = None
    """float64 [3, L], from the last step of a complete epoch that is not yet reported; None otherwise."""
    initial_gradients: Measurement | None = None
    """Gradients of the run's first step, not yet in the journal; None otherwise."""
    host_copy: HostCopy = field(default_factory=HostCopy)
    writer: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(1, "checkpoint"))

    def __post_init__(self) -> None:
        self.steps = EagerSteps(self.state, self.data, self.spec)
        self.meter = ProgressMeter(self.state.device)
        self.layers = layers(self.state.model)
        labels, num_classes = self.data.train_labels.cpu(), self.spec.model.num_classes
        self.class_counts = tuple(torch.bincount(labels, minlength=num_classes).tolist())
        self.saves_beside = self.state.device.type == "cuda"

    @property
    def spec(self) -> RunSpec:
        return self.run.identity.spec

    @property
    def guess(self) -> ConstantPredictor:
        """Constant predictor of the training set, against which early stopping compares."""
        return ConstantPredictor.of(self.class_counts, self.spec.model.num_classes)

    @property
    def steps_per_epoch(self) -> int:
        return self.spec.steps_per_epoch(len(self.data.train_labels))

    @property
    def total_steps(self) -> int:
        return self.steps_per_epoch * self.spec.recipe.epochs

    def is_epoch_complete(self) -> bool:
        """Return whether an epoch is fully trained but not yet evaluated."""
        return self.state.sums.num_images > 0 and self.state.next_step % self.steps_per_epoch == 0

    def count_time(self, *, training: bool) -> None:
        """Add the time since the last call to the epoch's total, and to its training time if `training`."""
        now = time.monotonic()
        self.epoch_seconds += now - self.timed_at
        if training:
            self.train_seconds += now - self.timed_at
        self.timed_at = now


def note_initial_gradients(session: Session) -> None:
    """Write the gradients at initialisation to the journal, waiting for them if necessary."""
    if session.initial_gradients is not None:
        measured, session.initial_gradients = session.initial_gradients.read(), None
        session.journal.initial_gradients(Gradients(epoch=0, step=1, layers=layer_rows(session.layers, measured)))


def save(session: Session, *rows: Epoch | Gradients) -> None:
    """Save a checkpoint with an epoch's journal rows.

    If it is written in the background, journal lines are held back until it is on disk, which preserves their order.
    """
    note_initial_gradients(session)
    settle_save(session)
    if not rows and session.saved_step == session.state.next_step:
        return
    began = time.monotonic()
    pending = session.journal.stamp(rows)
    state = checkpoint_state(session, pending)
    if session.saves_beside:
        written = session.writer.submit(write_checkpoint, session, session.host_copy.take(state))
    else:
        written = Future()
        written.set_result(write_checkpoint(session, state))
    session.journal.hold(pending)
    session.saving = PendingSave(session.state.next_step, time.monotonic() - began, written)
    if not session.saves_beside:
        settle_save(session)
    session.timed_at = time.monotonic()


def write_checkpoint(session: Session, state: dict[str, Any]) -> int:
    """Sync the journal the state relies on, then write the state; returns its size in bytes."""
    session.host_copy.wait()
    session.journal.sync()
    session.check_lock()
    return save_checkpoint(session.run.folder, state)


def is_saved(session: Session) -> bool:
    """Return whether a background checkpoint is written but not yet settled."""
    return session.saving is not None and session.saving.written.done()


def settle_save(session: Session) -> None:
    """Wait for the pending checkpoint, if any, and release the journal lines held back for it.

    Raises:
        OSError: the checkpoint could not be written; the held lines are not written either.
    """
    if session.saving is None:
        return
    saving, session.saving = session.saving, None
    size = saving.written.result()
    session.journal.release()
    session.saved_at, session.saved_step = time.monotonic(), saving.step
    session.journal.append(Checkpointed(step=saving.step, size_bytes=size, seconds=saving.waited_seconds))


def checkpoint_state(session: Session, pending: list[bytes]) -> dict[str, Any]:
    """Collect everything `restore` needs; random draws and learning rate follow from seed and step."""
    state = session.state
    return {
        "spec": session.run.identity.digest,
        "origin": session.run.identity.origin,
        "data": session.data_sha256,
        "next_step": state.next_step,
        "model": dict(state.model.state_dict()),
        "optimizer": state.optimizer.state_dict(),
        "loss_sum": state.sums.loss,
        "wrong_sum": state.sums.wrong,
        "num_images": state.sums.num_images,
        "precision": state.precision.value,
        "layout": state.layout.value,
        "loss_scale": None if state.loss_scale is None else [state.loss_scale.factor, state.loss_scale.good_steps],
        "gradients": session.gradients,
        "train_seconds": session.train_seconds,
        "epoch_seconds": session.epoch_seconds,
        "pending_lines": [line.decode() for line in pending],
        # Floating-point sums depend on the number of threads.
        "num_threads": torch.get_num_threads(),
    }


def newest_checkpoint(run: OpenRun) -> LoadedCheckpoint | None:
    """Load a run's newest readable checkpoint; None before the first.

    Raises:
        CheckpointDamaged: no existing checkpoint is readable.
    """
    return load_checkpoint(run.folder, run.identity)


def state_for(
    spec: RunSpec, device: torch.device, loaded: LoadedCheckpoint | None, fallback: Precision | None
) -> TrainingState:
    """Create a run's state before its first step, which computes as its checkpoint did.

    Args:
        loaded: Checkpoint to restore next. A run keeps its precision and memory layout, even on another device.
        fallback: Precision since its first workers crashed; None if they did not.

    Raises:
        ValueError: the device does not support the recipe's precision natively.
    """
    used, keep = resolve(spec, device), None
    if loaded is not None:
        used, keep = Precision(loaded.state["precision"]), to_keep(loaded.state)
    return start_training(spec, device, precision=fallback or used, keep_layout=keep)


def restore(session: Session, loaded: LoadedCheckpoint | None) -> bool:
    """Restore a session, whose state comes from `state_for`, from a checkpoint; False if there is none.

    Raises:
        DatasetError: the dataset has changed since the run began.
    """
    state = session.state
    if loaded is None:
        return False
    saved = loaded.state
    if saved["data"] != session.data_sha256:
        raise DatasetError(
            f"{session.spec.data.name} has changed since this run began (was {saved['data'][:12]}, is"
            f" {session.data_sha256[:12]}): import it again as it was, or train a new run"
        )
    state.model.load_state_dict(saved["model"])
    state.optimizer.load_state_dict(saved["optimizer"])
    state.next_step = saved["next_step"]
    state.sums.set(saved["loss_sum"], saved["wrong_sum"], saved["num_images"])
    if saved["loss_scale"] is not None and state.loss_scale is not None:
        state.loss_scale = LossScale(*(tensor.to(state.device) for tensor in saved["loss_scale"]))
    # Absent from checkpoints of versions that did not measure gradients.
    session.gradients = saved.get("gradients")
    session.train_seconds, session.epoch_seconds = saved["train_seconds"], saved["epoch_seconds"]
    if state.device.type == "cpu":
        torch.set_num_threads(saved["num_threads"])
    if loaded.damage is not None:
        session.journal.append(Notice(text=f"went back one checkpoint: {loaded.damage}"))
    session.journal.append_missing(line.encode() for line in saved["pending_lines"])
    session.saved_step = state.next_step if loaded.damage is None else None
    return True
