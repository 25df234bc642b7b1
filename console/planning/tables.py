"""Output of `depthscope plan`: what each run needs, and how accurate past estimates were."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Any

import msgspec

from console.planning.deadline import Outlook, outlook_document, outlook_lines
from console.planning.estimates import Knowledge
from console.planning.planning import judge_all
from console.text.formatting import byte_size, count, duration, percent, table
from console.text.status import counted
from console.text.times import clock_time
from engine.control.protocol import NewRun
from engine.estimates.duration import Truth
from engine.estimates.fitting import Verdict
from engine.spec.estimate import Estimate, Source
from models import cost

NO_SOURCE = "no data"


def plan_page(planned: Sequence[NewRun], knowledge: Knowledge, outlook: Outlook | None, *, unicode: bool) -> str:
    """Table with one row for each run, the total time, the forecast for a deadline, and the accuracy so far."""
    sign = "±" if unicode else "+-"
    header, align = ["run", "parameters", "MACs", "memory", "fits", "an epoch", "total", "", "from"], "<>>><>>><"
    if outlook is not None:
        header += ["ends", f"by {clock_time(outlook.until, outlook.now)}"]
        align += "><"
    rows = []
    for index, (run, verdict) in enumerate(zip(planned, judge_all(knowledge.home, planned), strict=True)):
        estimate = run.estimate
        row = [
            run.name,
            count(cost.num_parameters(run.spec.model)),
            count(cost.forward_macs(run.spec.model)),
            f"~{byte_size(verdict.estimate.total_bytes)}",
            "yes" if verdict.fits else "no",
            "-" if estimate is None else f"~{duration(estimate.seconds_per_epoch)}",
            "-" if estimate is None else f"~{duration(estimate.total_seconds)}",
            "" if estimate is None else f"{sign} {estimate.error_percent:.0f} %",
            source_text(estimate),
        ]
        if outlook is not None:
            end = outlook.expected[index]
            row += ["-" if end is None else f"~{clock_time(end, outlook.now)}", outlook.in_time(index)]
        rows.append(row)
    lines = [table(header, rows, align=align), "", total_line(planned)]
    if outlook is not None:
        lines += outlook_lines(outlook, planned)
    return "\n".join([*lines, accuracy_line(knowledge.truths)])


FORM_COLUMNS = ("run", "time", "memory", "fits", "params", "MACs")
"""Columns of the form's table, the most important first."""
IN_ORDER = ("run", "params", "MACs", "memory", "fits", "time")
"""The same from left to right."""


def form_rows(planned: Sequence[NewRun], verdicts: Sequence[Verdict], *, unicode: bool) -> list[dict[str, str]]:
    """Cells of the form's table by column: one row for each planned run."""
    sign = "±" if unicode else "+-"
    return [
        {
            "run": run.name,
            "params": count(cost.num_parameters(run.spec.model)),
            "MACs": count(cost.forward_macs(run.spec.model)),
            "memory": f"~{byte_size(verdict.estimate.total_bytes)}",
            "fits": "yes" if verdict.fits else "no",
            "time": "unknown" if run.estimate is None else time_text(run.estimate, sign),
        }
        for run, verdict in zip(planned, verdicts, strict=True)
    ]


def time_text(estimate: Estimate, sign: str) -> str:
    """Estimated time of a run with its margin of error: "~2h19 ±20 %"."""
    return f"~{duration(estimate.total_seconds)} {sign}{estimate.error_percent:.0f} %"


def columns_within(rows: Sequence[dict[str, str]], width: int) -> list[str]:
    """The most important columns of `form_rows` that fit in a width, each with two cells of padding."""
    chosen: list[str] = []
    for name in FORM_COLUMNS:
        width -= max([len(name), *(len(row[name]) for row in rows)]) + 2
        if width < 0 and chosen:
            break
        chosen.append(name)
    return [name for name in IN_ORDER if name in chosen]


def form_summary(planned: Sequence[NewRun], verdicts: Sequence[Verdict]) -> str:
    """One line on all planned runs: how many, how long they train, and what the largest needs."""
    largest = max(verdict.estimate.total_bytes for verdict in verdicts)
    known = [run.estimate.total_seconds for run in planned if run.estimate is not None]
    missing = len(planned) - len(known)
    time = f"~{duration(sum(known))} of training" if known else "time not known yet"
    if known and missing:
        time += f", {missing} of unknown time"
    return f"{counted(len(planned), 'run')}: {time}, at most ~{byte_size(largest)} (estimates)"


def source_text(estimate: Estimate | None) -> str:
    """Source of an estimate."""
    if estimate is None:
        return NO_SOURCE
    runs = counted(estimate.num_runs, "past run")
    match estimate.source:
        case Source.PROBE:
            return "probe"
        case Source.HISTORY:
            return runs
        case Source.SCALED:
            return f"{runs} of {estimate.network}, by MACs"


def total_line(planned: Sequence[NewRun]) -> str:
    """Estimated training time of all runs, added up."""
    known = [run.estimate.total_seconds for run in planned if run.estimate is not None]
    if not known:
        return "no time estimate: leave out --no-probe, or train one of these networks first"
    missing = len(planned) - len(known)
    without = f", without {missing} without an estimate" if missing else ""
    return f"{counted(len(planned), 'run')}: about {duration(sum(known))} of training{without}"


def accuracy_line(truths: Sequence[Truth]) -> str:
    """Accuracy of past estimates."""
    if not truths:
        return "no estimated run has finished yet, so the accuracy of estimates is unknown"
    errors = [100 * truth.error for truth in truths]
    return (
        f"past estimates were off by {percent(statistics.median(errors), 1)} (median),"
        f" {percent(max(errors), 1)} at worst ({counted(len(errors), 'run')})"
    )


def plan_document(planned: Sequence[NewRun], knowledge: Knowledge, outlook: Outlook | None) -> dict[str, Any]:
    """JSON document of a plan; runs without an estimate have null."""
    return {
        "runs": [
            {
                "name": run.name,
                "num_parameters": cost.num_parameters(run.spec.model),
                "forward_macs": cost.forward_macs(run.spec.model),
                "memory_bytes": verdict.estimate.total_bytes,
                "fits": verdict.fits,
                "estimate": msgspec.to_builtins(run.estimate),
                "spec": msgspec.to_builtins(run.spec),
            }
            for run, verdict in zip(planned, judge_all(knowledge.home, planned), strict=True)
        ],
        "until": None if outlook is None else outlook_document(outlook, planned),
        "accuracy": accuracy_document(knowledge.truths),
    }


def accuracy_document(truths: Sequence[Truth]) -> dict[str, Any]:
    """JSON document of the accuracy of past estimates: median, worst, and each run."""
    errors = [100 * truth.error for truth in truths]
    return {
        "num_runs": len(errors),
        "median_error_percent": statistics.median(errors) if errors else None,
        "worst_error_percent": max(errors, default=None),
        "runs": [
            {
                "run": truth.run,
                "source": truth.estimate.source.value,
                "estimated_seconds": truth.estimate.total_seconds,
                "taken_seconds": truth.seconds,
            }
            for truth in truths
        ],
    }
