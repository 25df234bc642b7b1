"""Tables of an experiment's comparison: networks over seeds, residual against plain, and the verdict."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Sequence

from console.comparison.claim_text import NO_VERDICT, conclusion_line, interval_ends, remarks, signed, so_far
from console.comparison.claims import Difference, Epochs
from console.comparison.columns import Column, fitted, wrapped
from console.comparison.groups import Group, Pair, group_runs, pair_groups
from console.comparison.last_epochs import last_table
from console.comparison.mixtures import mean_mark, mixture_lines
from console.comparison.published import published_notes, published_of
from console.comparison.verdict import Conclusion, RunGradients, conclude, gap, gap_by_epoch
from console.text.formatting import UNKNOWN, clean, count, duration, mean_std, percent, table
from console.text.status import counted
from engine.analysis.diagnosis import Symptom, diagnose
from engine.runs.run import Run
from engine.spec.recipes import recipe_label
from models import cost
from models.catalog import ARCHITECTURES

EPOCHS_OF_A_GAP = 6
"""Epochs shown by the table of gaps, from the first to the last."""
GAP_ERRORS = {"test": "test_error_percent", "train": "train_error_percent"}
"""Errors that the table of pairs gives gaps in, by name."""
GAP_NOTE = "gap: plain minus residual, paired by seed, in percentage points; the intervals hold together at 95 %"
STOPPED_NOTE = (
    "runs stopped early have no final error and are left out of these means; gaps and the verdict compare networks"
    " at the last epoch that all their seeds reached, and include them"
)
"""Note shown wherever a run was stopped early."""
TIME_A_RUN = "time a run"
"""Column title of `mean_time`."""


def final_table(groups: Sequence[Group], width: int | None = None) -> str:
    """Table of final errors, one row for each network, with unfinished seeds listed.

    Args:
        groups: Networks of an experiment.
        width: Most cells of a line; the less important columns are left out to fit. None for no limit.
    """
    others = [published_error(group) for group in groups]
    validates = any(run.has_validation for group in groups for run in group.runs)
    tested = [group.finals("test_error_percent") for group in groups]
    columns = [
        Column("network", [group.label for group in groups], "<"),
        Column("parameters", [count(cost.num_parameters(group.model)) for group in groups], drop=2),
        Column("epochs", [str(group.spec.recipe.epochs) for group in groups], drop=3),
        Column("test error %", list(map(mean_std, tested))),
        *([Column("published %", others, drop=5)] if any(others) else []),
        *([Column("validation error %", results(groups, "validation_error_percent"))] if validates else []),
        Column("accuracy %", [beside([100 - error for error in one], one) for one in tested], drop=1),
        Column("train error %", results(groups, "train_error_percent")),
        Column(TIME_A_RUN, list(map(mean_time, groups)), drop=4),
    ]
    notes = ["; ".join(filter(None, (mean_mark(group.succeeded), missing_seeds(group)))) for group in groups]
    return fitted(columns, notes, width)


def results(groups: Sequence[Group], metric: str) -> list[str]:
    """Mean and standard deviation of each network; with n where it differs from that of the test error."""
    return [beside(group.finals(metric), group.finals("test_error_percent")) for group in groups]


def beside(values: Sequence[float], others: Sequence[object]) -> str:
    """Mean and standard deviation, with n unless it is that of others in the same row."""
    text = mean_std(values)
    return text.partition(" (n=")[0] if len(values) == len(others) else text


def mean_time(group: Group) -> str:
    """Mean time of a run with training, evaluation and checkpoints, over seeds that succeeded."""
    taken = [run.taken_seconds for run in group.succeeded]
    return duration(statistics.fmean(taken)) if taken else UNKNOWN


def published_error(group: Group) -> str:
    """Published error of a network; empty if there is none or the images are synthetic."""
    return "" if (one := published_of(group)) is None else one.text


def missing_seeds(group: Group) -> str:
    """List of seeds and copies missing from the mean and why; empty if none is missing."""
    copies = (f"counted once: {run.id} and {copy.id} are the same run" for run, copy in group.copies)
    return ", ".join([*(missing_seed(run) for run in group.runs if not run.succeeded), *copies])


def missing_seed(run: Run) -> str:
    """State and progress of a run without a final error; if it was stopped early, also its last test error."""
    where = f"{run.epoch}/{run.spec.recipe.epochs}"
    text = f"seed {run.spec.seed} {run.outcome or run.status} {'' if run.outcome is None else 'at epoch '}{where}"
    if run.stopped_early:
        text += f" with {stopped_error(run)}"
    return text


def stopped_error(run: Run) -> str:
    """Last error of a run that was stopped early, on the set it was evaluated on."""
    if run.has_validation:
        return f"{percent(run.validation_error_percent)} validation error"
    return f"{percent(run.test_error_percent)} test error"


def pairs_table(pairs: Sequence[Pair], epochs: Epochs, conclusion: Conclusion, width: int | None = None) -> str:
    """Table of pairs, two rows for each: gaps in test and training error, with their intervals.

    Args:
        pairs: Pairs of networks.
        epochs: Epochs by run id.
        conclusion: Gives the claims, and the number of contrasts whose intervals hold together.
        width: Most cells of a line, as for `final_table`.
    """
    rows: list[list[str]] = []
    notes = []
    for pair in pairs:
        gaps = [gap(pair, epochs, metric, conclusion.claims) for metric in GAP_ERRORS.values()]
        notes += [gap_remarks(*reversed(gaps)), *[""] * (len(gaps) - 1)]
        for number, ((name, metric), one) in enumerate(zip(GAP_ERRORS.items(), gaps, strict=True)):
            seeds = () if one is None else one.contrast.seeds
            errors = [beside(group.finals(metric), seeds) for group in (pair.residual, pair.plain)]
            named = ["", "", ""] if number else [str(pair.depth), pair.residual.label, pair.plain.label]
            found = None if one is None else one.interval(conclusion.num_contrasts)
            rows.append([*named, name, *errors, signed(one), interval_ends(found)])
    depths, residuals, plains, names, *errors_of, gaps_of, intervals = map(list, zip(*rows, strict=True))
    columns = [
        Column("depth", depths, drop=3),
        Column("residual", residuals, "<"),
        Column("plain", plains, "<"),
        Column("error", names, "<"),
        Column("residual %", errors_of[0], drop=2),
        Column("plain %", errors_of[1], drop=1),
        Column("gap", gaps_of),
        *([Column("interval", intervals)] if any(intervals) else []),
    ]
    text = fitted(columns, notes, width)
    return f"{text}\n{wrapped(GAP_NOTE if any(intervals) else GAP_NOTE.partition(';')[0], width)}"


def gap_remarks(*gaps: Difference | None) -> str:
    """What to know beside a pair's gaps: seeds that are missing, runs that were not trained alike, and the epoch."""
    known = [gap for gap in gaps if gap is not None]
    return f"{remarks(*known)}{so_far(known[0])}".strip("; ") if known else ""


