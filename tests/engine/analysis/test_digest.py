"""Digest of a period: finished runs, crashes, new bests, and idle time of devices."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from engine.analysis.digest import Idle, digest
from engine.base.paths import Home
from engine.index.queries import Reader
from engine.runs.run import EventRow, Run, RunOutcome, RunStatus
from tests import samples

T = samples.NOW


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A finished run, used as a template."""
    home = Home(Path(tmp_path_factory.mktemp("home"))).create()
    samples.fill_small(home)
    with Reader(home.database) as reader:
        return reader.runs()[0]


def made(model: Run, id: str, **changes: object) -> Run:
    return msgspec.structs.replace(model, id=id, name=id, created_at=T - 900, **changes)


def happened(*what: tuple[float, str]) -> list[EventRow]:
    return [EventRow(at=T + at, kind=kind, text="") for at, kind in what]


def test_runs_finished_in_the_period_are_listed_once_and_in_order(model: Run):
    """The period includes its start, so that each run appears in exactly one digest."""
    runs = [
        made(model, "late", finished_at=T - 10),
        made(model, "early", finished_at=T - 50, outcome=RunOutcome.DIVERGED),
        made(model, "before", finished_at=T - 100),
        made(model, "running", finished_at=None, outcome=None, status=RunStatus.RUNNING),
    ]
    events = {"running": happened((-300, "started"), (-90, "crashed"), (-80, "resumed"), (-200, "crashed"))}

    found = digest(runs, events, since=T - 100, until=T, devices=[])
    assert [run.id for run in found.finished] == ["early", "late"]
    assert found.crashed == {"running": 1}
    assert not found.is_empty
    assert digest(runs, {}, since=T, until=T + 60, devices=[]).is_empty


def test_a_digest_is_empty_after_the_clock_was_set_back(model: Run):
    """Rather than negative times."""
    found = digest([made(model, "a", finished_at=T - 10)], {}, since=T, until=T - 60, devices=["cpu"])

    assert found.is_empty
    assert found.idle == ()


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ([9.0], [8.0, 7.5], [("new1", "old0")]),
        ([7.0], [8.0], []),
        ([7.0], [7.0], []),
        ([], [8.0], [("new0", None)]),
    ],
)
def test_a_best_is_below_all_before_it(
    old: list[float], new: list[float], expected: list[tuple[str, str | None]], model: Run
):
    """Compares final errors of successful runs on the same data."""
    runs = [made(model, f"old{n}", test_error_percent=error, finished_at=T - 500) for n, error in enumerate(old)]
    runs += [made(model, f"new{n}", test_error_percent=error, finished_at=T - 50) for n, error in enumerate(new)]
    runs.append(made(model, "bad", test_error_percent=1.0, finished_at=T - 40, outcome=RunOutcome.DIVERGED))
    smaller = msgspec.structs.replace(model.spec, data=msgspec.structs.replace(model.spec.data, test_images=100))
    runs.append(made(model, "else", test_error_percent=1.0, finished_at=T - 500, spec=smaller))

    found = digest(runs, {}, since=T - 100, until=T, devices=[])
    assert [(best.run.id, best.before and best.before.id) for best in found.bests] == expected


