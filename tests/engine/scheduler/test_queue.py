"""Order of the queue, and holding it, by requests and across engine restarts."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.base.errors import UsageError
from engine.base.paths import Home
from engine.control.protocol import Hold, Move, Pause, Release, Remove, Restore, Resume, Retry, SetQueue, Stop
from engine.control.queue_state import QueueState, new_places, read_queue
from engine.runs.directory import ExitReason
from engine.runs.run import RunOutcome
from engine.spec.devices import CPU
from tests.engine.scripted import Scene, scene


@pytest.fixture
def here(tmp_path: Path) -> Scene:
    """An engine with one device and one slot."""
    return scene(Home(tmp_path / "home").create(), (CPU,))


def names(here: Scene) -> list[str]:
    return [here.supervisor.reader.run(run).name for run, _ in here.started]


@pytest.mark.parametrize(
    ("moved", "where", "order"),
    [
        ([4], {}, "41235"),
        ([4, 2], {}, "42135"),
        ([1], {"last": True}, "23451"),
        ([3, 1], {"last": True}, "24531"),
        ([5], {"before": 2}, "15234"),
        ([5, 1], {"before": 3}, "25134"),
        ([3], {"before": 4}, "12345"),
        ([2, 2], {}, "21345"),
    ],
)
def test_moved_runs_are_started_in_their_new_order(here: Scene, moved: list[int], where: dict[str, object], order: str):
    """First, last or before another, kept together in the given order; later submissions come after."""
    runs = here.submit(*[None] * 6)
    if "before" in where:
        where = {"before": runs[int(str(where["before"]))]}
    here.ask(Move(runs=tuple(runs[number] for number in moved), **where))  # type: ignore[arg-type]
    assert here.waiting() == [f"run{number}" for number in order]

    here.submit(None)
    assert here.waiting() == [f"run{number}" for number in order] + ["run0"]
    for _ in range(5):
        here.end(here.started[-1][0], ExitReason.SUCCEEDED)
    assert names(here)[1:] == [f"run{number}" for number in order]


def test_order_survives_the_loss_of_the_index(here: Scene):
    """Run directories hold the places, too; the order of submission stays the same."""
    runs = here.submit(*[None] * 4)
    here.ask(Move(runs=(runs[3],)))
    here.ask(Move(runs=(runs[1],), last=True))
    after = here.successor(index_lost=True)

    assert after.waiting() == ["run3", "run2", "run1"]
    assert [run.name for run in after.supervisor.reader.runs()] == ["run0", "run1", "run2", "run3"]
    after.submit(None)
    assert after.waiting()[-1] == "run0"


def test_moving_again_and_again_never_runs_out_of_places(here: Scene):
    """After some fifty moves no number fits between two neighbours, so all are renumbered."""
    runs = here.submit(*[None] * 4)
    for turn in range(200):
        here.ask(Move(runs=(runs[1 + turn % 2],), before=runs[3]))
        assert here.waiting() == [["run2", "run1", "run3"], ["run1", "run2", "run3"]][turn % 2]


def test_places_between_neighbours_too_near_are_none():
    """Adjacent floats have no number between them."""
    assert new_places([1.0, 1.0], 1, 1, last=9.0) is None
    assert new_places([1.0, 2.0], 1, 3, last=9.0) == [1.25, 1.5, 1.75]


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        (lambda runs: Move(runs=()), "name at least one run"),
        (lambda runs: Move(runs=(runs[0],)), "is running: only queued runs can be moved; `depthscope pause"),
        (lambda runs: Move(runs=(runs[1],), before=runs[0]), "only queued runs can be moved before"),
        (lambda runs: Move(runs=(runs[1], runs[2]), before=runs[2]), "cannot be moved before itself"),
        (lambda runs: Move(runs=(runs[1], "nobody")), "no run is called 'nobody'"),
        (lambda runs: Hold(runs=(runs[1], runs[0])), "is running: only queued runs can be held"),
    ],
)
def test_invalid_requests_are_refused_and_change_nothing(here: Scene, wrong: object, says: str):
    """A request takes effect completely or not at all."""
    runs = here.submit(*[None] * 3)
    with pytest.raises(UsageError, match=says):
        here.ask(wrong(runs))  # type: ignore[operator]

    assert here.waiting() == ["run1", "run2"]
    assert not any(run.held for run in here.supervisor.reader.runs())


@pytest.mark.parametrize("index_lost", [False, True])
def test_a_held_run_is_passed_by_and_keeps_its_place(here: Scene, index_lost: bool):
    """Also across engine restarts and without the index."""
    runs = here.submit(*[None] * 4)
    here.ask(Hold(runs=(runs[1],)))
    here = here.successor(index_lost=index_lost)
    here.end(runs[0], ExitReason.SUCCEEDED)
    assert names(here) == ["run0", "run2"]
    assert here.waiting() == ["run1", "run3"]

    here.ask(Release(runs=(runs[1], runs[3])))
    here.end(runs[2], ExitReason.SUCCEEDED)
    assert names(here)[-1] == "run1"


@pytest.mark.parametrize(
    ("leave", "come_back"), [(Pause, Resume), (Stop, Resume), (Stop, Retry)], ids=["pause", "stop", "retry"]
)
def test_a_held_run_that_leaves_the_queue_comes_back_released(here: Scene, leave: type, come_back: type):
    """Resuming a held run means starting it."""
    runs = here.submit(None, None)
    here.ask(Hold(runs=(runs[1],)))
    here.ask(leave(runs=(runs[1],)))
    here.ask(come_back(runs=(runs[1],)))

    assert not here.supervisor.reader.run(runs[1]).held
    here.end(runs[0], ExitReason.SUCCEEDED)
    assert names(here) == ["run0", "run1"]


@pytest.mark.parametrize("index_lost", [False, True])
def test_restoring_undoes_all_that_hiding_did(here: Scene, index_lost: bool):
    """Also what was cancelled: runs are back at their places in the queue, held or paused as before."""
    runs = here.submit(*[None] * 5)
    here.ask(Hold(runs=(runs[2],)))
    here.ask(Pause(runs=(runs[3],)))
    before = [here.supervisor.reader.run(run) for run in runs]

    here.ask(Remove(runs=tuple(runs[1:4])))
    here.ask(Remove(runs=(runs[2],)))
    assert here.waiting() == ["run4"]
    here = here.successor(index_lost=index_lost)
    here.ask(Restore(runs=tuple(runs[1:4])))

    after = [here.supervisor.reader.run(run) for run in runs]
    for one, other in zip(before, after, strict=True):
        for name in ("status", "outcome", "intent", "held", "place", "finished_at", "deleted_at"):
            assert getattr(one, name) == getattr(other, name), (one.name, name)
    assert here.waiting() == ["run1", "run2", "run4"]


def test_restoring_a_run_that_was_cancelled_before_it_was_hidden_leaves_it_cancelled(here: Scene):
    """Hiding did not cancel it."""
    runs = here.submit(None, None)
    here.ask(Stop(runs=(runs[1],)))
    here.ask(Remove(runs=(runs[1],)))
    here.ask(Restore(runs=(runs[1],)))

    assert here.supervisor.reader.run(runs[1]).outcome is RunOutcome.CANCELLED
    assert here.waiting() == []


def test_a_held_queue_starts_nothing_until_it_is_released(here: Scene):
    """Not even crashed runs; running ones continue, and a new engine keeps the hold."""
    runs = here.submit(None, None)
    here.ask(SetQueue(state=QueueState.HELD))
    assert here.launcher.asked_to_stop == []
    here = here.successor(index_lost=True)
    here.end(runs[0], None)
    assert names(here) == ["run0"]

    here.ask(SetQueue(state=QueueState.OPEN))
    assert names(here) == ["run0", "run0"]


def test_a_queue_that_drains_finishes_what_ran_and_starts_nothing_else(here: Scene):
    """Through a crash and an engine restart; then it starts nothing until released."""
    runs = here.submit(None, None)
    here.ask(SetQueue(state=QueueState.DRAINING))
    here.end(runs[0], None)
    assert names(here) == ["run0", "run0"]
    here.ask(SetQueue(state=QueueState.DRAINING))
    here.supervisor.leave(stop_workers=True)
    here.end(runs[0], ExitReason.STOPPED)
    here = here.successor()
    assert names(here) == ["run0"] * 3

    here.end(runs[0], ExitReason.SUCCEEDED)
    here.submit(None)
    assert names(here) == ["run0"] * 3
    here.ask(SetQueue(state=QueueState.OPEN))
    assert names(here)[3:] == ["run1"]


def test_draining_twice_does_not_forget_runs_that_crashed_in_between(here: Scene):
    """A run to be finished that waits for its restart is still finished."""
    (run,) = here.submit(None)
    here.ask(SetQueue(state=QueueState.DRAINING))
    here.supervisor.leave(stop_workers=True)
    here.end(run, None)
    here.ask(SetQueue(state=QueueState.DRAINING))
    here = here.successor()

    assert names(here) == ["run0", "run0"]


def test_a_damaged_queue_file_holds_the_queue(here: Scene):
    """A hold is only removed explicitly."""
    here.ask(SetQueue(state=QueueState.OPEN))
    here.home.queue.write_bytes(b'{"state": "hel')

    assert read_queue(here.home).state is QueueState.HELD


def test_labels_without_a_queue_place_are_in_order_of_submission(here: Scene):
    """As in a home of an older version whose index is rebuilt."""
    runs = here.submit(*[None] * 3)
    for run in runs[1:]:
        file = here.supervisor.directory(run).labels_file
        file.write_text(file.read_text().replace('"place":', '"was":'))
    after = here.successor(index_lost=True)

    assert after.waiting() == ["run1", "run2"]
