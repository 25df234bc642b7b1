"""The comparison of an experiment: networks over their seeds, residual and plain side by side, and a verdict."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Any

from console.formatting import clean, count, duration, mean_std, percent, table
from console.groups import Group, Pair, group_runs, pair_groups
from console.verdict import Epochs, verdict_line
from engine.run import Run, RunOutcome
from models import cost


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
    return ", ".join(missing_words(run) for run in group.runs if not run.succeeded)


def missing_words(run: Run) -> str:
    """Where a run stands that has no result; of one that was ended early, what it came to, which is none."""
    where = f"{run.epoch}/{run.spec.recipe.epochs}"
    words = f"seed {run.spec.seed} {run.outcome or run.status} {'' if run.outcome is None else 'at epoch '}{where}"
    if run.outcome is RunOutcome.STOPPED_EARLY:
        words += f" with {percent(run.test_error_percent)} test error"
    return words


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


def data_words(runs: Sequence[Run]) -> str:
    """What the numbers were measured on, said beside them."""
    names = sorted({clean(run.spec.data.name) for run in runs})
    words = f"data: {', '.join(names)}"
    if any(run.synthetic for run in runs):
        words += " (synthetic images: no number here says anything of CIFAR)"
    if any("jpeg" in name for name in names):
        words += " (JPEG: errors are somewhat higher than on the original files)"
    return words


def comparison_text(runs: Sequence[Run], epochs: Epochs) -> str:
    """The whole comparison as text.

    Args:
        runs: Of an experiment.
        epochs: Theirs, by id; what is missing is not there yet.
    """
    groups = group_runs(runs)
    parts = [final_table(groups)]
    if pairs := pair_groups(groups):
        parts.append(pairs_table(pairs))
    if (line := verdict_line(groups, epochs)) is not None:
        parts.append(line)
    parts.append(data_words(runs))
    return "\n\n".join(parts)


def comparison_document(experiment: str, runs: Sequence[Run], epochs: Epochs) -> dict[str, Any]:
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
        "verdict": verdict_line(groups, epochs),
        "synthetic": any(run.synthetic for run in runs),
    }


def summary(values: Sequence[float]) -> dict[str, float | int | None]:
    """Mean, sample standard deviation and number of values; None where there are too few."""
    return {
        "mean": statistics.fmean(values) if values else None,
        "std": statistics.stdev(values) if len(values) > 1 else None,
        "n": len(values),
    }
