"""One run under way in a worker, and how it is kept: written so that a kill at any instant loses nothing.

A checkpoint carries the rows of the epoch that it ends, because neither may be there without the other: a worker killed
between the two leaves the rows to the next one to append. A row appended first would be measured and appended again by
a worker that goes on from before it.
"""

from __future__ import annotations

import time
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from engine.base.errors import DatasetError
from engine.runs.directory import RunDirectory
from engine.runs.journal import Checkpointed, Epoch, Gradients, JournalWriter, Notice
from engine.spec.precision import Precision
from engine.spec.run import RunSpec
from engine.training.checkpoint import HostCopy, load_checkpoint, save_checkpoint
from engine.training.gradients import Layer, Measurement, layer_rows, layers
from engine.training.loss_scaling import LossScale
from engine.training.progress import ProgressMeter
from engine.training.step import DeviceData, TrainingState
from engine.training.steps import EagerSteps, Steps


@dataclass(frozen=True, slots=True)
class PendingSave:
    """A checkpoint that is being written while training goes on."""

    step: int
    waited_seconds: float
    """How long training stood still for it."""
    written: Future[int]
    """The size of the file in bytes."""


@dataclass(slots=True)
class Session:
    """What the loop needs; everything that must survive a kill goes through `save`."""

    directory: RunDirectory
    spec: RunSpec
    data: DeviceData
    state: TrainingState
    journal: JournalWriter
    data_sha256: str
    """Of the dataset: a run never goes on with other images than it began with."""
    steps: Steps = field(init=False)
    """Launched one by one, until somebody records them."""
    meter: ProgressMeter = field(init=False)
    saves_beside: bool = field(init=False)
    """Whether checkpoints are written while training goes on: on a GPU, which a waiting host would leave idle."""
    train_seconds: float = 0.0
    """Spent on training in the epoch under way, evaluation and checkpoints left out."""
    epoch_seconds: float = 0.0
    """Spent on the epoch under way, everything counted."""
    timed_at: float = field(default_factory=time.monotonic)
    """When both were last brought up to date, by the monotonic clock."""
    saved_at: float = field(default_factory=time.monotonic)
    saved_step: int | None = None
    """The step of the newest checkpoint; None before the first."""
    saving: PendingSave | None = None
    """None while nothing is being written."""
    judged: dict[int, Epoch] = field(default_factory=dict)
    """The epochs by which it is decided whether the run ends early."""
    ended_because: str | None = None
    """Why it was ended early, for a person; None where it was not."""
    layers: list[Layer] = field(init=False)
    """What gradients are measured of."""
    gradients: Tensor | None = None
    """float64 [3, L], of the last step of an epoch that is complete and not yet reported; None before."""
    initial_gradients: Measurement | None = None
    """Of the first step of all, on their way to the journal; None before and after."""
    host_copy: HostCopy = field(default_factory=HostCopy)
    writer: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(1, "checkpoint"))

    def __post_init__(self) -> None:
        self.steps = EagerSteps(self.state, self.data, self.spec)
        self.meter = ProgressMeter(self.state.device)
        self.layers = layers(self.state.model)
        self.saves_beside = self.state.device.type == "cuda"

    @property
    def steps_per_epoch(self) -> int:
        return self.spec.steps_per_epoch(len(self.data.train_labels))

    @property
    def total_steps(self) -> int:
        return self.steps_per_epoch * self.spec.recipe.epochs

    def is_epoch_complete(self) -> bool:
        """Whether every batch of an epoch was trained on that is not evaluated yet."""
        return self.state.sums.num_images > 0 and self.state.next_step % self.steps_per_epoch == 0

    def count_time(self, *, training: bool) -> None:
        """Add the time since the last call to the epoch's, and to its training's."""
        now = time.monotonic()
        self.epoch_seconds += now - self.timed_at
        if training:
            self.train_seconds += now - self.timed_at
        self.timed_at = now


def note_initial_gradients(session: Session) -> None:
    """Journal the gradients at initialisation, waiting for them where they are still on their way."""
    if session.initial_gradients is not None:
        measured, session.initial_gradients = session.initial_gradients.read(), None
        session.journal.initial_gradients(Gradients(epoch=0, step=1, layers=layer_rows(session.layers, measured)))


def save(session: Session, *rows: Epoch | Gradients) -> None:
    """Save a checkpoint, and an epoch's rows with it.

    Where that happens beside training, lines of the journal wait until the checkpoint is on disk, so that the order of
    both is the same as if training had waited.
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
    """Bring a state to disk behind the journal that it counts on; returns its size in bytes."""
    session.host_copy.wait()
    session.journal.sync()
    return save_checkpoint(session.directory.checkpoint, session.directory.previous_checkpoint, state)


def is_saved(session: Session) -> bool:
    """Whether a checkpoint that was written beside training waits to be settled."""
    return session.saving is not None and session.saving.written.done()


def settle_save(session: Session) -> None:
    """Wait for the checkpoint that is being written, and journal what waited for it; nothing where none is.

    Raises:
        OSError: it could not be written; what waited for it is not journalled either.
    """
    if session.saving is None:
        return
    saving, session.saving = session.saving, None
    size = saving.written.result()
    session.journal.release()
    session.saved_at, session.saved_step = time.monotonic(), saving.step
    session.journal.append(Checkpointed(step=saving.step, size_bytes=size, seconds=saving.waited_seconds))


def checkpoint_state(session: Session, pending: list[bytes]) -> dict[str, Any]:
    """Everything that `restore` needs; draws and learning rate follow from the seed and the step."""
    state = session.state
    return {
        "spec": session.directory.spec_digest(),
        "data": session.data_sha256,
        "next_step": state.next_step,
        "model": dict(state.model.state_dict()),
        "optimizer": state.optimizer.state_dict(),
        "loss_sum": state.sums.loss,
        "wrong_sum": state.sums.wrong,
        "num_images": state.sums.num_images,
        "precision": state.precision.value,
        "loss_scale": None if state.loss_scale is None else [state.loss_scale.factor, state.loss_scale.good_steps],
        "gradients": session.gradients,
        "train_seconds": session.train_seconds,
        "epoch_seconds": session.epoch_seconds,
        "pending_lines": [line.decode() for line in pending],
        # Sums of floats depend on how they are split over threads.
        "num_threads": torch.get_num_threads(),
    }


def restore(session: Session) -> bool:
    """Put a session where its newest readable checkpoint stands; False where there is none.

    Raises:
        CheckpointDamaged: there are checkpoints and none can be read.
        DatasetError: the images are not those that the run began with.
    """
    directory, state = session.directory, session.state
    loaded = load_checkpoint(directory.checkpoint, directory.previous_checkpoint, spec_digest=directory.spec_digest())
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
    # A run ends in the precision it began in, wherever it goes on.
    state.precision = Precision(saved["precision"])
    if saved["loss_scale"] is not None:
        state.loss_scale = LossScale(*(tensor.to(state.device) for tensor in saved["loss_scale"]))
    # Absent from a checkpoint of the time before gradients were measured.
    session.gradients = saved.get("gradients")
    session.train_seconds, session.epoch_seconds = saved["train_seconds"], saved["epoch_seconds"]
    if state.device.type == "cpu":
        torch.set_num_threads(saved["num_threads"])
    if loaded.damage is not None:
        session.journal.append(Notice(text=f"went back one checkpoint: {loaded.damage}"))
    session.journal.append_missing(line.encode() for line in saved["pending_lines"])
    session.saved_step = state.next_step if loaded.damage is None else None
    return True
