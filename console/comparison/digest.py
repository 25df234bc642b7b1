"""What happened while nobody looked: read from the index, with what is left to do, as lines and as a document."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import msgspec

from console.text.documents import run_document
from console.text.formatting import clean, duration, percent
from console.text.listing import subset_words
from console.text.status import counted, last_line
from engine.analysis.digest import Digest, digest
from engine.base.paths import Home
from engine.estimates.deadline import ends
from engine.index.queries import Reader
from engine.runs.directory import RunDirectory
from engine.runs.run import Run, RunOutcome, RunStatus

HOURS_WITHOUT_A_LOOK = 24.0
"""Of which a user who has never looked is told."""
MOST_RUNS = 12
"""Of each outcome, named one by one."""
OUTCOMES = (
    RunOutcome.DIVERGED,
    RunOutcome.FAILED,
    RunOutcome.LOST,
    RunOutcome.STOPPED_EARLY,
    RunOutcome.SUCCEEDED,
    RunOutcome.CANCELLED,
)
"""In the order of telling: first what asks for somebody."""


@dataclass(frozen=True, slots=True)
class Away:
    """What happened, and what is under way now."""

    digest: Digest
    runs: dict[str, Run]
    num_running: int
    num_queued: int
    left_seconds: float | None
    """Until the queue is worked off, by estimate; None where that is not known or nothing is left."""


def read_away(home: Home, *, since: float) -> Away:
    """Read the index, and estimate what is left.

    Args:
        home: Whose runs.
        since: Seconds since 1970.
    """
    from console.planning.deadline import queue_ahead
    from console.planning.estimates import gather

    knowledge = gather(home)
    with Reader(home.database) as reader:
        runs, events = reader.runs(), reader.telling_events(since=since)
    # The index says what the last engine saw, and there may have been none for long.
    alive = [run.id for run in runs if run.status is RunStatus.RUNNING and RunDirectory(home.runs / run.id).is_locked()]
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
        left_seconds=left or None,
    )


def away_lines(away: Away) -> list[str]:
    """All of it, a line each."""
    found = away.digest
    lines = [f"since {moment(found.since)}, for {duration(found.until - found.since)}"]
    if found.until < found.since:
        return [f"the clock says {moment(found.until)}, which is before the last look at {moment(found.since)}"]
    if found.is_empty:
        lines[0] = f"nothing happened {lines[0]}"
    # What a small terminal has room for: the lists may be long.
    facts = [crash_line(away, run, number) for run, number in found.crashed.items()]
    facts += [best_line(best.run, best.before) for best in found.bests]
    facts += [
        f"{idle.device} trained nothing for {duration(idle.seconds)} of {duration(idle.of_seconds)}"
        + (f", {duration(idle.while_runs_waited_seconds)} of it while runs waited" if idle.seconds else "")
        for idle in found.idle
    ]
    lines += [now_line(away), *facts]
    for outcome in OUTCOMES:
        runs = [run for run in found.finished if run.outcome is outcome]
        if runs:
            lines += ["", f"{len(runs)} {outcome}"]
            lines += [f"  {run_line(run)}" for run in runs[:MOST_RUNS]]
            lines += [f"  and {len(runs) - MOST_RUNS} more"] * (len(runs) > MOST_RUNS)
    return lines


def run_line(run: Run) -> str:
    """A run that ended: its number, or why it has none."""
    name = f"{clean(run.experiment)}/{clean(run.name)}"
    match run.outcome:
        case RunOutcome.SUCCEEDED:
            taken = f", {duration(run.seconds)}" if run.seconds else ""
            return f"{name}: test error {percent(run.test_error_percent)}{taken}"
        case RunOutcome.DIVERGED:
            return f"{name}: in epoch {run.epoch + 1} of {run.spec.recipe.epochs}"
        case _:
            why = last_line(run.error or "")
            return f"{name}: at epoch {run.epoch} of {run.spec.recipe.epochs}{f': {why}' if why else ''}"


def crash_line(away: Away, run: str, number: int) -> str:
    """A run whose worker crashed, and what became of it."""
    found = away.runs[run]
    now = found.outcome or found.status
    return f"{clean(found.name)}: its worker crashed {'once' if number == 1 else f'{number} times'}, now {now}"


def best_line(run: Run, before: Run | None) -> str:
    """A new lowest final error."""
    data = clean(run.spec.data.name) + subset_words(run)
    old = "the first result" if before is None else f"{percent(before.test_error_percent)} before, {clean(before.name)}"
    return f"lowest final test error on {data}: {percent(run.test_error_percent)}, {clean(run.name)} ({old})"


def now_line(away: Away) -> str:
    """What is under way, and when it will be done."""
    if not away.num_running and not away.num_queued:
        return "now nothing runs and nothing waits"
    line = f"now {counted(away.num_running, 'run')} under way, {away.num_queued} queued"
    if away.left_seconds is None:
        return f"{line}; nobody knows how long that takes"
    return f"{line}; all done at about {moment(away.digest.until + away.left_seconds)}, by estimate"


def moment(at: float) -> str:
    """A moment in local time."""
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(at))


def away_document(away: Away) -> dict[str, Any]:
    """The same for programs."""
    found = away.digest
    named: Callable[[Run | None], str | None] = lambda run: None if run is None else run.id  # noqa: E731
    return {
        "since": found.since,
        "until": found.until,
        "finished": [run_document(run) for run in found.finished],
        "crashed": found.crashed,
        "bests": [
            {"run": best.run.id, "test_error_percent": best.run.test_error_percent, "before": named(best.before)}
            for best in found.bests
        ],
        "idle": msgspec.to_builtins(found.idle),
        "num_queued_since": found.num_queued,
        "num_running": away.num_running,
        "num_queued": away.num_queued,
        "left_seconds": away.left_seconds,
    }
