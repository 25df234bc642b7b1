"""The training loop of a run."""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Callable

import torch

from engine.analysis.early_stopping import describe_stop, reason_to_stop
from engine.runs.directory import ExitReason
from engine.runs.journal import SECONDS_BETWEEN_CHECKPOINTS, Epoch, Gradients, Notice
from engine.spec.schedule import learning_rate_at
from engine.training.augmentation import EpochDraws
from engine.training.checkpoint import save_weights
from engine.training.gradients import Measurement, layer_rows, measure, weight_norms
from engine.training.progress import finite
from engine.training.session import Session, is_saved, note_initial_gradients, save, settle_save
from engine.training.step import diverged_at, has_finite_weights


def train(session: Session, should_stop: Callable[[], bool]) -> ExitReason:
    """Train a run to its end, or until `should_stop`, called between steps, returns True; then save a checkpoint.

    Returns:
        Why it ended; a diverged run keeps its last good checkpoint.
    """
    while True:
        if session.is_epoch_complete():
            ended = finish_epoch(session, should_stop)
        elif session.state.next_step < session.total_steps:
            ended = end_early(session) or train_epoch(session, should_stop)
        else:
            session.check_lock()
            save_weights(session.run.folder, session.state.model)
            ended = ExitReason.SUCCEEDED
        if ended is not None:
            settle_save(session)
            return ended


def train_epoch(session: Session, should_stop: Callable[[], bool]) -> ExitReason | None:
    """Train on the remaining batches of the current epoch; None when all are done."""
    state, spec, total_steps = session.state, session.spec, session.total_steps
    epoch, done = divmod(state.next_step, session.steps_per_epoch)
    first = epoch * session.steps_per_epoch
    rates = [
        learning_rate_at(step, spec.recipe, total_steps=total_steps)
        for step in range(first, first + session.steps_per_epoch)
    ]
    draws = EpochDraws.draw(spec.seed, epoch, len(session.data.train_labels))
    session.steps.begin_epoch(draws, rates, done=done)
    session.meter.restart(state)
    for index in range(done, session.steps_per_epoch):
        if is_saved(session):
            settle_save(session)
        stopping = should_stop()
        due = session.saving is None and time.monotonic() - session.saved_at >= SECONDS_BETWEEN_CHECKPOINTS
        if stopping or due:
            if (step := diverged_at(state)) is not None or not has_finite_weights(state):
                return note_divergence(session, state.next_step if step is None else step)
            session.count_time(training=True)
            save(session)
            if stopping:
                return ExitReason.STOPPED
            session.meter.restart(state)
        if state.next_step == 0:
            take_first_step(session, rates[0])
        else:
            session.steps.take(index)
        # Reading the flag is free on a CPU. On a GPU it would wait for the step, so the meter reads it with the sums.
        if state.device.type == "cpu" and (step := diverged_at(state)) is not None:
            return note_divergence(session, step)
        if session.initial_gradients is not None and session.initial_gradients.has_arrived():
            note_initial_gradients(session)
        if (reading := session.meter.turn(state)) is not None:
            if reading.diverged_at is not None:
                return note_divergence(session, reading.diverged_at)
            rate = rates[reading.step - first - 1]
            if (progress := session.meter.progress(reading, epoch=epoch + 1, learning_rate=rate)) is not None:
                session.journal.step(progress)
    if (step := diverged_at(state)) is not None or not has_finite_weights(state):
        return note_divergence(session, state.next_step if step is None else step)
    session.gradients = measure(state, session.layers, learning_rate=rates[-1])
    session.count_time(training=True)
    return None


def take_first_step(session: Session, learning_rate: float) -> None:
    """Take the run's first step and measure the gradients at initialisation."""
    weights = weight_norms(session.layers)
    session.steps.take(0)
    measured = measure(session.state, session.layers, learning_rate=learning_rate, weights_before=weights)
    session.initial_gradients = Measurement(measured)


def end_early(session: Session) -> ExitReason | None:
    """Stop a run after a complete epoch if its early-stopping rule applies; None if it goes on."""
    stopped = reason_to_stop(session.spec, session.judged, session.guess)
    if stopped is None:
        return None
    # The deciding epoch must precede the stop in the journal.
    settle_save(session)
    session.journal.append(stopped)
    session.ended_because = describe_stop(stopped, session.spec)
    return ExitReason.STOPPED_EARLY


def note_divergence(session: Session, step: int) -> ExitReason:
    """Record the step at which the loss stopped being finite; the last good checkpoint stays."""
    note_initial_gradients(session)
    epoch = step // session.steps_per_epoch + 1
    session.journal.append(Notice(text=f"the loss was not finite at step {step} (epoch {epoch}): stopped before it"))
    return ExitReason.DIVERGED


def finish_epoch(session: Session, should_stop: Callable[[], bool]) -> ExitReason | None:
    """Evaluate, save and report a complete epoch; None when done."""
    state = session.state
    loss, wrong = state.sums.read()
    num_images = state.sums.num_images
    measured = evaluate_epoch(session, should_stop)
    session.count_time(training=False)
    if measured is None:
        save(session)
        return ExitReason.STOPPED
    last_step = state.next_step - 1
    row = Epoch(
        epoch=state.next_step // session.steps_per_epoch,
        step=state.next_step,
        train_loss=finite(loss / num_images),
        train_error_percent=100 * wrong / num_images,
        test_loss=measured["test_loss"],
        test_error_percent=measured["test_error_percent"],
        validation_loss=measured["validation_loss"],
        validation_error_percent=measured["validation_error_percent"],
        learning_rate=learning_rate_at(last_step, session.spec.recipe, total_steps=session.total_steps),
        images_per_second=num_images / max(session.train_seconds, 1e-9),
        seconds=session.epoch_seconds,
        peak_memory_bytes=peak_memory_bytes(state.device),
    )
    session.judged[row.epoch] = row
    rows: list[Epoch | Gradients] = [row]
    if session.gradients is not None:
        layers = layer_rows(session.layers, session.gradients)
        rows.append(Gradients(epoch=row.epoch, step=row.step, layers=layers))
    state.sums.reset()
    session.gradients = None
    session.train_seconds = session.epoch_seconds = 0.0
    save(session, *rows)
    return None


def evaluate_epoch(session: Session, should_stop: Callable[[], bool]) -> dict[str, float | None] | None:
    """Evaluate a complete epoch: on the test set, or on the validation set and after the last epoch on both.

    Returns:
        Fields of an Epoch, None for what was not evaluated or is not finite; or None if stopped.
    """
    has_validation = session.data.validation is not None
    is_last = session.state.next_step >= session.total_steps
    wanted = {"validation": has_validation, "test": is_last or not has_validation}
    found: dict[str, float | None] = {}
    for name, is_wanted in wanted.items():
        loss, error_percent = None, None
        if is_wanted:
            measured = session.steps.evaluate(should_stop, validation=name == "validation")
            if measured is None:
                return None
            loss, error_percent = finite(measured[0]), measured[1]
        found |= {f"{name}_loss": loss, f"{name}_error_percent": error_percent}
    return found


def peak_memory_bytes(device: torch.device) -> int:
    """Return the peak memory allocated on a GPU, or the peak of this process on the CPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
