"""Sentences for all claims about depth and shortcuts; the numbers come from `verdict`."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from console.comparison.groups import Pair
from console.comparison.verdict import Claim, Conclusion, Difference, Doubt, RunGradients, Verdict, stem_ratios
from console.text.formatting import mean_std
from engine.analysis.diagnosis import power
from engine.analysis.paired_test import Sign

NO_VERDICT = "no verdict: there are no two depths of a plain network to compare yet"
NO_VERDICT_SENTENCE = "There are no two depths of a plain network to compare yet, so nothing is claimed."
"""The same in a report."""
DOUBTS = {Doubt.TOO_FEW_SEEDS: "too few seeds to tell", Doubt.WITHIN_SPREAD: "within the spread of the seeds"}
CAVEATS = {Sign.ONE_SEED: f"{Claim.ONE_SEED}: ", Sign.UNDECIDED: f"{Claim.UNDECIDED}: "}
"""Before a difference that decides nothing."""


def conclusion_line(conclusion: Conclusion) -> str | None:
    """All verdicts in a line, or the shortcut's effect if there is only one depth; None without any comparison."""
    if conclusion.verdicts:
        return "; ".join(map(verdict_line, conclusion.verdicts))
    return None if conclusion.shortcut is None else shortcut_line(conclusion.shortcut)


def verdict_line(verdict: Verdict) -> str:
    """A claim with its evidence, in one line."""
    training, shortcuts = verdict.training, verdict.shortcuts
    line = f"{verdict.claim}: {versus(training)}"
    if training.doubt is not None:
        line += f" ({DOUBTS[training.doubt]})"
    if shortcuts is not None:
        line += f"; with shortcuts {shortcuts.network.label} against {shortcuts.baseline.label}: {points(shortcuts)}"
        if shortcuts.contrast.num_seeds != training.contrast.num_seeds:
            line += f", n={shortcuts.contrast.num_seeds}"
        if shortcuts.contrast.epoch != training.contrast.epoch:
            line += f" at epoch {shortcuts.contrast.epoch}"
        if verdict.is_uncured:
            after = "" if verdict.num_updates is None else f" after {verdict.num_updates:,} updates"
            line += f": the shortcut has not cured it here{after}"
    for group in verdict.broken:
        line += f"; {group.label} {', '.join(sorted({str(run.outcome) for run in group.runs}))}"
    return line + so_far(training)


def shortcut_line(shortcut: Difference) -> str:
    """Effect of the shortcut at one depth, in one line."""
    return CAVEATS.get(shortcut.contrast.sign, "") + versus(shortcut) + so_far(shortcut)


def finding_lines(conclusion: Conclusion, gradients: RunGradients) -> list[str]:
    """Lines for every verdict of degradation: the finding, then the gradients at initialisation.

    The gradients are given even below the threshold of a diagnosis, which applies to single runs.
    """
    lines = []
    for verdict in conclusion.verdicts:
        if verdict.claim is Claim.DEGRADATION:
            trains = versus(verdict.training).removeprefix(f"{verdict.deep.label} ")
            lines += [f"{verdict.deep.label}: {verdict.claim}: {trains}", *gradient_lines(verdict, gradients)]
    return lines


def gradient_lines(verdict: Verdict, gradients: RunGradients) -> list[str]:
    """Line that compares initial gradients of the deep plain and residual network; empty if not recorded."""
    if not (plain := stem_ratios(verdict.deep, gradients)):
        return []
    line = f"{verdict.deep.label}: stem gradient {times(plain)} the head's at initialisation{ratio_count(plain)}"
    if verdict.residual is not None and (residual := stem_ratios(verdict.residual, gradients)):
        line += f", against {times(residual)} in {verdict.residual.label}{ratio_count(residual)}"
    return [line]


def pair_sentence(pair: Pair, training: Difference | None, test: Difference | None) -> str:
    """Effect of the shortcut at one depth, in a sentence."""
    if training is None or test is None:
        return f"Depth {pair.depth}: nothing to hold against each other yet."
    return (
        f"Depth {pair.depth}, plain minus residual: {signed(training)} points of training error,"
        f" {signed(test)} of test error{so_far(training)}."
    )


def versus(difference: Difference) -> str:
    """Comparison of two networks: he-plain44 trains 12.1 ± 0.8 points worse than he-plain8, n=3."""
    contrast = difference.contrast
    line = f"{difference.network.label} trains {points(difference)} than {difference.baseline.label}"
    return f"{line}, n={contrast.num_seeds}" if contrast.num_seeds > 1 else line


def points(difference: Difference) -> str:
    """Size and direction of a difference of errors: 12.1 ± 0.8 points worse."""
    contrast = difference.contrast
    spread = "" if contrast.std is None else f" ± {contrast.std:.1f}"
    return f"{abs(contrast.mean):.1f}{spread} points {'worse' if contrast.mean > 0 else 'better'}"


def signed(difference: Difference | None) -> str:
    """Difference with sign, standard deviation and number of seeds; empty if there is none."""
    if difference is None:
        return ""
    contrast = difference.contrast
    return f"{'+' if contrast.mean >= 0 else ''}{mean_std(contrast.differences)}"


def so_far(difference: Difference | None) -> str:
    """Epoch of a comparison and why it was chosen, in parentheses; empty if it is the last."""
    if difference is None or difference.contrast.epoch == difference.last_epoch:
        return ""
    why = ", where a run was stopped early" if difference.contrast.is_final else ""
    return f" (at epoch {difference.contrast.epoch} of {difference.last_epoch}{why})"


def times(ratios: Sequence[float]) -> str:
    """Median of ratios: 0.25 times, 2.0 times, 37 times, 2e4 times."""
    ratio = statistics.median(ratios)
    if ratio and not 1e-2 <= ratio < 1e3:
        return f"{power(ratio)} times"
    return f"{ratio:.{2 if ratio < 1 else 1 if ratio < 10 else 0}f} times"


def ratio_count(ratios: Sequence[float]) -> str:
    """Number of seeds behind a ratio, in parentheses."""
    return f" (n={len(ratios)})" if len(ratios) == 1 else f" (median, n={len(ratios)})"
