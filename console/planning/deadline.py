"""`depthscope plan --until`: which runs finish by a deadline, given the queue ahead of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import msgspec

from console.planning.command_lines import train_commands
from console.planning.estimates import Knowledge
from console.planning.options import RunOptions
from console.text.status import seconds_left
from console.text.times import clock_time
from engine.control.protocol import NewRun
from engine.estimates.deadline import Job, Wish, ends, kept
from engine.runs.run import RunStatus
from engine.spec.devices import CPU
from engine.spec.estimate import Estimate
from engine.spec.places import num_places, places_taken
from engine.spec.run import RunSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class Outlook:
    """Forecast of which planned runs finish by a deadline."""

    now: datetime
    until: datetime
    expected: list[datetime | None]
    """Estimated finish of each planned run; None if unknown."""
    latest: list[datetime | None]
    """The same at the pessimistic end of the estimates."""
    kept: list[int]
    """Indices of planned runs that all finish in time if the others are left out."""
    commands: list[str]
    """Command lines that train only the kept runs; empty if all are kept."""
    num_unknown_ahead: int
    """Number of running or queued runs without an estimate, which are ignored."""

    def in_time(self, index: int) -> str:
        """Whether a planned run finishes in time if all are queued: yes, perhaps, no or unknown."""
        expected, latest = self.expected[index], self.latest[index]
        if expected is None or latest is None:
            return "unknown"
        return "yes" if latest <= self.until else "perhaps" if expected <= self.until else "no"


def look_ahead(
    planned: Sequence[NewRun],
    knowledge: Knowledge,
    options: RunOptions,
    *,
    until: datetime,
    now: datetime,
    experiment: str | None,
) -> Outlook:
    """Forecast which planned runs finish by a deadline; `experiment` is the name given, for the command lines."""
    known = [index for index, run in enumerate(planned) if run.estimate is not None]
    expected = [job_of(planned[index], knowledge, pessimistic=False) for index in known]
    longest = [job_of(planned[index], knowledge, pessimistic=True) for index in known]
    busy, waiting, num_unknown = queue_ahead(knowledge, pessimistic=False)
    busy_longer, waiting_longer, _ = queue_ahead(knowledge, pessimistic=True)
    wishes = [
        Wish(job=job, depth=planned[index].spec.model.depth, seed=planned[index].spec.seed)
        for index, job in zip(known, longest, strict=True)
    ]
    within_seconds = (until - now).total_seconds()
    chosen = kept(wishes, ahead=waiting_longer, free_in=busy_longer, within_seconds=within_seconds)
    indices = [known[index] for index in chosen]
    commands: list[str] = []
    if len(indices) < len(planned):
        commands = train_commands(options, [planned[index] for index in indices], experiment)
        if len(commands) > 1 and experiment is None:
            # Without a name, two command lines would make two experiments.
            name = f"until-{until:%H:%M}"
            commands = train_commands(options, [planned[index] for index in indices], name)

    def moments(jobs: list[Job], ahead: list[Job], free_in: dict[str, list[float]]) -> list[datetime | None]:
        found: list[datetime | None] = [None] * len(planned)
        for index, seconds in zip(known, ends([*ahead, *jobs], free_in)[len(ahead) :], strict=True):
            found[index] = None if seconds is None else now + timedelta(seconds=seconds)
        return found

    return Outlook(
        now=now,
        until=until,
        expected=moments(expected, waiting, busy),
        latest=moments(longest, waiting_longer, busy_longer),
        kept=indices,
        commands=commands,
        num_unknown_ahead=num_unknown,
    )


def job_of(run: NewRun, knowledge: Knowledge, *, pessimistic: bool) -> Job:
    """Scheduling job of a planned run, which must have an estimate."""
    assert run.estimate is not None, f"{run.name} has no estimate"
    longer = 1 + run.estimate.error_percent / 100 if pessimistic else 1.0
    seconds = longer * run.estimate.total_seconds + knowledge.seconds_around_training
    return as_job(run.spec, seconds, knowledge)


def as_job(spec: RunSpec, seconds: float, knowledge: Knowledge) -> Job:
    """Scheduling job of a run with a given duration."""
    devices = tuple(device.name for device in knowledge.devices_for(spec))
    settings, model = knowledge.settings, spec.model
    fills = tuple(one for one in devices if places_taken(settings, one, model) == num_places(settings, one))
    return Job(seconds=seconds, devices=devices, fills=fills)


def queue_ahead(knowledge: Knowledge, *, pessimistic: bool) -> tuple[dict[str, list[float]], list[Job], int]:
    """Seconds until each slot of each device is free, queued jobs, and the number of runs without an estimate."""
    remaining = remaining_seconds(knowledge, pessimistic=pessimistic)
    free_in: dict[str, list[float]] = {device.name: [] for device in knowledge.devices}
    waiting: list[Job] = []
    num_unknown = 0
    for run, seconds in zip(knowledge.queue, remaining, strict=True):
        num_unknown += seconds is None
        if run.status is RunStatus.RUNNING:
            device = run.device or CPU.name
            num_taken = places_taken(knowledge.settings, device, run.spec.model)
            free_in.setdefault(device, []).extend([seconds or 0.0] * num_taken)
        elif seconds is not None:
            waiting.append(as_job(run.spec, seconds, knowledge))
    for device, places in free_in.items():
        places.extend([0.0] * (num_places(knowledge.settings, device) - len(places)))
    return free_in, waiting, num_unknown


def seconds_to_end(knowledge: Knowledge) -> dict[str, float]:
    """Estimated time until each running or queued run ends, by id, if the queue runs in order; without unknown ones."""
    free_in, waiting, _ = queue_ahead(knowledge, pessimistic=False)
    found: dict[str, float] = {}
    queued: list[str] = []
    for run, seconds in zip(knowledge.queue, remaining_seconds(knowledge, pessimistic=False), strict=True):
        if seconds is not None and run.status is RunStatus.RUNNING:
            found[run.id] = seconds
        elif seconds is not None:
            queued.append(run.id)
    last = ends(waiting, free_in)
    return found | {id: end for id, end in zip(queued, last, strict=True) if end is not None}


def remaining_seconds(knowledge: Knowledge, *, pessimistic: bool) -> list[float | None]:
    """Remaining time of every running or queued run, without the wait; None if unknown."""
    # Runs that differ only in their seeds share an estimate.
    estimates: dict[RunSpec, Estimate | None] = {}
    found: list[float | None] = []
    for run in knowledge.queue:
        if (key := msgspec.structs.replace(run.spec, seed=0)) not in estimates:
            estimates[key] = knowledge.estimate(run.spec)
        estimate = estimates[key] or run.estimate
        longer = 1 + estimate.error_percent / 100 if pessimistic and estimate is not None else 1.0
        left = seconds_left(run)
        if left is not None and (run.epoch or estimate is None):
            found.append(longer * left)
        elif estimate is None:
            found.append(None)
        else:
            total = longer * estimate.total_seconds * (1 - run.fraction_done)
            found.append(total + knowledge.seconds_around_training)
    return found


def outlook_lines(outlook: Outlook, planned: Sequence[NewRun]) -> list[str]:
    """Lines that say what finishes in time, what to leave out, and how to queue the rest."""
    by = clock_time(outlook.until, outlook.now)
    lines: list[str] = []
    if outlook.num_unknown_ahead:
        lines.append(f"{outlook.num_unknown_ahead} queued without an estimate, not counted")
    ends_known = [end for end in outlook.latest if end is not None]
    if not outlook.commands and outlook.kept:
        latest = clock_time(max(ends_known), outlook.now)
        lines.append(f"all {len(planned)} will finish by {by}, at the latest by {latest}")
        return lines
    if not outlook.kept:
        # Without any estimate, the totals already say so.
        if ends_known:
            lines += [f"if all are queued: {all_queued(outlook)}", "leaving out depths or seeds does not help"]
        return lines
    left_out = left_out_runs(outlook, planned)
    lines.append(f"if all are queued: {all_queued(outlook)}")
    lines.append(f"if you leave out {left_out}: all {len(outlook.kept)} others finish by {by}:")
    lines += [f"  {command}" for command in outlook.commands]
    return lines


def all_queued(outlook: Outlook) -> str:
    """Count what the table says: which of the runs finish in time if none is left out."""
    by = clock_time(outlook.until, outlook.now)
    answers = [outlook.in_time(index) for index in range(len(outlook.expected))]
    counts = [(answers.count("yes"), "finish"), (answers.count("perhaps"), "perhaps"), (answers.count("no"), "do not")]
    return f"{', '.join(f'{num} {what}' for num, what in counts if num)} by {by}"


def left_out_runs(outlook: Outlook, planned: Sequence[NewRun]) -> str:
    """Text that lists the runs left out: whole depths, and seeds of other depths."""
    seeds: dict[int, set[int]] = {}
    gone: dict[int, set[int]] = {}
    for index, run in enumerate(planned):
        depth, seed = run.spec.model.depth, run.spec.seed
        seeds.setdefault(depth, set()).add(seed)
        if index not in outlook.kept:
            gone.setdefault(depth, set()).add(seed)
    parts = []
    for depth, missing in gone.items():
        listed = ",".join(map(str, sorted(missing)))
        parts.append(f"depth {depth}" if missing == seeds[depth] else f"seed {listed} of depth {depth}")
    return "; ".join(parts)


def outlook_document(outlook: Outlook, planned: Sequence[NewRun]) -> dict[str, Any]:
    """JSON document of the forecast, with times in seconds since 1970."""
    return {
        "until": outlook.until.timestamp(),
        "runs": [
            {
                "name": run.name,
                "expected_at": seconds_since_1970(outlook.expected[index]),
                "latest_at": seconds_since_1970(outlook.latest[index]),
                "done": outlook.in_time(index),
                "kept": index in outlook.kept,
            }
            for index, run in enumerate(planned)
        ],
        "commands": outlook.commands,
        "num_unknown_ahead": outlook.num_unknown_ahead,
    }


def seconds_since_1970(moment: datetime | None) -> float | None:
    """Timestamp of a moment; None stays None."""
    return None if moment is None else moment.timestamp()
