"""Metrics of a run that can be drawn, and their points; imports nothing heavy."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from engine.base.errors import UsageError
from engine.index.queries import Reader
from engine.runs.journal import Epoch, Gradients, Step
from engine.runs.run import Run

EPOCHS_OF_A_CURVE = 2
"""With fewer epochs, a curve is drawn from step rows alone."""


@dataclass(frozen=True, slots=True)
class Metric:
    """A metric measured every epoch."""

    name: str
    field: str
    """Of an Epoch, and of a Step where `between_epochs`."""
    title: str
    between_epochs: bool = False
    """Whether it is also reported between epochs."""


METRICS = {
    metric.name: metric
    for metric in (
        Metric("train-loss", "train_loss", "Training loss", between_epochs=True),
        Metric("train-error", "train_error_percent", "Training error %", between_epochs=True),
        Metric("test-loss", "test_loss", "Test loss"),
        Metric("test-error", "test_error_percent", "Test error %"),
        Metric("validation-loss", "validation_loss", "Validation loss"),
        Metric("validation-error", "validation_error_percent", "Validation error %"),
        Metric("learning-rate", "learning_rate", "Learning rate", between_epochs=True),
        Metric("images-per-second", "images_per_second", "Images per second", between_epochs=True),
    )
}


class Axis(StrEnum):
    """Quantity on the x axis."""

    EPOCH = "epoch"
    STEP = "step"
    TIME = "time"

    @property
    def label(self) -> str:
        return "seconds" if self is Axis.TIME else self.value


def find_metric(name: str) -> Metric:
    """Find a metric by name.

    Raises:
        UsageError: no metric has that name; the message lists all.
    """
    if name not in METRICS:
        import difflib

        from console.charts.layer_grid import LAYER_METRICS

        known = [*METRICS, *LAYER_METRICS]
        near = difflib.get_close_matches(name, known, n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise UsageError(f"unknown metric {name!r}: choose from {', '.join(known)}{hint}")
    return METRICS[name]


def selection_metric(name: str, runs: Sequence[Run]) -> str:
    """Name of the metric to draw over epochs for one on the test set, if all runs evaluate a validation set instead."""
    return name.replace("test-", "validation-") if runs and all(run.has_validation for run in runs) else name


def next_metric(name: str, runs: Iterable[Run]) -> str:
    """Name of the metric after one, without those on a validation set if no run has one."""
    has_validation = any(run.has_validation for run in runs)
    names = [one for one in METRICS if one == name or has_validation or not one.startswith("validation-")]
    return names[(names.index(name) + 1) % len(names)]


@dataclass(slots=True)
class History:
    """Metrics of one run: its epochs, and its steps since the last epoch."""

    epochs: list[Epoch] = field(default_factory=list)
    steps: list[Step] = field(default_factory=list)
    """All step rows until two epochs are done, then those of the current epoch."""
    gradients: list[Gradients] = field(default_factory=list)
    """Norms of every layer at initialisation and at the latest recording."""

    def read(self, reader: Reader, run: Run) -> bool:
        """Add new rows from the index; return whether there were any."""
        if run.step < self.last_step:
            # The run resumed from a checkpoint or started over; repeated steps replace these rows.
            self.epochs, self.steps, self.gradients = [], [], []
        epochs = reader.epochs(run.id, after=self.epochs[-1].epoch if self.epochs else 0)
        self.epochs += epochs
        if epochs or not self.gradients:
            self.gradients = reader.first_and_newest_gradients(run.id)
        since = self.epochs[-1].step if len(self.epochs) >= EPOCHS_OF_A_CURVE else 0
        steps = reader.steps(run.id, after=max(since, self.steps[-1].step if self.steps else 0))
        self.steps = [row for row in self.steps if row.step > since] + steps
        return bool(epochs or steps)

    @property
    def num_rows(self) -> int:
        """Number of rows read."""
        return len(self.epochs) + len(self.steps) + sum(len(row.layers) for row in self.gradients)

    @property
    def last_step(self) -> int:
        """Latest step with a row."""
        return max(self.epochs[-1].step if self.epochs else 0, self.steps[-1].step if self.steps else 0)


def read_history(reader: Reader, run: Run) -> History:
    """Read everything that can be drawn of a run."""
    history = History()
    history.read(reader, run)
    return history


def points(run: Run, history: History, metric: Metric, axis: Axis) -> tuple[list[float], list[float]]:
    """Return x and y of a run's curve; a non-finite value is NaN, a gap.

    Each epoch is a point; after the last, and until there are two epochs, step rows continue the curve.
    """
    x: list[float] = []
    y: list[float] = []
    epochs = history.epochs
    if len(epochs) < EPOCHS_OF_A_CURVE and metric.between_epochs:
        epochs = []
    seconds, step = 0.0, 0
    for row in epochs:
        seconds, step = seconds + row.seconds, row.step
        x.append({Axis.EPOCH: row.epoch, Axis.STEP: row.step, Axis.TIME: seconds}[axis])
        y.append(number(getattr(row, metric.field)))
    if not metric.between_epochs:
        return x, y
    per_epoch = (run.total_steps or 1) / run.spec.recipe.epochs
    for progress in history.steps:
        images = (progress.step - step) * run.spec.recipe.batch_size
        seconds, step = seconds + images / max(progress.images_per_second, 1e-9), progress.step
        x.append({Axis.EPOCH: step / per_epoch, Axis.STEP: step, Axis.TIME: seconds}[axis])
        y.append(number(getattr(progress, metric.field)))
    return x, y


def number(value: float | None) -> float:
    """Return the value, or NaN (a gap) for None."""
    return math.nan if value is None else value