def gap_metrics(pair: Pair) -> dict[str, str]:
    """Errors of a pair that are known at every epoch, by name: without the test error if it is evaluated once."""
    held_out = "validation" if pair.plain.spec.data.validation_images is not None else "test"
    return {"train": "train_error_percent", held_out: f"{held_out}_error_percent"}


def gap_table(pairs: Sequence[Pair], epochs: Epochs) -> str:
    """Table of each depth's gaps in training and test error at a few epochs; empty without any gap yet."""
    found = {
        (pair.depth, name): {one.epoch: one for one in gap_by_epoch(pair, epochs, metric, final.contrast.seeds)}
        for pair in pairs
        for name, metric in gap_metrics(pair).items()
        if (final := gap(pair, epochs, metric)) is not None
    }
    last = max((max(gaps, default=0) for gaps in found.values()), default=0)
    if not last:
        return ""
    shown = sorted({1 + round((last - 1) * part / (EPOCHS_OF_A_GAP - 1)) for part in range(EPOCHS_OF_A_GAP)})
    rows = [
        [
            str(depth) if name == "train" else "",
            f"{name} gap",
            *(f"{gaps[epoch].mean:+.1f}" if epoch in gaps else "" for epoch in shown),
        ]
        for (depth, name), gaps in found.items()
    ]
    header = ["depth", "by epoch", *map(str, shown)]
    return table(header, rows, align="><" + ">" * len(shown))


def data_line(runs: Sequence[Run]) -> str:
    """Line that names the datasets and warns of synthetic or JPEG images."""
    names = sorted({clean(run.spec.data.name) for run in runs})
    line = f"data: {', '.join(names)}"
    if any(run.synthetic for run in runs):
        line += " (synthetic images: these numbers say nothing about CIFAR)"
    if any("jpeg" in name for name in names):
        line += " (JPEG: errors are slightly higher than on the original files)"
    return line


def recipe_labels(runs: Sequence[Run]) -> list[str]:
    """Recipes with what overrides them, each once."""
    return list(dict.fromkeys(clean(recipe_label(run.spec.recipe)) for run in runs))


