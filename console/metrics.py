"""Which numbers of a run can be drawn, and the curves of them."""

from __future__ import annotations

import difflib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from console.charts import Series
from console.formatting import clean
from engine.errors import UsageError
from engine.queries import Reader
from engine.run import Run
from models.catalog import Architecture


@dataclass(frozen=True, slots=True)
class Metric:
    """One number that every epoch measures."""

    name: str
    field: str
    """Of an EpochRow, and of a StepRow where `between_epochs`."""
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
    Architecture.RESNET: "■□",
    Architecture.PLAIN: "▲△",
    Architecture.PREACT: "◆◇",
    Architecture.HE_RESNET: "●○",
    Architecture.HE_PLAIN: "▼▽",
}
"""An architecture is told by its marker, so that no colour is needed for it; filled and hollow in turn by run."""

COLOURS = ("blue", "red", "green", "magenta", "cyan", "yellow", "bright_blue", "bright_red")


class Axis(StrEnum):
    """What goes to the right."""

    EPOCH = "epoch"
    STEP = "step"
    TIME = "time"


def find_metric(name: str) -> Metric:
    """The metric of a name.

    Raises:
        UsageError: there is none; the text lists those there are.
    """
    if name not in METRICS:
        near = difflib.get_close_matches(name, METRICS, n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise UsageError(f"metric {name!r} is not known: there are {', '.join(METRICS)}{hint}")
    return METRICS[name]


def curves(reader: Reader, runs: Sequence[Run], metric: Metric, axis: Axis = Axis.EPOCH) -> list[Series]:
    """One curve a run: of its epochs, or of its progress while fewer than two epochs are done."""
    drawn: list[Series] = []
    for index, run in enumerate(runs):
        architecture = run.spec.model.architecture
        alike = sum(other.spec.model.architecture is architecture for other in runs[:index])
        x, y = points(reader, run, metric, axis)
        marker = MARKERS[architecture][alike % len(MARKERS[architecture])]
        drawn.append(Series(clean(run.name), x, y, marker=marker, colour=COLOURS[index % len(COLOURS)]))
    return drawn


def points(reader: Reader, run: Run, metric: Metric, axis: Axis) -> tuple[list[float], list[float]]:
    """What was measured, and where on the axis; a number that was not finite is a gap."""
    epochs = reader.epochs(run.id)
    x: list[float] = []
    if len(epochs) < 2 and metric.between_epochs:
        steps = reader.steps(run.id)
        per_epoch = (run.total_steps or 1) / run.spec.recipe.epochs
        for step in steps:
            place = {Axis.EPOCH: step.step / per_epoch, Axis.STEP: step.step, Axis.TIME: step.at - start_of(run)}
            x.append(place[axis])
        return x, [number(getattr(step, metric.field)) for step in steps]
    seconds = 0.0
    for row in epochs:
        seconds += row.seconds
        x.append({Axis.EPOCH: row.epoch, Axis.STEP: row.step, Axis.TIME: seconds}[axis])
    return x, [number(getattr(row, metric.field)) for row in epochs]


def start_of(run: Run) -> float:
    """When a run began; time on an axis counts from there."""
    return run.started_at if run.started_at is not None else run.created_at


def number(value: float | None) -> float:
    """A gap where nothing finite was measured."""
    return math.nan if value is None else value
