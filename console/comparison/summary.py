"""Summary of an experiment: the verdict so far, and a line for each network; imports no terminal library."""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from console.charts.metrics import METRICS, selection_metric
from console.charts.styles import Look, looks
from console.comparison.claim_text import NO_VERDICT, conclusion_line
from console.comparison.claims import Epochs
from console.comparison.groups import Group, by_seed, group_runs
from console.comparison.verdict import RunGradients, conclude
from console.text.formatting import UNKNOWN, clean, cut, mean_std, table
from console.text.sparkline import sparkline
from console.text.status import counted
from engine.analysis.diagnosis import Symptom, diagnose
from engine.runs.journal import Epoch
from engine.runs.run import Run, RunOutcome, RunStatus

SPARKLINE_CELLS = (10, 6, 0)
"""Widths to choose from."""
TROUBLES = {RunOutcome.STOPPED_EARLY: "stopped early"} | {
    outcome: str(outcome) for outcome in (RunOutcome.FAILED, RunOutcome.LOST, RunOutcome.CANCELLED)
}
"""Words for outcomes without a result that are no symptom."""


@dataclass(frozen=True, slots=True)
class NetworkLine:
    """State of one network over its seeds."""

    look: Look
    label: str
    curve: Mapping[int, float]
    """Mean error by epoch over the seeds that count."""
    epochs_done: int
    """Over all seeds."""
    epochs_planned: int
    """Over all seeds."""
    epochs_each: int
    """Planned epochs of one run."""
    num_finished: int
    num_seeds: int
    error: str
    """Mean and standard deviation with the number of seeds."""
    error_at: int | None
    """Epoch of the error while no seed is finished; None for final errors."""
    ends_at: float | None
    """Estimated end of its last seed in seconds since 1970; None if unknown or if all are finished."""
    diagnosis: str


@dataclass(frozen=True, slots=True)
class Summary:
    """State of an experiment."""

    experiment: str
    verdict: str
    networks: tuple[NetworkLine, ...]
    metric: str
    """Error shown: test or validation error."""
    num_finished: int
    num_runs: int
    ends_at: float | None
    """Estimated end of the last run; None if unknown or if all are finished."""
    at: float
    """Time of the estimates, in seconds since 1970."""

    def title(self, *, unicode: bool = True) -> str:
        """Name of the experiment, finished runs and ETA."""
        parts = [clean(self.experiment), f"{self.num_finished} of {counted(self.num_runs, 'run')} finished"]
        parts += [] if self.ends_at is None else [f"ETA {eta_text(self.ends_at, self.at)}"]
        return (" · " if unicode else " | ").join(parts)


def summarize(
    experiment: str,
    runs: Sequence[Run],
    epochs: Epochs,
    gradients: RunGradients,
    *,
    colours: Sequence[int | str],
    seconds_to_end: Mapping[str, float],
    now: float,
) -> Summary:
    """Sum up an experiment.

    Args:
        experiment: Its name.
        runs: All of its runs.
        epochs: Epochs by run id.
        gradients: Layer measurements by run id.
        colours: Colours from shallow to deep.
        seconds_to_end: Estimated time until each unfinished run ends, by id; those missing are unknown.
        now: Seconds since 1970.
    """
    groups, look_by_run = group_runs(runs), looks(runs, colours)
    field = METRICS[selection_metric("test-error", runs)].field
    lines = [
        network_line(
            group, look_by_run[group.runs[0].id], epochs, gradients, field=field, seconds_to_end=seconds_to_end, now=now
        )
        for group in groups
    ]
    unfinished = [run.id for run in runs if not run.is_finished]
    return Summary(
        experiment,
        conclusion_line(conclude(groups, epochs)) or NO_VERDICT,
        tuple(lines),
        "test error %" if field == "test_error_percent" else "validation error %",
        sum(run.is_finished for run in runs),
        len(runs),
        latest_end(unfinished, seconds_to_end, now),
        now,
    )


def network_line(
    group: Group,
    look: Look,
    epochs: Epochs,
    gradients: RunGradients,
    *,
    field: str,
    seconds_to_end: Mapping[str, float],
    now: float,
) -> NetworkLine:
    """Sum up one network."""
    seeds = list(by_seed(group).values())
    counting = [run for run in seeds if run.succeeded] or [run for run in seeds if not run.is_finished]
    curve = mean_by_epoch([epochs[run.id] for run in counting if epochs.get(run.id)], field)
    finals, error_at = group.finals(field), None
    error = mean_std(finals)
    if not finals and curve:
        error_at = max(curve)
        error = mean_std([error_after(epochs[run.id], error_at, field) for run in counting if epochs.get(run.id)])
    shown = curve or mean_by_epoch([epochs[run.id] for run in seeds if epochs.get(run.id)], field)
    each = group.spec.recipe.epochs
    return NetworkLine(
        look,
        clean(group.label),
        shown,
        sum(run.epoch for run in seeds),
        each * len(seeds),
        each,
        sum(run.is_finished for run in seeds),
        len(seeds),
        error,
        error_at,
        latest_end([run.id for run in seeds if not run.is_finished], seconds_to_end, now),
        diagnosis_text(seeds, epochs, gradients),
    )


