"""What happened between two moments, from rows of the index: a pure function; imports no torch.

Moments are of the wall clock, as the rows are: a clock that was set in between shifts what falls into the time, and
durations go by what the rows say. Whether a run was trained is told by the events of its workers; a worker that was
killed counts as alive until it was last heard of, however late an engine came to notice.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence

import msgspec

from engine.runs.run import EventRow, Run, RunOutcome, RunStatus
from engine.spec.devices import CPU

Span = tuple[float, float]
"""Seconds since 1970, start and end."""

BEGINS = frozenset({"started", "resumed"})
"""Kinds of events by which a worker says that it trains."""
ENDS = frozenset({"crashed", "paused", "queued", "finished"})
"""Kinds of events that follow the end of a worker."""
IMPORTED = "imported"
"""Kind of the event with which a run of another machine came here; what was before is no time of ours."""
TELLING = (*sorted(BEGINS), *sorted(ENDS), IMPORTED)


class Idle(msgspec.Struct, frozen=True, kw_only=True):
    """How long a device trained nothing."""

    device: str
    seconds: float
    of_seconds: float
    """The whole time, from the first run there ever was."""
    while_runs_waited_seconds: float
    """The part of it in which a run that may go there was queued; held ones are not told apart."""


class Best(msgspec.Struct, frozen=True, kw_only=True):
    """A final test error below all before it on the same data."""

    run: Run
    before: Run | None
    """The one that it beats; None where it is the first result on that data."""


class Digest(msgspec.Struct, frozen=True, kw_only=True):
    """What happened."""

    since: float
    until: float
    finished: tuple[Run, ...] = ()
    """With whatever outcome, in the order of their ends."""
    crashed: dict[str, int] = {}
    """How often a worker crashed, by run id."""
    bests: tuple[Best, ...] = ()
    idle: tuple[Idle, ...] = ()
    num_queued: int = 0
    """Runs that were queued in the time for the first time."""

    @property
    def is_empty(self) -> bool:
        """Whether nothing happened that a person would want to know."""
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
    """What happened to runs and devices.

    Args:
        runs: All that there are, removed ones left out.
        events: Of the kinds TELLING, oldest first, by run id; of runs that ended before, none are needed.
        since: Seconds since 1970.
        until: Seconds since 1970, usually now; before `since` where the clock was set back: nothing happened.
        devices: Names of those that there are; the CPU is left out beside a GPU, unless a run was trained on it.
        alive: Ids of runs that a worker trains now; None goes by the rows, which know no better than the last engine.
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
    """The lowest final test error of each dataset, where it was reached in the time."""
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
    """The final test error of a run that has one."""
    assert run.test_error_percent is not None, "asked of runs that have one"
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
    """How long each device trained nothing; nothing is said of the time before the first run."""
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
    """When a run was trained, and when it waited in the queue, or without a worker for an engine to notice."""
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
            # It went without a worker for as long as no engine noticed.
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
    """When a worker ended, which an engine that was away notices late.

    Args:
        run: Whose worker.
        worker: The event with which it began.
        ended: The event of its end; None where no engine has noticed it.
        until: Seconds since 1970, by when it has ended.
    """
    noticed = until if ended is None else ended.at
    if run.finished_at is not None:
        noticed = min(noticed, run.finished_at)
    if ended is not None and ended.kind == "finished" and run.outcome is not RunOutcome.LOST:
        # What it left behind says when it was done, which is later than its last line.
        return noticed
    return last_heard(worker, noticed)


def last_heard(worker: EventRow, noticed: float) -> float:
    """When a worker was last heard of, at the latest when its end was noticed."""
    return noticed if worker.heard_at is None else min(worker.heard_at, noticed)


def clipped(spans: Iterable[Span], begin: float, end: float) -> list[Span]:
    """The parts of spans between two moments."""
    parts = [(max(first, begin), min(last, end)) for first, last in spans]
    return [(first, last) for first, last in parts if first < last]


def united(spans: Iterable[Span]) -> list[Span]:
    """The same time in spans that do not overlap, in order."""
    found: list[Span] = []
    for first, last in sorted(spans):
        if found and first <= found[-1][1]:
            found[-1] = (found[-1][0], max(found[-1][1], last))
        else:
            found.append((first, last))
    return found


def without(spans: Sequence[Span], begin: float, end: float) -> list[Span]:
    """The gaps that ordered spans leave between two moments."""
    edges = [begin, *(edge for span in spans for edge in span), end]
    return [(first, last) for first, last in zip(edges[::2], edges[1::2], strict=True) if first < last]


def length(spans: Iterable[Span]) -> float:
    """Seconds of spans that do not overlap."""
    return sum(last - first for first, last in spans)
