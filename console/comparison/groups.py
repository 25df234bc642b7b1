"""Runs of an experiment grouped by network: equal up to seed, up to depth, or up to shortcuts."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from engine.analysis.copies import count_once
from engine.analysis.paired_test import Measured
from engine.runs.journal import Epoch
from engine.runs.run import Run
from engine.spec.run import RunSpec
from models import catalog
from models.catalog import Architecture, ModelSpec


@dataclass(frozen=True, slots=True)
class Group:
    """All runs of one network in an experiment, which differ only in their seeds; each counts once."""

    model: ModelSpec
    runs: tuple[Run, ...]
    copies: tuple[tuple[Run, Run], ...] = ()
    """Runs that do not count, each behind the one that counts for it."""

    @property
    def label(self) -> str:
        return catalog.label(self.model)

    @property
    def key(self) -> str:
        """What tells it from other networks and from the same one trained otherwise."""
        return f"{self.label} {training(self.spec)}"

    @property
    def spec(self) -> RunSpec:
        """Spec of the first run; the others differ only in their seeds."""
        return self.runs[0].spec

    @property
    def succeeded(self) -> tuple[Run, ...]:
        return tuple(run for run in self.runs if run.succeeded)

    def finals(self, metric: str) -> list[float]:
        """Final values of a metric over all runs that succeeded, without non-finite ones."""
        values = [getattr(run, metric) for run in self.succeeded]
        return [value for value in values if value is not None and math.isfinite(value)]

    def mean(self, metric: str) -> float | None:
        """Mean over seeds; None if no run succeeded."""
        values = self.finals(metric)
        return statistics.fmean(values) if values else None


@dataclass(frozen=True, slots=True)
class Pair:
    """A residual network and the same network without shortcuts."""

    residual: Group
    plain: Group

    @property
    def depth(self) -> int:
        return self.residual.model.depth


def group_runs(runs: Sequence[Run]) -> list[Group]:
    """Group runs by network: shallow before deep, residual before plain of the same depth.

    Of several runs that are the same, such as a run and its copy, one counts.
    """
    by_model: dict[tuple[str, str], list[Run]] = {}
    for run in runs:
        by_model.setdefault((catalog.label(run.spec.model), training(run.spec)), []).append(run)
    groups = [Group(found[0].spec.model, *count_once(found)) for found in by_model.values()]
    return sorted(groups, key=lambda group: (group.model.depth, list(Architecture).index(group.model.architecture)))


def training(spec: RunSpec) -> str:
    """Key of data and recipe, which must be equal for results to be compared.

    It is also part of a group's identity: results of different recipes are never averaged.
    """
    return f"{spec.data}{spec.recipe}"


def pair_groups(groups: Sequence[Group]) -> list[Pair]:
    """Pair residual networks with their plain counterparts that were trained the same way."""
    pairs: list[Pair] = []
    for residual in groups:
        if residual.model.design.is_residual:
            plain = counterpart(groups, residual)
            pairs += [] if plain is None else [Pair(residual, plain)]
    return pairs


def counterpart(groups: Sequence[Group], group: Group) -> Group | None:
    """Find the same network with or without shortcuts, trained the same way; None if there is none."""
    wanted = group.model.design.counterpart
    for other in groups:
        alike = all(
            getattr(other.model, name) == getattr(group.model, name)
            # Not the projections' biases: a plain network has no projections.
            for name in ("blocks", "block", "width", "norm", "conv_bias", "num_classes")
        )
        if other.model.architecture is wanted and alike and training(other.spec) == training(group.spec):
            return other
    return None


def families(groups: Sequence[Group]) -> list[list[Group]]:
    """Group networks that differ only in depth, shallow before deep, in order of first appearance."""
    found: dict[tuple[object, ...], list[Group]] = {}
    for group in groups:
        model = group.model
        kind = (model.architecture, model.block, model.width, model.norm, model.num_classes)
        biases = (model.conv_bias, model.projection_bias)
        found.setdefault((*kind, *biases, training(group.spec)), []).append(group)
    return list(found.values())


def measured(group: Group, epochs: Mapping[str, Sequence[Epoch]]) -> dict[int, Measured]:
    """Measured epochs of a network, by seed.

    A run that was stopped early because it did not learn counts up to its last epoch: leaving it out would make the
    network look better than it is.
    """
    return {
        seed: Measured(
            epochs.get(run.id, ()),
            is_done=run.succeeded or run.stopped_early,
            is_pending=is_pending(run),
            created_at=run.created_at,
        )
        for seed, run in by_seed(group).items()
    }


def by_seed(group: Group) -> dict[int, Run]:
    """Choose a run for each seed: one with a result, else one that may get there; of several, the first submitted."""
    ordered = sorted(group.runs, key=lambda run: (run.created_at, run.position))
    ordered.sort(key=lambda run: 0 if run.succeeded or run.stopped_early else 1 if is_pending(run) else 2)
    chosen: dict[int, Run] = {}
    for run in ordered:
        chosen.setdefault(run.spec.seed, run)
    return dict(sorted(chosen.items()))


def is_pending(run: Run) -> bool:
    """Whether a run may still get a result by itself."""
    return not run.is_finished and run.unreadable is None
