"""Digest of what happened between two times, from rows of the index. Pure functions, no torch.

Times are wall-clock times, as in the rows, so setting the clock shifts what falls into the interval. Training time is
derived from workers' events; a killed worker counts as alive until its last sign of life, however late the engine
noticed.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence

import msgspec

from engine.runs.run import EventRow, Run, RunOutcome, RunStatus
from engine.spec.devices import CPU

Span = tuple[float, float]
"""Seconds since 1970, start and end."""

BEGINS = frozenset({"started", "resumed"})
"""Kinds of events at which a worker begins to train."""
ENDS = frozenset({"crashed", "paused", "queued", "finished"})
"""Kinds of events that follow a worker's end."""
IMPORTED = "imported"
"""Kind of the event that marks a run imported from another machine; earlier times do not count here."""
TELLING = (*sorted(BEGINS), *sorted(ENDS), IMPORTED)


class Idle(msgspec.Struct, frozen=True, kw_only=True):
    """Idle time of a device."""

    device: str
    seconds: float
    of_seconds: float
    """Length of the interval, starting at the first run ever."""
    while_runs_waited_seconds: float
    """Part of the idle time in which a run for this device was queued, including held runs."""


class Best(msgspec.Struct, frozen=True, kw_only=True):
    """A new lowest final test error on a dataset."""

    run: Run
    before: Run | None
    """Previous best; None for the first result on that data."""


class Digest(msgspec.Struct, frozen=True, kw_only=True):
    """Summary of an interval."""

    since: float
    until: float
    finished: tuple[Run, ...] = ()
    """Runs that ended, with any outcome, in order of their ends."""
    crashed: dict[str, int] = {}
    """Number of crashes by run id."""
    bests: tuple[Best, ...] = ()
    idle: tuple[Idle, ...] = ()
    num_queued: int = 0
    """Number of newly submitted runs."""

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to report."""
        return not (self.finished or self.crashed or self.num_queued)


def digest(
    runs: Sequence[Run],
    events: Mapping[str, Sequence[EventRow]],
    *,
    since: float,
    until: float,
    devices: Sequence[str],
    alive: Collection[str] | None = None,
) -> Digest:
    """Summarise what happened to runs and devices.

    Args:
        runs: All runs that are not removed.
        events: Events of the kinds TELLING, oldest first, by run id; not needed for runs that ended before `since`.
        since: Start, seconds since 1970.
        until: End, seconds since 1970, usually now; may lie before `since` if the clock was set back.
        devices: Names of all devices; the CPU is left out beside a GPU, unless a run trained on it.
        alive: Ids of runs with a live worker; None relies on the rows, as left by the last engine.
    """
    within = [run for run in runs if run.finished_at is not None and since < run.finished_at <= until]
    finished = tuple(sorted((run for run in within if run.is_finished), key=lambda run: run.finished_at or 0.0))
    crashes = {
        run.id: sum(event.kind == "crashed" and since < event.at <= until for event in events.get(run.id, ()))
        for run in runs
    }
    return Digest(
        since=since,
        until=until,
        finished=finished,
        crashed={run: number for run, number in crashes.items() if number},
        bests=tuple(new_bests(runs, since=since, until=until)),
        idle=tuple(idle_times(runs, events, since=since, until=until, devices=devices, alive=alive)),
        num_queued=sum(since < run.created_at <= until for run in runs),
    )


def new_bests(runs: Iterable[Run], *, since: float, until: float) -> list[Best]:
    """Find the datasets whose lowest final test error was reached in the interval."""
    groups: dict[object, list[Run]] = {}
    for run in runs:
        if run.outcome is RunOutcome.SUCCEEDED and run.test_error_percent is not None and run.finished_at is not None:
            groups.setdefault((run.spec.data, run.synthetic), []).append(run)
    found = []
    for group in groups.values():
        before = [run for run in group if (run.finished_at or 0.0) <= since]
        new = [run for run in group if since < (run.finished_at or 0.0) <= until]
        if not new:
            continue
        best, old = min(new, key=error_of), min(before, key=error_of, default=None)
        if old is None or error_of(best) < error_of(old):
            found.append(Best(run=best, before=old))
    return found


def error_of(run: Run) -> float:
    """Return the final test error of a run that has one."""
    assert run.test_error_percent is not None, "the run has no test error"
    return run.test_error_percent


def idle_times(
    runs: Sequence[Run],
    events: Mapping[str, Sequence[EventRow]],
    *,
    since: float,
    until: float,
    devices: Sequence[str],
    alive: Collection[str] | None = None,
) -> list[Idle]:
    """Compute each device's idle time, starting at the first run ever."""
    begin = max(since, min((run.created_at for run in runs), default=until))
    if begin >= until:
        return []
    busy: dict[str, list[Span]] = {}
    waits: list[tuple[str | None, Span]] = []
    for run in runs:
        is_alive = run.status is RunStatus.RUNNING and (alive is None or run.id in alive)
        trained, waited = spans_of(run, events.get(run.id, ()), until, is_alive=is_alive)
        if trained := clipped(trained, begin, until):
            busy.setdefault(run.device or CPU.name, []).extend(trained)
        waits += [(run.spec.device, span) for span in clipped(waited, begin, until)]
    has_gpu = any(name != CPU.name for name in devices)
    names = [name for name in devices if not (has_gpu and name == CPU.name)]
    found = []
    for name in dict.fromkeys([*names, *busy]):
        gaps = without(united(busy.get(name, [])), begin, until)
        waiting = united([span for wanted, span in waits if wanted in (None, name)])
        found.append(
            Idle(
                device=name,
                seconds=length(gaps),
                of_seconds=until - begin,
                while_runs_waited_seconds=sum(length(clipped(gaps, *span)) for span in waiting),
            )
        )
    return found


