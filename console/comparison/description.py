"""Description of an experiment, in sentences for people and as JSON for programs."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Any

import msgspec

from console.comparison.claim_text import conclusion_line, finding_lines, pair_sentence, verdict_line
from console.comparison.claims import Difference, Epochs
from console.comparison.groups import Group, Pair, group_runs, pair_groups
from console.comparison.last_epochs import last_document, last_sentence
from console.comparison.mixtures import mixture_document, mixture_text, repeated_seeds
from console.comparison.published import differences, published, published_notes, published_of
from console.comparison.tables import (
    STOPPED_NOTE,
    data_line,
    diagnosis_lines,
    missing_seeds,
    recipe_labels,
    recipe_line,
    selection_lines,
)
from console.comparison.verdict import (
    Conclusion,
    RunGradients,
    Verdict,
    conclude,
    gap,
    gap_by_epoch,
    stem_ratios,
)
from console.text.formatting import clean, count, mean_std
from console.text.status import counted, states
from engine.analysis.diagnosis import diagnose, outlook, sentence
from engine.analysis.paired_test import Interval
from engine.analysis.sequential_test import Looks
from engine.runs.run import Run
from models import cost


def description(
    experiment: str,
    runs: Sequence[Run],
    epochs: Epochs,
    gradients: RunGradients,
    *,
    last: int | None = None,
    wanted: Sequence[str] = (),
) -> list[str]:
    """Describe an experiment in sentences: networks, results, diagnoses and the effect of depth."""
    groups = group_runs(runs)
    sizes = f"{counted(len(groups), 'network')}, {counted(len(runs), 'run')}"
    lines = [f"{clean(experiment)}: {sizes}: {states(runs)}."]
    lines += [network_sentence(group) for group in groups]
    if last is not None:
        lines += filter(None, (last_sentence(group, epochs, last) for group in groups))
    if any(run.stopped_early for run in runs):
        lines.append(f"{STOPPED_NOTE}.")
    for run in runs:
        findings = diagnose(run, epochs.get(run.id, ()), gradients.get(run.id, ()))
        words = (sentence(findings), outlook(run, epochs.get(run.id, ()), findings))
        lines += [f"{clean(run.name)}: {said}." for said in words if said]
    conclusion = conclude(groups, epochs, wanted)
    lines += [f"{line}." for line in finding_lines(conclusion, gradients)]
    for pair in pair_groups(groups):
        training, test = (
            gap(pair, epochs, metric, conclusion.claims) for metric in ("train_error_percent", "test_error_percent")
        )
        lines.append(pair_sentence(pair, training, test, conclusion.num_contrasts))
    if (line := conclusion_line(conclusion)) is not None:
        lines.append(f"{line}.")
    return [
        *lines,
        *(f"{line}." for line in [data_line(runs), recipe_line(runs), *selection_lines(runs), *published_notes(runs)]),
    ]


def network_sentence(group: Group) -> str:
    """Results of a network in a sentence."""
    size = f"{count(cost.num_parameters(group.model))} parameters, {counted(group.spec.recipe.epochs, 'epoch')}"
    parts = []
    if errors := group.finals("test_error_percent"):
        parts.append(
            f"test error {mean_std(errors, unit=' %')},"
            f" training error {mean_std(group.finals('train_error_percent'), unit=' %')}"
        )
        if (other := published_of(group)) is not None:
            parts.append(f"published {other.text}")
    parts += [text for text in (mixture_text(group.succeeded), missing_seeds(group)) if text]
    return f"{group.label} ({size}): {'; '.join(parts)}."


def comparison_document(
    experiment: str,
    runs: Sequence[Run],
    epochs: Epochs,
    gradients: RunGradients,
    *,
    last: int | None = None,
    wanted: Sequence[str] = (),
) -> dict[str, Any]:
    """JSON document of a comparison."""
    groups = group_runs(runs)
    conclusion = conclude(groups, epochs, wanted)
    return {
        "experiment": experiment,
        "networks": [
            {**network_document(group), "last_epochs": None if last is None else last_document(group, epochs, last)}
            for group in groups
        ],
        "pairs": [pair_document(pair, epochs, conclusion) for pair in pair_groups(groups)],
        "findings": {
            run.id: msgspec.to_builtins(diagnose(run, epochs.get(run.id, ()), gradients.get(run.id, ())))
            for run in runs
        },
        "diagnoses": diagnosis_lines(groups, epochs, gradients),
        "verdict": conclusion_line(conclusion),
        "verdicts": [verdict_document(one, conclusion, gradients) for one in conclusion.verdicts],
        "claims": [claim_document(one) for one in conclusion.claimed],
        "data": data_line(runs),
        "recipes": recipe_labels(runs),
        "synthetic": any(run.synthetic for run in runs),
    }


def network_document(group: Group) -> dict[str, Any]:
    """JSON document of a network's results over seeds."""
    one = published(group.model)
    return {
        "network": group.label,
        "num_parameters": cost.num_parameters(group.model),
        "depth": group.model.depth,
        "epochs": group.spec.recipe.epochs,
        "num_seeds": len(group.succeeded),
        "runs": [run.id for run in group.runs],
        "test_error_percent": summary(group.finals("test_error_percent")),
        "train_error_percent": summary(group.finals("train_error_percent")),
        "validation_images": group.spec.data.validation_images,
        "validation_error_percent": summary(group.finals("validation_error_percent")),
        "stopped_early": [stopped_document(run) for run in group.runs if run.stopped_early],
        "counted_once": [{"run": run.id, "copy": copy.id} for run, copy in group.copies],
        "mixed": mixture_document(group.succeeded),
        "repeated_seeds": repeated_seeds(group.succeeded),
        "unfinished": [run.id for run in group.runs if not run.succeeded and not run.stopped_early],
        "published": None
        if one is None
        else {
            "test_error_percent": one.test_error_percent,
            "std": one.std,
            "n": one.num_runs,
            "is_lower_bound": one.is_bound,
            "source": one.source.citation,
            "differences": differences(group.spec, group.runs[0].precision, one.source),
        },
    }


