"""Networks as curves: the mean over seeds with a band of ± one standard deviation, and the seeds outside it."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter

import numpy as np

from console.charts.curves import Floats
from console.charts.metrics import Axis, History, Metric
from console.charts.styles import network_of
from console.text.formatting import clean
from engine.analysis.copies import count_once
from engine.runs.journal import Epoch
from engine.runs.run import Run
from models import catalog
from models.catalog import Architecture

LEAST_EPOCHS = 2
"""With fewer epochs of every seed there is no mean curve yet."""


@dataclass(frozen=True, slots=True)
class Network:
    """Runs of one network, trained alike, that differ in their seeds."""

    label: str
    runs: tuple[Run, ...]
    copies: tuple[Run, ...] = ()
    """Runs that are the same as one of these."""


@dataclass(frozen=True, slots=True)
class Mean:
    """Mean of a network over the seeds that count."""

    runs: tuple[Run, ...]
    """Seeds in the mean."""
    x: Floats
    """[N], epochs, steps or mean seconds."""
    y: Floats
    """[N], NaN where any seed has no finite value."""
    std: Floats
    """[N], sample standard deviation."""


def networks(runs: Iterable[Run]) -> list[Network]:
    """Group runs by network: shallow before deep, residual before plain.

    A label that two networks would share, because they were trained differently, gets the name of the first run.
    """
    alike: dict[Hashable, list[Run]] = {}
    for run in runs:
        alike.setdefault(network_of(run), []).append(run)
    order = list(Architecture)
    groups = sorted(
        alike.values(), key=lambda group: (group[0].spec.model.depth, order.index(group[0].spec.model.architecture))
    )
    times = Counter(catalog.label(group[0].spec.model) for group in groups)
    found = []
    for group in groups:
        label = catalog.label(group[0].spec.model)
        counting, copies = count_once(group)
        name = label if times[label] == 1 else f"{label} ({clean(group[0].name)})"
        found.append(Network(name, counting, tuple(copy for _, copy in copies)))
    return found


def counted(runs: Sequence[Run], histories: Mapping[str, History]) -> list[Run]:
    """Seeds that enter the mean: those that succeeded, or while there are none, those still at work.

    A seed that diverged, failed, or has not caught up would bend the mean or cut it short, so it stays a curve of its
    own.
    """
    with_data = [run for run in runs if len(histories.get(run.id, History()).epochs) >= LEAST_EPOCHS]
    return [run for run in with_data if run.succeeded] or [run for run in with_data if not run.is_finished]


def mean_curve(runs: Sequence[Run], histories: Mapping[str, History], metric: Metric, axis: Axis) -> Mean | None:
    """Mean of runs after every epoch that all of them have completed; None if those are too few for a curve.

    The curve ends where the shortest seed does: with fewer seeds it would jump. Over time, a point lies at the mean
    of the seeds' training times up to its epoch.
    """
    by_epoch = [{row.epoch: row for row in histories[run.id].epochs} for run in runs]
    epochs = sorted(set.intersection(*(set(rows) for rows in by_epoch))) if by_epoch else []
    if len(epochs) < LEAST_EPOCHS:
        return None
    value = attrgetter(metric.field)
    # None becomes NaN.
    values = np.array([[value(rows[epoch]) for epoch in epochs] for rows in by_epoch], np.float64)
    values[~np.isfinite(values)] = math.nan
    places = np.array([positions([rows[epoch] for epoch in epochs], axis) for rows in by_epoch], np.float64)
    std = values.std(axis=0, ddof=1) if len(runs) > 1 else np.full(len(epochs), math.nan)
    return Mean(tuple(runs), places.mean(axis=0), values.mean(axis=0), std)


def positions(rows: Sequence[Epoch], axis: Axis) -> Sequence[float] | Floats:
    """Place of each epoch of one run on the x axis."""
    match axis:
        case Axis.EPOCH:
            return [row.epoch for row in rows]
        case Axis.STEP:
            return [row.step for row in rows]
        case Axis.TIME:
            return np.cumsum([row.seconds for row in rows])