def spans_of(run: Run, events: Sequence[EventRow], until: float, *, is_alive: bool) -> tuple[list[Span], list[Span]]:
    """Return when a run was training, and when it was waiting in the queue or for an engine to notice a crash."""
    trained: list[Span] = []
    waited: list[Span] = []
    worker: EventRow | None = None
    queued: float | None = None
    for event in events:
        if event.kind == IMPORTED:
            trained, waited, worker, queued = [], [], None, None
        elif event.kind in BEGINS:
            if worker is not None:
                trained.append((worker.at, last_heard(worker, event.at)))
            if queued is not None:
                waited.append((queued, event.at))
            worker, queued = event, None
        elif event.kind in ENDS:
            end = event.at
            if worker is not None:
                end = end_of_worker(run, worker, event, until)
                trained.append((worker.at, end))
            if queued is not None and event.kind != "queued":
                waited.append((queued, event.at))
            # Until an engine noticed, the run was waiting without a worker.
            waited += [(end, event.at)] if event.kind in ("crashed", "queued") else []
            queued = (queued or event.at) if event.kind == "queued" else None
            worker = None
    if worker is not None:
        end = until if is_alive else end_of_worker(run, worker, None, until)
        trained.append((worker.at, end))
        if run.status is RunStatus.RUNNING:
            waited.append((end, until))
    if queued is not None and run.status is RunStatus.QUEUED and not run.held:
        waited.append((queued, until))
    return trained, waited


def end_of_worker(run: Run, worker: EventRow, ended: EventRow | None, until: float) -> float:
    """Return when a worker ended, which an engine that was down notices late.

    Args:
        worker: Event of the worker's start.
        ended: Event of the worker's end; None if no engine has noticed it.
        until: Latest possible end, seconds since 1970.
    """
    noticed = until if ended is None else ended.at
    if run.finished_at is not None:
        noticed = min(noticed, run.finished_at)
    if ended is not None and ended.kind == "finished" and run.outcome is not RunOutcome.LOST:
        # The exit record has the time, which is later than the last line of the journal.
        return noticed
    return last_heard(worker, noticed)


def last_heard(worker: EventRow, noticed: float) -> float:
    """Return a worker's last sign of life, at the latest when its end was noticed."""
    return noticed if worker.heard_at is None else min(worker.heard_at, noticed)


def clipped(spans: Iterable[Span], begin: float, end: float) -> list[Span]:
    """Clip spans to an interval."""
    parts = [(max(first, begin), min(last, end)) for first, last in spans]
    return [(first, last) for first, last in parts if first < last]


def united(spans: Iterable[Span]) -> list[Span]:
    """Merge spans into ordered ones that do not overlap."""
    found: list[Span] = []
    for first, last in sorted(spans):
        if found and first <= found[-1][1]:
            found[-1] = (found[-1][0], max(found[-1][1], last))
        else:
            found.append((first, last))
    return found


def without(spans: Sequence[Span], begin: float, end: float) -> list[Span]:
    """Return the gaps that ordered spans leave in an interval."""
    edges = [begin, *(edge for span in spans for edge in span), end]
    return [(first, last) for first, last in zip(edges[::2], edges[1::2], strict=True) if first < last]


def length(spans: Iterable[Span]) -> float:
    """Sum the seconds of spans that do not overlap."""
    return sum(last - first for first, last in spans)
