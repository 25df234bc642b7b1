"""Digest of what happened since a moment and what is left to do, as lines and as JSON."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import msgspec

from console.text.documents import run_document
from console.text.formatting import clean, duration, percent
from console.text.interruption import interruption
from console.text.listing import data_label
from console.text.status import last_line
from engine.analysis.digest import Digest, Idle, digest
from engine.base.paths import Home
from engine.estimates.deadline import ends
from engine.index.queries import Reader
from engine.runs.directory import RunDirectory
from engine.runs.run import Run, RunOutcome, RunStatus
from engine.spec.devices import CPU

HOURS_WITHOUT_A_LOOK = 24.0
"""Period of the digest for a user who has never looked."""
MOST_RUNS = 12
"""Most runs listed for each outcome."""
OUTCOMES = (
    RunOutcome.DIVERGED, RunOutcome.FAILED, RunOutcome.LOST,
    RunOutcome.STOPPED_EARLY, RunOutcome.SUCCEEDED, RunOutcome.CANCELLED,
)  # fmt: skip
"""In the order shown: what needs attention comes first."""


@dataclass(frozen=True, slots=True)
class Away:
    """What happened, and what is running and queued now."""

    digest: Digest
    runs: dict[str, Run]
    num_running: int
    num_queued: int
    interruption: str | None
    """What was interrupted and how it continues; None if all goes on."""
    left_seconds: float | None
    """Estimated time until the queue is empty; None if unknown or if it is empty."""


def read_away(home: Home, *, since: float) -> Away:
    """Read what happened since a moment, in seconds since 1970, and estimate the time left."""
    from console.planning.deadline import queue_ahead
    from console.planning.estimates import gather

    knowledge = gather(home)
    with Reader(home.database) as reader:
        runs, events = reader.runs(), reader.notable_events(since=since)
    # The index only knows what the last engine saw, which may be long ago.
    alive = [run.id for run in runs if run.status is RunStatus.RUNNING and RunDirectory(home.runs / run.id).is_alive()]
    devices = [device.name for device in knowledge.devices]
    found = digest(runs, events, since=since, until=time.time(), devices=devices, alive=alive)
    free_in, waiting, num_unknown = queue_ahead(knowledge, pessimistic=False)
    done_in = [*ends(waiting, free_in), *(seconds for places in free_in.values() for seconds in places)]
    known = [seconds for seconds in done_in if seconds is not None]
    left = max(known, default=0.0) if not num_unknown and len(known) == len(done_in) else None
    return Away(
        digest=found,
        runs={run.id: run for run in runs},
        num_running=sum(run.status is RunStatus.RUNNING for run in runs),
        num_queued=sum(run.status is RunStatus.QUEUED for run in runs),
        interruption=interruption(home, runs),
        left_seconds=left or None,
    )


def away_lines(away: Away) -> list[str]:
    """Lines of the digest."""
    found = away.digest
    lines = [f"Since {moment(found.since)} ({duration(found.until - found.since)})"]
    if found.until < found.since:
        return [
            f"The clock says {moment(found.until)}, before your last visit at {moment(found.since)}: check the clock"
        ]
    if away.interruption is not None:
        lines.insert(0, away.interruption)
    if found.is_empty:
        lines[-1] = f"Nothing happened {lines[-1][:1].lower()}{lines[-1][1:]}"
    # Facts first, since the lists of runs may exceed a small terminal.
    facts = [crash_line(away, run, number) for run, number in found.crashed.items()]
    facts += [best_line(best.run, best.before) for best in found.bests]
    facts += map(idle_line, found.idle)
    lines += [now_line(away), *facts]
    for outcome in OUTCOMES:
        runs = [run for run in found.finished if run.outcome is outcome]
        if runs:
            lines += ["", f"{len(runs)} {outcome}"]
            lines += [f"  {run_line(run)}" for run in runs[:MOST_RUNS]]
            lines += [f"  and {len(runs) - MOST_RUNS} more"] * (len(runs) > MOST_RUNS)
    return lines


def run_line(run: Run) -> str:
    """A finished run with its test error, or why it has none."""
    name = f"{clean(run.experiment)}/{clean(run.name)}"
    match run.outcome:
        case RunOutcome.SUCCEEDED:
            taken = f", {duration(run.taken_seconds)}" if run.taken_seconds else ""
            return f"{name}: test error {percent(run.test_error_percent)}{taken}"
        case RunOutcome.DIVERGED:
            return f"{name}: in epoch {run.epoch + 1} of {run.spec.recipe.epochs}"
        case _:
            why = last_line(run.error or "")
            return f"{name}: at epoch {run.epoch} of {run.spec.recipe.epochs}{f': {why}' if why else ''}"


def crash_line(away: Away, run: str, number: int) -> str:
    """A run whose worker crashed, and its state now."""
    found = away.runs[run]
    now = found.outcome or found.status
    return f"{clean(found.name)}: worker crashed {'once' if number == 1 else f'{number} times'}; now {now}"


def best_line(run: Run, before: Run | None) -> str:
    """A new lowest test error."""
    data = clean(run.spec.data.name) + data_label(run.spec.data, brief=True)
    best = f"Lowest final test error on {data}: {percent(run.test_error_percent)}, {clean(run.name)}"
    return best if before is None else f"{best} (was {percent(before.test_error_percent)}, {clean(before.name)})"


def idle_line(idle: Idle) -> str:
    """Idle time of a device, and how much of it runs were queued."""
    device = "CPU" if idle.device == CPU.name else idle.device
    queued = f", {duration(idle.while_runs_waited_seconds)} of it with runs queued" if idle.seconds else ""
    return f"{device} idle {duration(idle.seconds)} of {duration(idle.of_seconds)}{queued}"


def now_line(away: Away) -> str:
    """What is running and queued, and when it will be done."""
    if not away.num_running and not away.num_queued:
        return "Now: nothing running or queued"
    line = f"Now: {away.num_running} running, {away.num_queued} queued"
    if away.left_seconds is None:
        return f"{line}; ETA unknown"
    return f"{line}; ETA {moment(away.digest.until + away.left_seconds)}"


def moment(at: float) -> str:
    """Format a moment in local time."""
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(at))


def away_document(away: Away) -> dict[str, Any]:
    """JSON document of the digest."""
    found = away.digest
    return {
        "since": found.since,
        "until": found.until,
        "finished": [run_document(run) for run in found.finished],
        "crashed": found.crashed,
        "bests": [
            {
                "run": best.run.id,
                "test_error_percent": best.run.test_error_percent,
                "before": None if best.before is None else best.before.id,
            }
            for best in found.bests
        ],
        "idle": msgspec.to_builtins(found.idle),
        "num_queued_since": found.num_queued,
        "num_running": away.num_running,
        "num_queued": away.num_queued,
        "left_seconds": away.left_seconds,
        "interruption": away.interruption,
    }
