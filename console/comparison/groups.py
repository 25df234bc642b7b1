"""The runs of an experiment by network: what is the same but for its seed, for its depth, or for its shortcuts."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from engine.analysis.paired_test import Measured
from engine.runs.journal import Epoch
from engine.runs.run import Run
from engine.spec.run import RunSpec
from models import catalog
from models.catalog import Architecture, ModelSpec


@dataclass(frozen=True, slots=True)
class Group:
    """All runs of one network in an experiment: the same but for their seeds."""

    model: ModelSpec
    runs: tuple[Run, ...]

    @property
    def label(self) -> str:
        return catalog.label(self.model)

    @property
    def spec(self) -> RunSpec:
        """What was asked of the first of them; the others differ in their seeds alone."""
        return self.runs[0].spec

    @property
    def succeeded(self) -> tuple[Run, ...]:
        return tuple(run for run in self.runs if run.succeeded)

    def finals(self, metric: str) -> list[float]:
        """The final value of a metric of every seed that succeeded, where it is a finite number."""
        values = [getattr(run, metric) for run in self.succeeded]
        return [value for value in values if value is not None and math.isfinite(value)]

    def mean(self, metric: str) -> float | None:
        """Mean over seeds; None where none succeeded."""
        values = self.finals(metric)
        return statistics.fmean(values) if values else None


@dataclass(frozen=True, slots=True)
class Pair:
    """A residual network and the same without its shortcuts."""

    residual: Group
    plain: Group

    @property
    def depth(self) -> int:
        return self.residual.model.depth


def group_runs(runs: Sequence[Run]) -> list[Group]:
    """Runs by network, shallow before deep, residual before plain of the same depth."""
    by_model: dict[tuple[str, str], list[Run]] = {}
    for run in runs:
        by_model.setdefault((catalog.label(run.spec.model), training(run.spec)), []).append(run)
    groups = [Group(found[0].spec.model, tuple(found)) for found in by_model.values()]
    return sorted(groups, key=lambda group: (group.model.depth, list(Architecture).index(group.model.architecture)))


def training(spec: RunSpec) -> str:
    """What has to be equal for results to be held against each other: data and recipe.

    They tell networks apart too: results of different trainings are never averaged.
    """
    return f"{spec.data}{spec.recipe}"


def pair_groups(groups: Sequence[Group]) -> list[Pair]:
    """Every residual network with its plain counterpart, where both are there and trained alike."""
    pairs: list[Pair] = []
    for residual in groups:
        if residual.model.design.is_residual:
            plain = counterpart(groups, residual)
            pairs += [] if plain is None else [Pair(residual, plain)]
    return pairs


def counterpart(groups: Sequence[Group], group: Group) -> Group | None:
    """The same network with its shortcuts where it has none, or without, trained alike; None where there is none."""
    wanted = group.model.design.counterpart
    for other in groups:
        alike = all(
            getattr(other.model, name) == getattr(group.model, name)
            for name in ("blocks", "block", "width", "norm", "conv_bias", "num_classes")
        )
        if other.model.architecture is wanted and alike and training(other.spec) == training(group.spec):
            return other
    return None


def families(groups: Sequence[Group]) -> list[list[Group]]:
    """Networks that differ in their depth alone, shallow before deep, in the order of the first of each."""
    found: dict[tuple[object, ...], list[Group]] = {}
    for group in groups:
        model = group.model
        kind = (model.architecture, model.block, model.width, model.norm, model.conv_bias, model.num_classes)
        found.setdefault((*kind, training(group.spec)), []).append(group)
    return list(found.values())


def measured(group: Group, epochs: Mapping[str, Sequence[Epoch]]) -> dict[int, Measured]:
    """What every seed of a network has shown, by seed.

    A run that was stopped early because it did not learn counts as far as it came: left out, it would make the network
    look better than it is.

    Args:
        group: The network.
        epochs: Of its runs, by id; one that is missing has none yet.
    """
    # Repeated runs of one seed: the newest counts.
    return {
        run.spec.seed: Measured(epochs.get(run.id, ()), is_done=run.succeeded or run.stopped_early)
        for run in group.runs
    }
