"""Metrics of runs in long format, one value to a row."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from enum import StrEnum

import msgspec

from console.text.formatting import clean
from engine.index.queries import Reader
from engine.runs.journal import Epoch, LayerGradients, Step
from engine.runs.run import Run
from models import catalog

WHERE_AND_WHEN = frozenset({"seq", "at", "epoch", "step", "name"})
EPOCH_METRICS, STEP_METRICS, GRADIENT_METRICS = (
    tuple(field for field in row.__struct_fields__ if field not in WHERE_AND_WHEN)
    for row in (Epoch, Step, LayerGradients)
)


class Kind(StrEnum):
    """Interval over which a value was measured."""

    EPOCH = "epoch"
    """A whole epoch."""
    STEP = "step"
    """The updates since the previous step row."""
    GRADIENT = "gradient"
    """The last step of an epoch, for one layer; epoch 0 is initialisation."""


class Row(msgspec.Struct, frozen=True):
    """One value; None if it was not finite."""

    experiment: str
    run: str
    """Id of the run."""
    name: str
    network: str
    architecture: str
    depth: int
    width: int
    seed: int
    kind: str
    epoch: int
    step: int
    """Number of updates done."""
    at: float | None
    """Unix time in seconds; None if not recorded."""
    layer: str | None
    """Layer of a gradient row; None in other rows."""
    position: int | None
    """Index of the layer from the stem, 0; None in other rows."""
    metric: str
    value: float | None


COLUMNS: tuple[str, ...] = Row.__struct_fields__


def rows(reader: Reader, runs: Sequence[Run]) -> Iterator[Row]:
    """Yield all values, run by run: epochs, steps, gradients."""
    for run in runs:
        yield from rows_of(reader, run)


def is_measured(run: Run, epoch: Epoch, metric: str) -> bool:
    """Whether a run evaluates a metric after this epoch: with a validation set, the test set only after the last."""
    if metric.startswith("validation_"):
        return run.has_validation
    return not (metric.startswith("test_") and run.has_validation and epoch.test_error_percent is None)


def rows_of(reader: Reader, run: Run) -> Iterator[Row]:
    """Yield all values of one run."""
    model = run.spec.model
    whose = (
        clean(run.experiment), run.id, clean(run.name), catalog.label(model), str(model.architecture), model.depth,
        model.width, run.spec.seed,
    )  # fmt: skip
    ended_at: dict[int, float] = {}
    for epoch in reader.epochs(run.id):
        ended_at[epoch.epoch] = epoch.at
        for metric in EPOCH_METRICS:
            if not is_measured(run, epoch, metric):
                continue
            yield Row(*whose, Kind.EPOCH, epoch.epoch, epoch.step, epoch.at, None, None, metric, getattr(epoch, metric))
    for step in reader.steps(run.id):
        for metric in STEP_METRICS:
            yield Row(*whose, Kind.STEP, step.epoch, step.step, step.at, None, None, metric, getattr(step, metric))
    for row in reader.gradients(run.id):
        when = (row.epoch, row.step, ended_at.get(row.epoch))
        for position, layer in enumerate(row.layers):
            for metric in GRADIENT_METRICS:
                yield Row(*whose, Kind.GRADIENT, *when, layer.name, position, metric, getattr(layer, metric))
