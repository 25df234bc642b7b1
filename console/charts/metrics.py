"""Which numbers of a run can be drawn, and the points of them; imports nothing heavy."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from enum import StrEnum

from engine.base.errors import UsageError
from engine.index.queries import Reader
from engine.runs.journal import Epoch, Step
from engine.runs.run import GradientRow, Run
from models.catalog import Architecture

EPOCHS_OF_A_CURVE = 2
"""A run with fewer is drawn from its progress alone."""


@dataclass(frozen=True, slots=True)
class Metric:
    """One number that every epoch measures."""

    name: str
    field: str
    """Of an Epoch, and of a Step where `between_epochs`."""
    title: str
    between_epochs: bool = False
    """Whether progress reports it too."""


METRICS = {
    metric.name: metric
    for metric in (
        Metric("train-loss", "train_loss", "Training loss", between_epochs=True),
        Metric("train-error", "train_error_percent", "Training error %", between_epochs=True),
        Metric("test-loss", "test_loss", "Test loss"),
        Metric("test-error", "test_error_percent", "Test error %"),
        Metric("learning-rate", "learning_rate", "Learning rate", between_epochs=True),
        Metric("images-per-second", "images_per_second", "Images per second", between_epochs=True),
    )
}

MARKERS = {
    Architecture.RESNET: "■□▪",
    Architecture.PLAIN: "▲△▴",
    Architecture.PREACT: "◆◇◈",
    Architecture.HE_RESNET: "●○•",
    Architecture.HE_PLAIN: "▼▽▾",
}
"""Architecture and depth are told by the marker, so that no colour is needed for them: filled, hollow, small in turn by
depth."""


class Axis(StrEnum):
    """What goes to the right."""

    EPOCH = "epoch"
    STEP = "step"
    TIME = "time"

    @property
    def label(self) -> str:
        return "seconds" if self is Axis.TIME else self.value


def find_metric(name: str) -> Metric:
    """The metric of a name.

    Raises:
        UsageError: there is none; the text lists those there are.
    """
    if name not in METRICS:
        import difflib

        from console.charts.layer_grid import LAYER_METRICS

        known = [*METRICS, *LAYER_METRICS]
        near = difflib.get_close_matches(name, known, n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise UsageError(f"metric {name!r} is not known: there are {', '.join(known)}{hint}")
    return METRICS[name]


@dataclass(slots=True)
class History:
    """What was measured of one run: its epochs, and its progress since the last of them."""

    epochs: list[Epoch] = field(default_factory=list)
    steps: list[Step] = field(default_factory=list)
    """All there is while fewer than two epochs are done, then those of the epoch under way."""
    gradients: list[GradientRow] = field(default_factory=list)
    """Of every layer, at initialisation and when they were last measured."""

    def read(self, reader: Reader, run: Run) -> bool:
        """Add what is new in the index; whether there was anything."""
        if run.step < self.last_step:
            # It went back to a checkpoint or to its beginning: what it trains again replaces what stood here.
            self.epochs, self.steps, self.gradients = [], [], []
        epochs = reader.epochs(run.id, after=self.epochs[-1].epoch if self.epochs else 0)
        self.epochs += epochs
        if epochs or not self.gradients:
            self.gradients = reader.first_and_newest_gradients(run.id)
        behind = self.epochs[-1].step if len(self.epochs) >= EPOCHS_OF_A_CURVE else 0
        steps = reader.steps(run.id, after=max(behind, self.steps[-1].step if self.steps else 0))
        self.steps = [row for row in self.steps if row.step > behind] + steps
        return bool(epochs or steps)

    @property
    def last_step(self) -> int:
        """The newest step of which there is a row."""
        return max(self.epochs[-1].step if self.epochs else 0, self.steps[-1].step if self.steps else 0)


def read_history(reader: Reader, run: Run) -> History:
    """Everything that can be drawn of one run."""
    history = History()
    history.read(reader, run)
    return history


def points(run: Run, history: History, metric: Metric, axis: Axis) -> tuple[list[float], list[float]]:
    """What was measured, and where on the axis; a number that was not finite is a gap.

    Epochs are points; between epochs, and before there are two of them, progress goes on from there.
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
    """A gap where nothing finite was measured."""
    return math.nan if value is None else value
