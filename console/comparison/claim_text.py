"""Sentences for all claims about depth and shortcuts; the numbers come from `verdict`."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from console.comparison.claims import METRICS, TRAINING_ERROR, Difference, Doubt
from console.comparison.groups import Pair
from console.comparison.mixtures import mixture_text
from console.comparison.verdict import Claim, Conclusion, RunGradients, Verdict, stem_ratios
from console.text.formatting import mean_std
from console.text.status import counted
from engine.analysis.diagnosis import power
from engine.analysis.paired_test import Interval, Sign
from engine.analysis.sequential_test import MOST_SEEDS_TO_ADD

NO_VERDICT = "no verdict: there are no two depths of a plain network to compare yet"
NO_VERDICT_SENTENCE = "There are no two depths of a plain network to compare yet, so nothing is claimed."
"""The same in a report."""
DOUBTS = {Doubt.TOO_FEW_SEEDS: "too few seeds to tell", Doubt.WITHIN_SPREAD: "within the spread of the seeds"}
ONE_SEED = "1 seed: not enough to claim anything; add --seeds 3"
METRIC_NAMES = {field: name.replace("-", " ") for name, field in METRICS.items()}


def conclusion_line(conclusion: Conclusion) -> str | None:
    """All verdicts and claims in a line, or the shortcut's effect if there is only one depth; None without any."""
    lines = [*map(verdict_line, conclusion.verdicts), *map(claim_line, conclusion.others)]
    if lines:
        return "; ".join(lines)
    return None if conclusion.shortcut is None else shortcut_line(conclusion)


def verdict_line(verdict: Verdict) -> str:
    """A claim with its evidence, in one line."""
    training, shortcuts = verdict.training, verdict.shortcuts
    line = ("" if verdict.claim is Claim.ONE_SEED else f"{verdict.claim}: ") + versus(training)
    if verdict.claim is Claim.ONE_SEED:
        line += " (1 seed: not enough to claim degradation; add --seeds 3)"
    else:
        line += evidence(training)
    if shortcuts is not None:
        line += f"; with shortcuts {shortcuts.network.label} against {shortcuts.baseline.label}: {points(shortcuts)}"
        if shortcuts.contrast.num_seeds != training.contrast.num_seeds:
            line += f", n={shortcuts.contrast.num_seeds}"
        if shortcuts.contrast.epoch != training.contrast.epoch:
            line += f" at epoch {shortcuts.contrast.epoch}"
        if shortcuts.tested is not None and shortcuts.sign is Sign.UNDECIDED and not shortcuts.num_pending:
            line += ", undecided"
        elif shortcuts.sign in (Sign.HIGHER, Sign.LOWER):
            line += interval_text(shortcuts)
        if verdict.is_uncured:
            after = "" if verdict.num_updates is None else f" after {verdict.num_updates:,} updates"
            line += f": the shortcut has not cured it here{after}"
    for group in verdict.broken:
        line += f"; {group.label} {', '.join(sorted({str(run.outcome) for run in group.runs}))}"
    return line + remarks(training, *([] if shortcuts is None else [shortcuts])) + so_far(training)


def claim_line(difference: Difference) -> str:
    """A claim that is part of no verdict, in one line."""
    words = versus(difference)
    if difference.metric != TRAINING_ERROR:
        words = f"{METRIC_NAMES[difference.metric]}: {words.replace(' trains ', ' is ', 1)}"
    is_open = difference.sign in (Sign.UNDECIDED, Sign.ONE_SEED)
    if is_open and not difference.num_pending and difference.sign is Sign.ONE_SEED:
        words += f" ({ONE_SEED})"
    elif is_open:
        words = f"{Claim.SO_FAR if difference.num_pending else Claim.UNDECIDED}: {words}{evidence(difference)}"
    else:
        words += evidence(difference)
    return words + remarks(difference) + so_far(difference)