def test_idle_time_is_what_no_worker_of_a_device_covers(model: Run):
    """Two GPUs, one never used; workers overlap, one crashes, one run waits for a specific GPU."""
    runs = [
        made(model, "a", device="cuda:0", finished_at=T - 400),
        made(model, "b", device="cuda:0", finished_at=T - 300),
        made(model, "c", device="cuda:0", finished_at=None, outcome=None, status=RunStatus.RUNNING),
        made(model, "d", device=None, finished_at=None, outcome=None, status=RunStatus.QUEUED),
        made(model, "e", device=None, finished_at=None, outcome=None, status=RunStatus.QUEUED, held=True),
    ]
    wants_other = msgspec.structs.replace(model.spec, device="cuda:1")
    runs[3] = msgspec.structs.replace(runs[3], spec=wants_other)
    runs = [
        msgspec.structs.replace(run, spec=msgspec.structs.replace(run.spec, device=None)) if run.id != "d" else run
        for run in runs
    ]
    events = {
        # The engine was down and noticed the end of `a` late.
        "a": happened((-800, "queued"), (-700, "started"), (-100, "finished")),
        "b": happened((-500, "queued"), (-450, "started"), (-300, "finished")),
        "c": happened((-800, "queued"), (-250, "started"), (-200, "crashed"), (-199, "queued"), (-150, "resumed")),
        "d": happened(
            (-60, "queued"),
        ),
        "e": happened(
            (-800, "queued"),
        ),
    }

    found = {
        idle.device: idle
        for idle in digest(runs, events, since=T - 600, until=T, devices=["cuda:0", "cuda:1", "cpu"]).idle
    }
    # Trained -600..-300, -250..-200 and -150..0; `c` was queued in both gaps, except for a second.
    assert found["cuda:0"] == Idle(device="cuda:0", seconds=100, of_seconds=600, while_runs_waited_seconds=99)
    assert found["cuda:1"].seconds == 600
    assert found["cuda:1"].while_runs_waited_seconds == 350 + 49 + 60
    assert "cpu" not in found


def test_a_worker_trained_until_it_was_last_heard_of(model: Run):
    """Engine and worker killed together: the crash was noticed 34 s later and a worker resumed 5 s after that."""
    run = made(model, "a", device="cpu", finished_at=None, outcome=None, status=RunStatus.RUNNING)
    began = EventRow(at=T - 100, kind="started", text="", heard_at=T - 60)
    resumed = EventRow(at=T - 21, kind="resumed", text="", heard_at=T - 1)
    events = {"a": [began, *happened((-26, "crashed"), (-26, "queued")), resumed]}

    (idle,) = digest([run], events, since=T - 80, until=T, devices=["cpu"]).idle
    assert (idle.seconds, idle.while_runs_waited_seconds) == (39, 39)
    (idle,) = digest([run], {"a": [began, resumed]}, since=T - 80, until=T, devices=["cpu"]).idle
    assert idle.seconds == 39, "an index that was built anew has no event of the crash"


def test_a_run_without_a_worker_counts_as_idle_despite_the_index(model: Run):
    """The index may be outdated; a live worker counts as training even if silent."""
    run = made(model, "a", device="cpu", finished_at=None, outcome=None, status=RunStatus.RUNNING)
    events = {"a": [EventRow(at=T - 100, kind="started", text="", heard_at=T - 60)]}

    (dead,) = digest([run], events, since=T - 100, until=T, devices=["cpu"], alive=[]).idle
    (alive,) = digest([run], events, since=T - 100, until=T, devices=["cpu"], alive=["a"]).idle
    assert (dead.seconds, dead.while_runs_waited_seconds, alive.seconds) == (60, 60, 0)


@pytest.mark.parametrize(("outcome", "trained"), [(RunOutcome.SUCCEEDED, 90), (RunOutcome.LOST, 40)])
def test_the_end_of_a_run_is_taken_from_its_last_line(outcome: RunOutcome, trained: float, model: Run):
    """Without an exit record, its last journal line counts."""
    run = made(model, "a", device="cpu", finished_at=T - 10, outcome=outcome)
    events = {
        "a": [EventRow(at=T - 100, kind="started", text="", heard_at=T - 60), *happened((-5, "finished"))],
    }

    (idle,) = digest([run], events, since=T - 100, until=T, devices=["cpu"]).idle
    assert idle.seconds == 100 - trained


def test_imported_runs_do_not_count_as_busy_time(model: Run):
    """An imported run trained on another machine, whose devices may have the same names."""
    run = made(model, "a", device="cpu", finished_at=T - 100)
    events = {"a": happened((-800, "queued"), (-700, "started"), (-50, "imported"))}

    (idle,) = digest([run], events, since=T - 600, until=T, devices=["cpu"]).idle
    assert (idle.seconds, idle.while_runs_waited_seconds) == (600, 0)


def test_nothing_is_reported_before_the_first_run(model: Run):
    """A home created yesterday was not idle for a month."""
    (idle,) = digest([made(model, "a", finished_at=T - 800)], {}, since=T - 1e6, until=T, devices=["cpu"]).idle

    assert idle.of_seconds == 900
