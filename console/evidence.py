"""What a claim of degradation is named by among the diagnoses, and how the gradients of its networks began."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Mapping, Sequence

from console.groups import Group
from console.verdict import Claim, Epochs, Verdict, compared
from engine.analysis.diagnosis import Symptom, diagnose, power, stem_over_head
from engine.runs.run import GradientRow

Gradients = Mapping[str, Sequence[GradientRow]]
"""Of the layers of each run at initialisation at least, by its id; of one that is missing nothing was recorded."""


def degradation_words(found: Sequence[Verdict], gradients: Gradients) -> list[str]:
    """A finding for every verdict that claims degradation, and behind it the gradients as they were, in numbers.

    The numbers stand there whether or not they reach the threshold of a finding of their own: that is for runs.

    Args:
        found: Verdicts of any claim.
        gradients: Of the runs of their networks.
    """
    lines = []
    for verdict in found:
        if verdict.claim is Claim.DEGRADATION:
            words = f"trains {compared(verdict.training)} than {verdict.shallow.label}, n={verdict.training.num_seeds}"
            lines.append(f"{verdict.deep.label}: {verdict.claim}: {words}")
            lines += beginning_words(verdict, gradients)
    return lines


def diagnosis_lines(groups: Sequence[Group], epochs: Epochs, gradients: Gradients) -> list[str]:
    """A line for every network with diagnoses, and of how many of its runs each: also of those that succeeded.

    Args:
        groups: As `group_runs` makes them.
        epochs: Of their runs, by id.
        gradients: Of their layers, by id; where they are missing, nothing is said of them.
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


def beginning_words(verdict: Verdict, gradients: Gradients) -> list[str]:
    """The gradient of the deeper plain network at initialisation, against that of the residual one; else empty."""
    if not (plain := beginnings(verdict.deep, gradients)):
        return []
    words = f"{verdict.deep.label}: stem gradient {ratio_words(plain)} the head's at initialisation{num_words(plain)}"
    if verdict.counterparts is not None:
        residual = verdict.counterparts[0]
        if ratios := beginnings(residual, gradients):
            words += f", against {ratio_words(ratios)} in {residual.label}{num_words(ratios)}"
    return [words]


def beginnings(group: Group, gradients: Gradients) -> list[float]:
    """The stem's gradient norm over the head's at initialisation, of every seed of which both were recorded."""
    ratios = (stem_over_head(gradients.get(run.id, ()), 0) for run in group.runs)
    return [ratio for ratio in ratios if ratio is not None]


def ratio_words(ratios: Sequence[float]) -> str:
    """The median of some ratios: 0.25 times, 2.0 times, 37 times, 2e4 times."""
    ratio = statistics.median(ratios)
    if ratio and not 1e-2 <= ratio < 1e3:
        return f"{power(ratio)} times"
    return f"{ratio:.{2 if ratio < 1 else 1 if ratio < 10 else 0}f} times"


def num_words(ratios: Sequence[float]) -> str:
    return f" (n={len(ratios)})" if len(ratios) == 1 else f" (median, n={len(ratios)})"