def shortcut_line(conclusion: Conclusion) -> str:
    """Effect of the shortcut at one depth, in one line; it is no claim."""
    shortcut = conclusion.shortcut
    assert shortcut is not None
    if shortcut.contrast.num_seeds == 1:
        return f"{versus(shortcut)} ({ONE_SEED}){remarks(shortcut)}{so_far(shortcut)}"
    interval = interval_text(shortcut, conclusion.num_contrasts)
    return f"{versus(shortcut)}{interval} (not a claim){remarks(shortcut)}{so_far(shortcut)}"


def evidence(difference: Difference) -> str:
    """What stands behind a claim: its interval; or why there is none, and how many seeds might decide it."""
    if difference.num_pending:
        pending = f" ({counted(difference.num_pending, 'seed')} not finished)"
        return (interval_text(difference) if difference.sign in (Sign.HIGHER, Sign.LOWER) else "") + pending
    if difference.tested is None:
        return ""
    if difference.doubt is None:
        return interval_text(difference) + (" (later seeds disagree)" if difference.tested.looks_disagree else "")
    return f"{interval_text(difference)} ({DOUBTS[difference.doubt]}{seeds_text(difference)})"


def interval_text(difference: Difference, num_contrasts: int = 1) -> str:
    """Interval of a difference, with its sign: , interval +5.1 to +48.1; empty if it has none."""
    found = difference.interval(num_contrasts)
    return "" if found is None else f", interval {interval_ends(found)}"


def interval_ends(interval: Interval | None) -> str:
    """Ends of an interval with their signs: +5.1 to +48.1; empty without one."""
    return "" if interval is None else f"{interval.low:+.1f} to {interval.high:+.1f}"


def seeds_text(difference: Difference) -> str:
    """Estimate of how many seeds would decide a difference; empty if that is not sensible."""
    if difference.tested is None or (found := difference.tested.seeds_to_add()) is None:
        return ""
    estimate, least, most = found
    upper = f"over {MOST_SEEDS_TO_ADD}" if most is None else str(most)
    return f"; estimate: about {counted(estimate, 'more seed')}, range {least} to {upper}, if the mean stays"


def remarks(*differences: Difference) -> str:
    """What to know beside a difference: seeds that are missing, those paired, and runs that were not trained alike."""
    runs = list({run.id: run for difference in differences for run in difference.runs}.values())
    mixed = f"; mixed: {found}" if (found := mixture_text(runs)) else ""
    return missing_text(*differences) + paired_text(*differences) + mixed


def paired_text(*differences: Difference) -> str:
    """Seeds of a difference over fewer seeds than a mean beside it: ; paired seeds 0, 1. Empty if it has them all."""
    found: dict[tuple[int, ...], list[str]] = {}
    for one in differences:
        seeds = one.contrast.seeds
        if any(len(seeds) < len(group.finals(one.metric)) for group in (one.network, one.baseline)):
            found.setdefault(tuple(seeds), []).append(one.network.label)
    several = len({one.network.label for one in differences}) > 1
    return "".join(
        f"; paired seed{'s' * (len(seeds) > 1)} {', '.join(map(str, seeds))}"
        + f" ({', '.join(dict.fromkeys(networks))})" * several
        for seeds, networks in found.items()
    )


def missing_text(*differences: Difference) -> str:
    """Seeds that count less than planned: ; he-plain56 seeds 1, 2 diverged; empty if there are none."""
    seeds: dict[tuple[str, str], list[int]] = {}
    for one in dict.fromkeys(one for difference in differences for one in difference.left_out):
        seeds.setdefault((one.network, one.why), []).append(one.seed)
    return "".join(
        f"; {network} seed{'s' * (len(found) > 1)} {', '.join(map(str, found))} {why}"
        for (network, why), found in seeds.items()
    )


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


def pair_sentence(pair: Pair, training: Difference | None, test: Difference | None, num_contrasts: int) -> str:
    """Effect of the shortcut at one depth, in a sentence; it is no claim."""
    if training is None or test is None:
        return f"Depth {pair.depth}: no seed of both networks has finished an epoch yet."
    return (
        f"Depth {pair.depth}, plain minus residual: {signed(training)} points of training error"
        f"{interval_text(training, num_contrasts)}, {signed(test)} of test error{interval_text(test, num_contrasts)}"
        f"{remarks(training, test)}{so_far(training)}."
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