def stopped_document(run: Run) -> dict[str, Any]:
    """JSON document of a run that was stopped early, with its last errors."""
    return {
        "run": run.id,
        "seed": run.spec.seed,
        "epoch": run.epoch,
        "test_error_percent": run.test_error_percent,
        "train_error_percent": run.train_error_percent,
        "validation_error_percent": run.validation_error_percent,
    }


def pair_document(pair: Pair, epochs: Epochs, conclusion: Conclusion) -> dict[str, Any]:
    """JSON document of a pair; gaps are plain minus residual, in percentage points."""
    metrics = {"test_error_gap": "test_error_percent", "train_error_gap": "train_error_percent"}
    found = {name: gap(pair, epochs, metric, conclusion.claims) for name, metric in metrics.items()}
    return {
        "depth": pair.depth,
        "residual": pair.residual.label,
        "plain": pair.plain.label,
        **{name: None if one is None else one.contrast.mean for name, one in found.items()},
        "over_seeds": {name: difference_document(one, conclusion.num_contrasts) for name, one in found.items()},
        "by_epoch": {
            name: [{"epoch": one.epoch, **summary(one.differences)} for one in gap_by_epoch(pair, epochs, metric)]
            for name, metric in metrics.items()
        },
    }


def verdict_document(verdict: Verdict, conclusion: Conclusion, gradients: RunGradients) -> dict[str, Any]:
    """JSON document of a verdict with its evidence."""
    return {
        "claim": verdict.claim.value,
        "line": verdict_line(verdict),
        "shallow": verdict.shallow.label,
        "deep": verdict.deep.label,
        "train_error_difference": difference_document(verdict.training, conclusion.num_contrasts),
        "test_error_difference": difference_document(verdict.test, conclusion.num_contrasts),
        "with_shortcuts": difference_document(verdict.shortcuts, conclusion.num_contrasts),
        "stem_over_head_gradient_at_initialisation": {
            group.label: summary(stem_ratios(group, gradients))
            for group in (verdict.deep, verdict.residual)
            if group is not None
        },
        "broken": [group.label for group in verdict.broken],
    }


def claim_document(difference: Difference) -> dict[str, Any]:
    """JSON document of a claim, decided or not."""
    return {
        "network": difference.network.label,
        "baseline": difference.baseline.label,
        "metric": difference.metric,
        **(difference_document(difference, 1) or {}),
    }


def difference_document(difference: Difference | None, num_contrasts: int) -> dict[str, Any] | None:
    """JSON document of a difference over seeds.

    Its sign is higher or lower only if that is claimed. The interval of a claim agrees with it; that of any other
    difference holds at 95 % for all `num_contrasts` together.
    """
    if difference is None:
        return None
    contrast, tested = difference.contrast, difference.tested
    return {
        **summary(contrast.differences),
        "sign": difference.sign.value,
        "epoch": contrast.epoch,
        "is_final": contrast.is_final,
        "seeds": list(contrast.seeds),
        "is_claim": tested is not None,
        "interval": interval_document(difference.interval(num_contrasts)),
        "pending": difference.num_pending,
        "left_out": [{"network": one.network, "seed": one.seed, "why": one.why} for one in difference.left_out],
        "mixed": mixture_document(difference.runs),
        **({"num_contrasts": num_contrasts} if tested is None else tested_document(tested)),
    }


def tested_document(tested: Looks) -> dict[str, Any]:
    """JSON document of the looks at a claim; `look` and `alpha` are those of the look that is shown."""
    shown, estimate = tested.shown, tested.seeds_to_add()
    return {
        "look": None if shown is None else shown.share.look,
        "alpha": None if shown is None else shown.share.alpha,
        "num_claims": tested.num_claims,
        "looks_disagree": tested.looks_disagree,
        "looks": [
            {
                **summary(look.contrast.differences),
                "look": look.share.look,
                "alpha": look.share.alpha,
                "epoch": look.contrast.epoch,
                "sign": look.sign.value,
                "interval": interval_document(look.interval),
            }
            for look in tested.looks
        ],
        "seeds_to_add": None
        if estimate is None
        else dict(zip(("estimate", "at_least", "at_most"), estimate, strict=True)),
    }


def interval_document(interval: Interval | None) -> list[float] | None:
    """JSON document of an interval: its ends in percentage points."""
    return None if interval is None else [interval.low, interval.high]


def summary(values: Sequence[float]) -> dict[str, float | int | None]:
    """Mean, sample standard deviation and number of values; None if there are too few."""
    return {
        "mean": statistics.fmean(values) if values else None,
        "std": statistics.stdev(values) if len(values) > 1 else None,
        "n": len(values),
    }