def recipe_line(runs: Sequence[Run]) -> str:
    """Line that names the recipes with what overrides them."""
    labels = recipe_labels(runs)
    return f"{'recipe' if len(labels) == 1 else 'recipes'}: {'; '.join(labels)}"


def selection_lines(runs: Sequence[Run]) -> list[str]:
    """Lines that say which images were held out for validation, and of which runs; empty without any."""
    lines = []
    for size in sorted({run.spec.data.validation_images for run in runs if run.spec.data.validation_images}):
        of_them = [run for run in runs if run.spec.data.validation_images == size]
        some = "" if len(of_them) == len(runs) else f" of {counted(len(of_them), 'run')}"
        lines.append(
            f"validation{some}: {size} images held out of training, the same for every seed; the test set was evaluated"
            " once, after the last epoch"
        )
    if lines and any(not run.has_validation for run in runs):
        lines.append("the other runs have no validation set: their best epochs are selected on the test set")
    return lines


def unpaired_note(groups: Sequence[Group]) -> str:
    """Note that no network has a counterpart to compare with."""
    kinds = dict.fromkeys(group.model.architecture for group in groups)
    wanted = ", ".join(f"{ARCHITECTURES[kind].counterpart} for {kind}" for kind in kinds)
    return f"no gap: no network has its counterpart of the same depth, trained the same way ({wanted})"


def diagnosis_lines(groups: Sequence[Group], epochs: Epochs, gradients: RunGradients) -> list[str]:
    """One line for each network with diagnoses: how many of its runs have each."""
    lines = []
    for group in groups:
        counts = Counter(
            finding.symptom
            for run in group.runs
            for finding in diagnose(run, epochs.get(run.id, ()), gradients.get(run.id, ()))
        )
        of = f"of {counted(len(group.runs), 'run')}"
        if found := [f"{counts[symptom]} {of} {symptom}" for symptom in Symptom if counts[symptom]]:
            lines.append(f"{group.label}: {', '.join(found)}")
    return lines


def standing_line(groups: Sequence[Group], epochs: Epochs) -> str:
    """Network with the lowest mean test error, and those that do not learn; empty before any result.

    It describes the runs and claims nothing.
    """
    parts = []
    measured = [(statistics.fmean(errors), group) for group in groups if (errors := group.finals("test_error_percent"))]
    if len(measured) > 1:
        _, lowest = min(measured, key=lambda one: one[0])
        parts.append(f"lowest test error: {lowest.label}, {mean_std(lowest.finals('test_error_percent'), unit=' %')}")
    stuck = []
    for group in groups:
        of_group = [diagnose(run, epochs.get(run.id, ()), ()) for run in group.runs]
        num = sum(any(one.symptom is Symptom.NOT_LEARNING for one in found) for found in of_group)
        if num:
            stuck.append(f"{group.label} ({num} of {counted(len(group.runs), 'run')})")
    if stuck:
        parts.append(f"not learning: {', '.join(stuck)}")
    return "; ".join(parts)


def comparison_text(
    runs: Sequence[Run],
    epochs: Epochs,
    gradients: RunGradients,
    *,
    last: int | None = None,
    wanted: Sequence[str] = (),
    width: int | None = None,
) -> str:
    """All tables of a comparison, with the verdict and notes.

    Args:
        runs: Runs of an experiment.
        epochs: Epochs by run id.
        gradients: Layer measurements by run id.
        last: Number of last epochs, if means over them are wanted, too.
        wanted: Claims beside the default ones, as for `parse_claim`.
        width: Most cells of a line: the less important columns are left out, and prose is wrapped. None for no limit.
    """
    groups = group_runs(runs)
    conclusion = conclude(groups, epochs, wanted)
    parts = [final_table(groups, width)]
    if last is not None:
        parts.append(last_table(groups, epochs, last))
    if lines := diagnosis_lines(groups, epochs, gradients):
        parts.append(wrapped("\n".join(lines), width))
    if any(run.stopped_early for run in runs):
        parts.append(wrapped(STOPPED_NOTE, width))
    if pairs := pair_groups(groups):
        parts.append(pairs_table(pairs, epochs, conclusion, width))
        if gaps := gap_table(pairs, epochs):
            parts.append(gaps)
    else:
        parts.append(wrapped(unpaired_note(groups), width))
    parts.append(wrapped(conclusion_line(conclusion) or NO_VERDICT, width))
    notes = [data_line(runs), recipe_line(runs), *mixture_lines(groups), *selection_lines(runs)]
    parts.append(wrapped("\n".join([*notes, *published_notes(runs)]), width))
    return "\n\n".join(parts)
