"""The comparison of an experiment: networks over their seeds, residual and plain side by side, and a verdict."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from console.formatting import clean, count, duration, mean_std, table
from engine.run import Run
from models import catalog, cost
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

    def gap(self, metric: str) -> float | None:
        """Plain minus residual, in percentage points of mean error; None while one of them has no result."""
        residual, plain = self.residual.mean(metric), self.plain.mean(metric)
        return None if residual is None or plain is None else plain - residual


def group_runs(runs: Sequence[Run]) -> list[Group]:
    """Runs by network, shallow before deep, residual before plain of the same depth."""
    by_model: dict[tuple[str, str], list[Run]] = {}
    for run in runs:
        # Data and recipe tell networks apart too: results of different trainings are never averaged.
        training = f"{run.spec.data}{run.spec.recipe}"
        by_model.setdefault((catalog.label(run.spec.model), training), []).append(run)
    groups = [Group(found[0].spec.model, tuple(found)) for found in by_model.values()]
    return sorted(groups, key=lambda group: (group.model.depth, list(Architecture).index(group.model.architecture)))


def pair_groups(groups: Sequence[Group]) -> list[Pair]:
    """Every residual network with its plain counterpart, where both are there and trained alike."""
    pairs: list[Pair] = []
    for residual in groups:
        wanted = catalog.counterpart(residual.model.architecture)
        if wanted is None or not catalog.is_residual(residual.model.architecture):
            continue
        for plain in groups:
            alike = all(
                getattr(plain.model, name) == getattr(residual.model, name)
                for name in ("blocks", "block", "width", "norm", "conv_bias", "num_classes")
            )
            first, second = residual.runs[0].spec, plain.runs[0].spec
            trained_alike = first.data == second.data and first.recipe == second.recipe
            if plain.model.architecture is wanted and alike and trained_alike:
                pairs.append(Pair(residual, plain))
    return pairs


def final_table(groups: Sequence[Group]) -> str:
    """Final errors, a row a network, as in the report; what is not finished says so."""
    rows = [
        [
            group.label,
            count(cost.num_parameters(group.model)),
            str(group.runs[0].spec.recipe.epochs),
            mean_std(group.finals("test_error_percent")),
            mean_std([100 - error for error in group.finals("test_error_percent")]),
            mean_std(group.finals("train_error_percent")),
            duration(sum(run.seconds or 0 for run in group.runs)),
            unfinished_words(group),
        ]
        for group in groups
    ]
    header = ["network", "parameters", "epochs", "test error %", "test accuracy %", "train error %", "time", ""]
    return table(header, rows, align="<>>>>>><").rstrip()


def unfinished_words(group: Group) -> str:
    """Which seeds are missing from the mean, and why; empty where none is."""
    missing = [run for run in group.runs if not run.succeeded]
    return ", ".join(
        f"seed {run.spec.seed} {run.outcome or f'{run.status} {run.epoch}/{run.spec.recipe.epochs}'}" for run in missing
    )


def pairs_table(pairs: Sequence[Pair]) -> str:
    """What the shortcut does, a row a depth: the gap is plain minus residual, in percentage points."""
    rows = [
        [
            str(pair.residual.model.depth),
            pair.residual.label,
            pair.plain.label,
            mean_std(pair.residual.finals("test_error_percent")),
            mean_std(pair.plain.finals("test_error_percent")),
            points(pair.gap("test_error_percent")),
            points(pair.gap("train_error_percent")),
        ]
        for pair in pairs
    ]
    header = ["depth", "residual", "plain", "residual test %", "plain test %", "test gap", "train gap"]
    return table(header, rows, align="><<>>>>")


def points(gap: float | None) -> str:
    """A difference of errors, with its sign."""
    return "" if gap is None else f"{gap:+.2f}"


def verdict(groups: Sequence[Group]) -> str | None:
    """One line: whether the deepest plain network came out worse than the shallowest; None without two of them.

    Degradation is He et al.'s word for a deeper network with a higher *training* error, so that is what decides.
    """
    plain = [group for group in groups if not catalog.is_residual(group.model.architecture)]
    plain = [group for group in plain if group.mean("train_error_percent") is not None]
    if len(plain) < 2 or plain[0].model.depth == plain[-1].model.depth:
        return None
    shallow, deep = plain[0], plain[-1]
    train = (deep.mean("train_error_percent") or 0.0) - (shallow.mean("train_error_percent") or 0.0)
    test = (deep.mean("test_error_percent") or 0.0) - (shallow.mean("test_error_percent") or 0.0)
    num = min(len(shallow.finals("train_error_percent")), len(deep.finals("train_error_percent")))
    word = "worse" if train > 0 else "no worse"
    line = (
        f"{deep.label} came out {word} than {shallow.label}: training error {train:+.1f} points,"
        f" test error {test:+.1f} points (n={num})"
    )
    residual = [group for group in groups if catalog.is_residual(group.model.architecture)]
    residual = [group for group in residual if group.mean("train_error_percent") is not None]
    if len(residual) >= 2 and residual[0].model.depth != residual[-1].model.depth:
        with_shortcuts = (residual[-1].mean("train_error_percent") or 0.0) - (
            residual[0].mean("train_error_percent") or 0.0
        )
        pair = f"{residual[-1].label} against {residual[0].label}"
        line += f"; with shortcuts {pair}: training error {with_shortcuts:+.1f} points"
    return line + ("; one seed shows no spread" if num == 1 else "")


def data_words(runs: Sequence[Run]) -> str:
    """What the numbers were measured on, said beside them."""
    names = sorted({clean(run.spec.data.name) for run in runs})
    words = f"data: {', '.join(names)}"
    if any(run.synthetic for run in runs):
        words += " (synthetic images: no number here says anything of CIFAR)"
    if any("jpeg" in name for name in names):
        words += " (JPEG: errors are somewhat higher than on the original files)"
    return words


def comparison_text(runs: Sequence[Run]) -> str:
    """The whole comparison as text."""
    groups = group_runs(runs)
    parts = [final_table(groups)]
    if pairs := pair_groups(groups):
        parts.append(pairs_table(pairs))
    if (line := verdict(groups)) is not None:
        parts.append(line)
    parts.append(data_words(runs))
    return "\n\n".join(parts)


def comparison_document(experiment: str, runs: Sequence[Run]) -> dict[str, Any]:
    """The whole comparison for programs."""
    groups = group_runs(runs)
    return {
        "experiment": experiment,
        "networks": [
            {
                "network": group.label,
                "num_parameters": cost.num_parameters(group.model),
                "depth": group.model.depth,
                "num_seeds": len(group.succeeded),
                "runs": [run.id for run in group.runs],
                "test_error_percent": summary(group.finals("test_error_percent")),
                "train_error_percent": summary(group.finals("train_error_percent")),
                "unfinished": [run.id for run in group.runs if not run.succeeded],
            }
            for group in groups
        ],
        "pairs": [
            {
                "depth": pair.residual.model.depth,
                "residual": pair.residual.label,
                "plain": pair.plain.label,
                "test_error_gap": pair.gap("test_error_percent"),
                "train_error_gap": pair.gap("train_error_percent"),
            }
            for pair in pair_groups(groups)
        ],
        "verdict": verdict(groups),
        "synthetic": any(run.synthetic for run in runs),
    }


def summary(values: Sequence[float]) -> dict[str, float | int | None]:
    """Mean, sample standard deviation and number of values; None where there are too few."""
    return {
        "mean": statistics.fmean(values) if values else None,
        "std": statistics.stdev(values) if len(values) > 1 else None,
        "n": len(values),
    }
