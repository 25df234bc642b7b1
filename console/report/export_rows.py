"""Every number that was measured of runs, a row each: the long format, which any program takes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from enum import StrEnum

import msgspec

from console.text.formatting import clean
from engine.index.queries import Reader
from engine.runs.run import Run
from models import catalog

EPOCH_METRICS = (
    "train_loss",
    "train_error_percent",
    "test_loss",
    "test_error_percent",
    "learning_rate",
    "images_per_second",
    "seconds",
    "peak_memory_bytes",
)
STEP_METRICS = ("train_loss", "train_error_percent", "learning_rate", "images_per_second")
GRADIENT_METRICS = ("gradient_norm", "weight_norm", "update_ratio")


class Kind(StrEnum):
    """When a number was measured."""

    EPOCH = "epoch"
    """At the end of one, over the whole of it."""
    STEP = "step"
    """Between epochs, over the updates since the one before."""
    GRADIENT = "gradient"
    """In the last step of an epoch, of one layer; epoch 0 is the network as initialised."""


class Row(msgspec.Struct, frozen=True):
    """One number; None stands for one that was not finite."""

    experiment: str
    run: str
    """Its id."""
    name: str
    network: str
    architecture: str
    depth: int
    width: int
    seed: int
    kind: str
    epoch: int
    step: int
    """Updates done."""
    at: float | None
    """Seconds since 1970; None where it was not noted."""
    layer: str | None
    """Of a gradient; None elsewhere, as is the next."""
    position: int | None
    """The layer's place from the first, which is 0."""
    metric: str
    value: float | None


COLUMNS: tuple[str, ...] = Row.__struct_fields__


def rows(reader: Reader, runs: Sequence[Run]) -> Iterator[Row]:
    """All numbers of runs, a run after the other: its epochs, its steps, its gradients."""
    for run in runs:
        yield from rows_of(reader, run)


def rows_of(reader: Reader, run: Run) -> Iterator[Row]:
    """All numbers of one run."""
    model = run.spec.model
    whose = (
        clean(run.experiment), run.id, clean(run.name), catalog.label(model), str(model.architecture), model.depth,
        model.width, run.spec.seed,
    )  # fmt: skip
    ended_at: dict[int, float] = {}
    for epoch in reader.epochs(run.id):
        ended_at[epoch.epoch] = epoch.at
        for metric in EPOCH_METRICS:
            yield Row(*whose, Kind.EPOCH, epoch.epoch, epoch.step, epoch.at, None, None, metric, getattr(epoch, metric))
    for step in reader.steps(run.id):
        for metric in STEP_METRICS:
            yield Row(*whose, Kind.STEP, step.epoch, step.step, step.at, None, None, metric, getattr(step, metric))
    for layer in reader.gradients(run.id):
        place = (layer.epoch, layer.step, ended_at.get(layer.epoch), layer.layer, layer.position)
        for metric in GRADIENT_METRICS:
            yield Row(*whose, Kind.GRADIENT, *place, metric, getattr(layer, metric))
