"""One run under way in a worker: its state, what is written of it, and the loop that carries it from step to step."""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch

from engine.augmentation import EpochDraws
from engine.checkpoint import load_checkpoint, save_checkpoint, save_weights
from engine.errors import DatasetError
from engine.journal import Checkpointed, Epoch, JournalWriter, Notice
from engine.loss_scaling import LossScale
from engine.memory_estimate import evaluation_batch_size
from engine.precision import Precision
from engine.progress import ProgressMeter, finite
from engine.run_directory import ExitReason, RunDirectory
from engine.schedule import learning_rate_at
from engine.spec import RunSpec
from engine.training import (
    DeviceData,
    MetricSums,
    TrainingState,
    diverged_at,
    evaluate,
    has_finite_weights,
    train_step,
    training_batch,
)

SECONDS_BETWEEN_CHECKPOINTS = 60.0


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
    meter: ProgressMeter = field(default_factory=ProgressMeter.start)
    train_seconds: float = 0.0
    """Spent on training in the epoch under way, evaluation and checkpoints left out."""
    epoch_seconds: float = 0.0
    """Spent on the epoch under way, everything counted."""
    timed_at: float = field(default_factory=time.monotonic)
    """When both were last brought up to date, by the monotonic clock."""
    saved_at: float = field(default_factory=time.monotonic)
    saved_step: int | None = None
    """The step of the newest checkpoint; None before the first."""

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


def train(session: Session, should_stop: Callable[[], bool]) -> ExitReason:
    """Carry a run from where it stands to its end, or to the next step after a stop was asked for.

    Args:
        session: A run at its beginning or as `restore` left it.
        should_stop: Asked between steps; True saves a checkpoint and returns.

    Returns:
        How it ended; a diverged run keeps its last good checkpoint.
    """
    while True:
        if session.is_epoch_complete():
            ended = finish_epoch(session, should_stop)
        elif session.state.next_step < session.total_steps:
            ended = train_epoch(session, should_stop)
        else:
            save_weights(session.directory.weights, session.state.model)
            return ExitReason.SUCCEEDED
        if ended is not None:
            return ended


def train_epoch(session: Session, should_stop: Callable[[], bool]) -> ExitReason | None:
    """Train on the batches of the epoch under way that are still to come; None when all are done."""
    state, recipe = session.state, session.spec.recipe
    epoch, done = divmod(state.next_step, session.steps_per_epoch)
    draws = EpochDraws.draw(session.spec.seed, epoch, len(session.data.train_labels)).to(state.device)
    session.meter.restart(state)
    for index in range(done, session.steps_per_epoch):
        stopping = should_stop()
        if stopping or time.monotonic() - session.saved_at >= SECONDS_BETWEEN_CHECKPOINTS:
            if (step := diverged_at(state)) is not None or not has_finite_weights(state):
                return note_divergence(session, state.next_step if step is None else step)
            session.count_time(training=True)
            save(session)
            if stopping:
                return ExitReason.STOPPED
            session.meter.restart(state)
        rate = learning_rate_at(state.next_step, recipe, total_steps=session.total_steps)
        train_step(state, training_batch(session.data, draws, index * recipe.batch_size, recipe), learning_rate=rate)
        is_due = session.meter.is_due()
        # Reading the flag costs nothing on a CPU; on a GPU it would wait for the step, so it is read with the rest.
        if (is_due or state.device.type == "cpu") and (step := diverged_at(state)) is not None:
            return note_divergence(session, step)
        if is_due and (progress := session.meter.read(state, epoch=epoch + 1, learning_rate=rate)) is not None:
            session.journal.step(progress)
    if (step := diverged_at(state)) is not None or not has_finite_weights(state):
        return note_divergence(session, state.next_step if step is None else step)
    session.count_time(training=True)
    return None


def note_divergence(session: Session, step: int) -> ExitReason:
    """Say at which step the loss stopped being a number; the last good checkpoint stays as it is."""
    epoch = step // session.steps_per_epoch + 1
    session.journal.append(Notice(text=f"the loss was not finite at step {step} (epoch {epoch}): stopped before it"))
    return ExitReason.DIVERGED


