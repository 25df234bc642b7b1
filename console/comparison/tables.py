"""The comparison of an experiment: networks over their seeds, residual and plain side by side, and a verdict."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Sequence

from console.comparison.claim_text import NO_VERDICT, conclusion_line, signed, so_far
from console.comparison.groups import Group, Pair, group_runs, pair_groups
from console.comparison.published import published, published_notes
from console.comparison.verdict import Epochs, RunGradients, conclude, gap, gap_by_epoch
from console.text.formatting import UNKNOWN, clean, count, duration, mean_std, percent, table
from engine.analysis.diagnosis import Symptom, diagnose
from engine.runs.run import Run
from models import cost
from models.catalog import ARCHITECTURES

EPOCHS_OF_A_GAP = 6
"""That a table of it shows, from the first to the last."""
STOPPED_NOTE = (
    "stopped early: such a run has no final error and is in no mean of these; a gap and the verdict hold networks"
    " against each other at one epoch, to which all of their seeds have come, and count it"
)
"""What is said wherever a run that was stopped early is."""
TIME_A_RUN = "time a run"
"""Over `time_words`."""


def final_table(groups: Sequence[Group]) -> str:
    """Final errors, a row a network, as in the report; what is not finished says so."""
    others = [published_words(group) for group in groups]
    rows = [
        [
            group.label,
            count(cost.num_parameters(group.model)),
            str(group.spec.recipe.epochs),
            mean_std(group.finals("test_error_percent")),
            *([other] if any(others) else []),
            mean_std([100 - error for error in group.finals("test_error_percent")]),
            mean_std(group.finals("train_error_percent")),
            time_words(group),
            unfinished_words(group),
        ]
        for group, other in zip(groups, others, strict=True)
    ]
    header = ["network", "parameters", "epochs", "test error %", "test accuracy %", "train error %", TIME_A_RUN, ""]
    if any(others):
        header.insert(4, "published %")
    return table(header, rows, align="<" + ">" * (len(header) - 2) + "<").rstrip()


def time_words(group: Group) -> str:
    """What one run of a network took, training, evaluation and checkpoints: the mean over seeds that succeeded."""
    taken = [run.taken_seconds for run in group.succeeded]
    return duration(statistics.fmean(taken)) if taken else UNKNOWN


def published_words(group: Group) -> str:
    """What others have published for a network; empty where nothing was, and beside images that are none."""
    one = published(group.model)
    return "" if one is None or any(run.synthetic for run in group.runs) else one.words


def unfinished_words(group: Group) -> str:
    """Which seeds are missing from the mean, and why; empty where none is."""
    return ", ".join(missing_words(run) for run in group.runs if not run.succeeded)


def missing_words(run: Run) -> str:
    """Where a run stands that has no result; of one that was ended early, what it came to, which is none."""
    where = f"{run.epoch}/{run.spec.recipe.epochs}"
    words = f"seed {run.spec.seed} {run.outcome or run.status} {'' if run.outcome is None else 'at epoch '}{where}"
    if run.stopped_early:
        words += f" with {percent(run.test_error_percent)} test error"
    return words


def pairs_table(pairs: Sequence[Pair], epochs: Epochs) -> str:
    """What the shortcut does, a row a depth: the gap is plain minus residual of the same seed, in percentage points."""
    rows = []
    for pair in pairs:
        test, train = (gap(pair, epochs, metric) for metric in ("test_error_percent", "train_error_percent"))
        rows.append(
            [
                str(pair.depth),
                pair.residual.label,
                pair.plain.label,
                mean_std(pair.residual.finals("test_error_percent")),
                mean_std(pair.plain.finals("test_error_percent")),
                signed(test),
                signed(train),
                so_far(train).strip(),
            ]
        )
    header = ["depth", "residual", "plain", "residual test %", "plain test %", "test gap", "train gap", ""]
    return table(header, rows, align="><<>>>><").rstrip()


def gap_table(pairs: Sequence[Pair], epochs: Epochs) -> str:
    """How the gap of each depth grew, in training and in test error, at a few epochs; empty where there is none yet."""
    found = {
        (pair.depth, name): {one.epoch: one for one in gap_by_epoch(pair, epochs, metric)}
        for pair in pairs
        for name, metric in (("train", "train_error_percent"), ("test", "test_error_percent"))
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


def data_words(runs: Sequence[Run]) -> str:
    """What the numbers were measured on, said beside them."""
    names = sorted({clean(run.spec.data.name) for run in runs})
    words = f"data: {', '.join(names)}"
    if any(run.synthetic for run in runs):
        words += " (synthetic images: no number here says anything of CIFAR)"
    if any("jpeg" in name for name in names):
        words += " (JPEG: errors are somewhat higher than on the original files)"
    return words


def unpaired_words(groups: Sequence[Group]) -> str:
    """Why there is no gap where no network has its partner beside it."""
    kinds = dict.fromkeys(group.model.architecture for group in groups)
    partners = ", ".join(f"{kind}'s is {ARCHITECTURES[kind].counterpart}" for kind in kinds)
    return f"no gap: no network of the same kind and depth, trained alike, is beside another as its partner: {partners}"


def diagnosis_lines(groups: Sequence[Group], epochs: Epochs, gradients: RunGradients) -> list[str]:
    """A line for every network with diagnoses: how many of its runs have each, those that succeeded included.

    Args:
        groups: As `group_runs` makes them.
        epochs: Of their runs, by id.
        gradients: Of their layers, by id; where they are missing, gradients are not diagnosed.
    """
    lines = []
    for group in groups:
        counts = Counter(
            finding.symptom
            for run in group.runs
            for finding in diagnose(run, epochs.get(run.id, ()), gradients.get(run.id, ()))
        )
        total = len(group.runs)
        of = f"of {total} {'run' if total == 1 else 'runs'}"
        if words := [f"{counts[symptom]} {of} {symptom}" for symptom in Symptom if counts[symptom]]:
            lines.append(f"{group.label}: {', '.join(words)}")
    return lines


def comparison_text(runs: Sequence[Run], epochs: Epochs, gradients: RunGradients) -> str:
    """The whole comparison as text.

    Args:
        runs: Of an experiment.
        epochs: Theirs, by id; what is missing is not there yet.
        gradients: Of their layers, by id.
    """
    groups = group_runs(runs)
    parts = [final_table(groups)]
    if lines := diagnosis_lines(groups, epochs, gradients):
        parts.append("\n".join(lines))
    if any(run.stopped_early for run in runs):
        parts.append(STOPPED_NOTE)
    if pairs := pair_groups(groups):
        parts.append(pairs_table(pairs, epochs))
        if gaps := gap_table(pairs, epochs):
            parts.append(gaps)
    else:
        parts.append(unpaired_words(groups))
    parts.append(conclusion_line(conclude(groups, epochs)) or NO_VERDICT)
    parts.append("\n".join([data_words(runs), *published_notes(runs)]))
    return "\n\n".join(parts)