def mean_by_epoch(runs: Sequence[Sequence[Epoch]], field: str) -> dict[int, float]:
    """Mean of a metric over runs after every epoch that all have completed; NaN where a value is not finite."""
    if not runs:
        return {}
    last = min(rows[-1].epoch for rows in runs)
    found: dict[int, list[float]] = {}
    for rows in runs:
        for row in rows:
            if row.epoch <= last:
                value = getattr(row, field)
                found.setdefault(row.epoch, []).append(math.nan if value is None else value)
    return {epoch: statistics.fmean(values) for epoch, values in found.items()}


def error_after(rows: Sequence[Epoch], epoch: int, field: str) -> float:
    """Value of a metric after an epoch; NaN if unknown or not finite."""
    value = next((getattr(row, field) for row in rows if row.epoch == epoch), None)
    return math.nan if value is None else value


def latest_end(unfinished: Sequence[str], seconds_to_end: Mapping[str, float], now: float) -> float | None:
    """Estimated end of the last of some runs in seconds since 1970; None if any is unknown or there is none."""
    known = [seconds_to_end[id] for id in unfinished if id in seconds_to_end]
    return now + max(known) if known and len(known) == len(unfinished) else None


def diagnosis_text(seeds: Sequence[Run], epochs: Epochs, gradients: RunGradients) -> str:
    """Most severe problem, with the share of seeds that have it unless all do; without any, what they are doing."""
    counts: Counter[str] = Counter()
    for run in seeds:
        findings = diagnose(run, epochs.get(run.id, ()), gradients.get(run.id, ()))
        words = [str(finding.symptom) for finding in findings]
        if not words and run.unreadable is not None:
            words = ["unreadable"]
        if not words and run.outcome in TROUBLES:
            words = [TROUBLES[run.outcome]]
        counts.update(set(words))
    for word in (*map(str, Symptom), *TROUBLES.values(), "unreadable"):
        if counts[word]:
            return word if counts[word] == len(seeds) else f"{word} {counts[word]}/{len(seeds)}"
    for status in (RunStatus.RUNNING, RunStatus.PAUSED, RunStatus.QUEUED):
        if any(run.status is status for run in seeds):
            return "training" if status is RunStatus.RUNNING else str(status)
    return ""


def eta_text(ends_at: float, now: float) -> str:
    """Estimated time of day, with the day unless it is today: ~14:32, ~Sun 02:10, ~12-04 02:10."""
    end, today = (datetime.fromtimestamp(at).astimezone() for at in (ends_at, now))
    if end.date() == today.date():
        return f"~{end:%H:%M}"
    return f"~{end:%a %H:%M}" if end - today < timedelta(days=6) else f"~{end:%m-%d %H:%M}"


@dataclass(frozen=True, slots=True)
class Fit:
    """How much of each line is shown."""

    sparkline: int
    has_epochs: bool = False
    has_error_epoch: bool = False
    brief: bool = True


FITS = (
    Fit(SPARKLINE_CELLS[0], has_epochs=True, has_error_epoch=True, brief=False),
    Fit(SPARKLINE_CELLS[1], has_epochs=True, has_error_epoch=True),
    Fit(SPARKLINE_CELLS[1], has_error_epoch=True),
    Fit(SPARKLINE_CELLS[1]),
    Fit(SPARKLINE_CELLS[2]),
)
"""From wide terminals to narrow ones."""


def network_table(summary: Summary, width: int, *, unicode: bool = True) -> list[str]:
    """Header and a line for each network within a width; the look's marker goes before each line."""
    for fit in FITS:
        lines = fitted_table(summary, fit, unicode=unicode)
        if max(map(len, lines)) <= width:
            return lines
    return [cut(line, width, unicode=unicode) for line in lines]


def fitted_table(summary: Summary, fit: Fit, *, unicode: bool) -> list[str]:
    """Table of the networks; columns without any content are left out."""
    values = [value for line in summary.networks for value in line.curve.values() if math.isfinite(value)]
    limits = (min(values), max(values)) if values else (0.0, 1.0)
    columns: list[tuple[str, str, list[str]]] = []

    def add(title: str, side: str, texts: list[str]) -> None:
        if any(texts):
            columns.append((title, side, texts))

    networks = summary.networks
    add("network", "<", [line.label for line in networks])
    if fit.sparkline:
        # Without a space at the end, where `table` would strip it: the column keeps its width.
        bars = [
            sparkline(line.curve, fit.sparkline, planned=line.epochs_each, limits=limits, unicode=unicode)
            for line in networks
        ]
        add("error"[: fit.sparkline], "<", bars)
    if fit.has_epochs:
        add("epochs", ">", [f"{line.epochs_done}/{line.epochs_planned}" for line in networks])
    of = "/" if fit.brief else " of "
    add("seeds", ">", [f"{line.num_finished}{of}{line.num_seeds}" for line in networks])
    errors = []
    for line in networks:
        at = f" at {line.error_at}" if line.error_at is not None and fit.has_error_epoch else ""
        text = line.error.replace("(", "").replace(")", "") if fit.brief else line.error
        errors.append(UNKNOWN if text == UNKNOWN else f"{text}{at}")
    add(summary.metric, "<", errors)
    add("ETA", "<", ["" if line.ends_at is None else eta_text(line.ends_at, summary.at) for line in networks])
    add("diagnosis", "<", [line.diagnosis for line in networks])
    rows = [list(row) for row in zip(*(texts for _, _, texts in columns), strict=True)]
    text = table([title for title, _, _ in columns], rows, align="".join(side for _, side, _ in columns))
    return (text if unicode else text.replace("±", "+-")).split("\n")