def finish_epoch(session: Session, should_stop: Callable[[], bool]) -> ExitReason | None:
    """Evaluate a complete epoch, save it, report it; None when that is done."""
    state = session.state
    loss, wrong = state.sums.read()
    num_images = state.sums.num_images
    measured = evaluate(
        state.model,
        session.data,
        batch_size=evaluation_batch_size(session.spec, state.precision),
        precision=state.precision,
        should_stop=should_stop,
    )
    session.count_time(training=False)
    if measured is None:
        save(session)
        return ExitReason.STOPPED
    test_loss, test_error_percent = measured
    last_step = state.next_step - 1
    row = Epoch(
        epoch=state.next_step // session.steps_per_epoch,
        step=state.next_step,
        train_loss=finite(loss / num_images),
        train_error_percent=100 * wrong / num_images,
        test_loss=finite(test_loss),
        test_error_percent=test_error_percent,
        learning_rate=learning_rate_at(last_step, session.spec.recipe, total_steps=session.total_steps),
        images_per_second=num_images / max(session.train_seconds, 1e-9),
        seconds=session.epoch_seconds,
        peak_memory_bytes=peak_memory_bytes(state.device),
    )
    state.sums = MetricSums.zeros(state.device)
    session.train_seconds = session.epoch_seconds = 0.0
    save(session, row)
    return None


def save(session: Session, row: Epoch | None = None) -> None:
    """Save a checkpoint and then append an epoch's row, so that neither can be there without the other.

    The checkpoint carries the row: a worker killed between the two leaves it to the next one to append. A row
    appended first would be measured and appended again by a worker that goes on from before it.
    """
    if row is None and session.saved_step == session.state.next_step:
        return
    began = time.monotonic()
    pending = session.journal.stamp([row]) if row is not None else []
    session.journal.sync()
    size = save_checkpoint(
        session.directory.checkpoint, session.directory.previous_checkpoint, checkpoint_state(session, pending)
    )
    session.journal.append_lines(pending)
    session.saved_at, session.saved_step = time.monotonic(), session.state.next_step
    session.journal.append(
        Checkpointed(step=session.state.next_step, size_bytes=size, seconds=session.saved_at - began)
    )
    session.timed_at = time.monotonic()


def checkpoint_state(session: Session, pending: list[bytes]) -> dict[str, Any]:
    """Everything that `restore` needs; draws and learning rate follow from the seed and the step."""
    state = session.state
    return {
        "spec": session.directory.spec_digest(),
        "data": session.data_sha256,
        "next_step": state.next_step,
        "model": state.model.state_dict(),
        "optimizer": state.optimizer.state_dict(),
        "loss_sum": state.sums.loss,
        "wrong_sum": state.sums.wrong,
        "num_images": state.sums.num_images,
        "precision": state.precision.value,
        "loss_scale": None if state.loss_scale is None else [state.loss_scale.factor, state.loss_scale.good_steps],
        "train_seconds": session.train_seconds,
        "epoch_seconds": session.epoch_seconds,
        "journal_offset_bytes": session.journal.offset_bytes,
        "journal_seq": session.journal.next_seq,
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
    state.sums = MetricSums(
        saved["loss_sum"].to(state.device), saved["wrong_sum"].to(state.device), saved["num_images"]
    )
    # A run ends in the precision it began in, wherever it goes on.
    state.precision = Precision(saved["precision"])
    if saved["loss_scale"] is not None:
        state.loss_scale = LossScale(*(tensor.to(state.device) for tensor in saved["loss_scale"]))
    session.train_seconds, session.epoch_seconds = saved["train_seconds"], saved["epoch_seconds"]
    if state.device.type == "cpu":
        torch.set_num_threads(saved["num_threads"])
    if loaded.damage is not None:
        session.journal.append(Notice(text=f"went back one checkpoint: {loaded.damage}"))
    elif session.journal.next_seq <= saved["journal_seq"]:
        session.journal.append_lines(line.encode() for line in saved["pending_lines"])
    session.saved_step = state.next_step if loaded.damage is None else None
    return True


def peak_memory_bytes(device: torch.device) -> int:
    """The most that was allocated on a GPU, or the most that this process held on the CPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
